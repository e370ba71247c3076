"""The present as the database has it, and up to which record of Kafka that goes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec
import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from pydantic import SecretStr

from civicstream.errors import ServerUnavailable
from feeds.live.stored_events import OFFSETS_QUERY, STORED

__all__ = ["WarmStart", "load"]

log = logging.getLogger(__name__)

_TIMEOUT_S = 5
_STATEMENT_S = 20

_NOT_THERE = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.InsufficientPrivilege,
    errors.QueryCanceled,
)


@dataclass(frozen=True)
class WarmStart:
    """Events that were written, and (Kafka topic, partition) -> first offset that is not."""

    events: list[msgspec.Struct]
    offsets: dict[tuple[str, int], int]
    missing: tuple[str, ...]
    """Topics whose tables could not be read."""


async def load(url: SecretStr) -> WarmStart:
    """Read all in one snapshot of the database; raise ServerUnavailable while it is away.

    The sink writes rows and offsets in one transaction, so rows and offsets agree here.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            url.get_secret_value(),
            row_factory=dict_row,
            application_name="civicstream-live",
            connect_timeout=_TIMEOUT_S,
            options=f"-c statement_timeout={_STATEMENT_S * 1000} -c timezone=UTC "
            "-c default_transaction_read_only=on "
            "-c default_transaction_isolation=repeatable\\ read",
        )
        async with connection:
            return await _load(connection)
    except _NOT_THERE as error:
        raise ServerUnavailable(
            f"the database has no {error.diag.message_primary}; run `civicstream init`"
        ) from error
    except psycopg.OperationalError as error:
        raise ServerUnavailable(f"the database does not answer: {error}") from error


async def _load(connection: psycopg.AsyncConnection[dict[str, object]]) -> WarmStart:
    cursor = await connection.execute(OFFSETS_QUERY)
    offsets = {
        (str(row["topic"]), int(str(row["partition"]))): int(str(row["next_offset"]))
        for row in await cursor.fetchall()
    }
    events: list[msgspec.Struct] = []
    missing = []
    for stored in STORED:
        try:
            async with connection.transaction():  # a savepoint: what fails stays alone
                cursor = await connection.execute(stored.query.encode())
                rows = await cursor.fetchall()
            events += stored.events(rows)
        except (*_NOT_THERE, msgspec.ValidationError) as error:
            log.warning("live: %s are not read from the database: %s", stored.topic, error)
            missing.append(stored.topic)
    return WarmStart(events, offsets, tuple(missing))
