"""Connections to PostgreSQL, and its errors translated to what to do about them."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from pydantic import SecretStr

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.retry import wait_until_available

__all__ = [
    "BAD_DATA",
    "TOO_MUCH",
    "AsyncConnection",
    "Connection",
    "Pool",
    "connect",
    "translated",
    "wait_for_database",
]

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[Any]

# SQLSTATE classes 54 (a text too long for an index) and 53 (more chunks than the lock table has
# room for) say that too much was asked for at once; psycopg counts them as operational.
TOO_MUCH = (
    errors.OutOfMemory,
    errors.ConfigurationLimitExceeded,
    errors.InsufficientResources,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    errors.TooManyColumns,
    errors.TooManyArguments,
)
"""What PostgreSQL raises when a statement needs more than there is: less at once may do. Not among
them: too many connections, and a full disk, where nothing can be written until there is room."""

BAD_DATA = (psycopg.DataError, psycopg.IntegrityError, *TOO_MUCH)
"""What PostgreSQL raises when what is written, not circumstances, is at fault."""

# A cut link must be noticed in seconds, not after the system's two hours of TCP patience.
_LIVELY = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# CREATE … IF NOT EXISTS would send a notice for each temporary table of each transaction.
# A batch of old readings may touch more compressed rows than TimescaleDB allows a transaction
# by default; the error would come again with every attempt. Other servers ignore the name.
_SESSION = (
    "-c timezone=UTC -c client_min_messages=warning "
    "-c timescaledb.max_tuples_decompressed_per_dml_transaction=0"
)

# Wrong name or password, no such database: waiting does not help.
_SETTING_WRONG = (
    errors.InvalidAuthorizationSpecification,
    errors.InvalidPassword,
    errors.InvalidCatalogName,
)


def connect(url: SecretStr, application: str) -> Connection:
    """Return a new connection with time zone UTC; raise as ``translated`` says."""
    with translated():
        given = psycopg.conninfo.conninfo_to_dict(url.get_secret_value())
        options = f"{given.get('options') or ''} {_SESSION}".strip()
        overrides = {"application_name": application, "options": options}
        return psycopg.connect(url.get_secret_value(), **_LIVELY | overrides)  # type: ignore[arg-type]


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours.

    ServerUnavailable where waiting helps (connection, restart, resources, deadlock),
    ConfigurationError where a right, a table or a setting is missing. Data errors and broken
    constraints pass as they are.
    """
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"the database refuses: {error.diag.message_primary}; connect as civicstream_writer, "
            "whose rights `civicstream init` grants (CIVICSTREAM_DATABASE__URL)"
        ) from error
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
        raise ConfigurationError(
            f"the database has not the schema of this version: {error.diag.message_primary}; "
            "run civicstream init"
        ) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:  # raised by the client, e.g. for a malformed URL
            raise ConfigurationError(
                f"CIVICSTREAM_DATABASE__URL is not a PostgreSQL URL: {error}"
            ) from None
        raise
    except errors.DiskFull as error:
        raise ServerUnavailable(
            f"the database's disk is full: {_sentence(error)}; make room on it"
        ) from error
    except TOO_MUCH as error:
        raise ServerUnavailable(
            f"the database lacks room for it: {_sentence(error)} (SQLSTATE {error.sqlstate})"
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise ServerUnavailable("the database is read-only now (a standby?)") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if _will_stay_wrong(error):
            raise ConfigurationError(
                f"the database refuses the connection: {_sentence(error)}; check user, password "
                "and database name in CIVICSTREAM_DATABASE__URL"
            ) from error
        raise ServerUnavailable(f"the database is away: {_sentence(error)}") from error


def _will_stay_wrong(error: psycopg.Error) -> bool:
    if isinstance(error, _SETTING_WRONG):
        return True
    # Before a connection stands libpq gives no SQLSTATE, only the server's own words.
    if error.sqlstate is None and error.pgconn is not None:
        message = str(error)
        return any(
            words in message
            for words in ("password authentication failed", "no password supplied", "no pg_hba")
        ) or ("FATAL" in message and "does not exist" in message)
    return False


def _sentence(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error) or repr(error)).split())


def wait_for_database(
    url: SecretStr, timeout_s: float | None = None, stop: threading.Event | None = None
) -> None:
    """Return when the database answers or ``stop`` is set; raise ServerUnavailable if late."""
    wait_until_available(
        lambda: connect(url, "civicstream-wait").close(),
        "the database",
        log=log,
        stop=stop,
        timeout_s=timeout_s,
    )


class Pool:
    """Connections for coroutines, in autocommit; every failure is ServerUnavailable.

    Parts that must not hold each other up have a pool each.
    """

    def __init__(
        self,
        url: SecretStr,
        application: str,
        *,
        most: int,
        patience_s: float,
        max_waiting: int = 0,
        read_only: bool = True,
        remedy: str = "try again",
        configure: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """``most`` connections, for which at most ``max_waiting`` callers wait (0: any number).

        ``patience_s`` is the time to wait for one, to connect, and that a statement may take;
        ``remedy`` says what to do about one that takes longer.
        """
        self._too_slow = f"the database took longer than {patience_s:g} s; {remedy}"
        read = "-c default_transaction_read_only=on " if read_only else ""
        self._pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            url.get_secret_value(),
            open=False,
            min_size=1,
            max_size=most,
            max_waiting=max_waiting,
            timeout=patience_s,
            reconnect_timeout=5,
            configure=configure,
            kwargs={
                "autocommit": True,
                "application_name": application,
                "connect_timeout": round(patience_s),
                "options": f"{read}-c timezone=UTC -c statement_timeout={patience_s * 1000:.0f}",
            },
        )

    async def open(self) -> None:
        """Begin to connect; does not wait for the database."""
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, patience_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Lend a connection; raise ServerUnavailable, also for what is raised while it is lent,
        while the database is away, has no schema yet or is too busy.
        """
        try:
            async with self._pool.connection(timeout=patience_s) as connection:
                yield connection
        except errors.QueryCanceled:
            raise ServerUnavailable(self._too_slow) from None
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
            raise ServerUnavailable(
                f"the database lacks something ({error.diag.message_primary}); run "
                "`civicstream init`"
            ) from error
        except TooManyRequests:
            raise ServerUnavailable("too many requests wait for the database; try again") from None
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise ServerUnavailable("the database does not answer; try again") from error

    async def answers(self, patience_s: float = 2) -> bool:
        """Return whether the database answers in time."""
        try:
            async with self.connection(patience_s) as connection:
                await connection.execute("SELECT 1")
        except ServerUnavailable:
            return False
        return True
