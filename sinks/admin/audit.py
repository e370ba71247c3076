"""The audit's chain of hashes, computed again: which row was changed, removed or put in between.

Row by row: SHA-256 of the hash before and of the row's fields as netstrings; the database does
the same when it appends (migrations/0008_access.sql).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from civicstream.errors import ConfigurationError
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings

__all__ = [
    "GENESIS",
    "AuditRow",
    "Head",
    "Verified",
    "chain_hash",
    "head",
    "parse_head",
    "verify",
    "verify_rows",
]

GENESIS = bytes(32)
"""What stands for the hash before the first row."""

_FETCH = 5_000

_SELECT = """
SELECT seq, (extract(epoch FROM at) * 1000000)::bigint,
    (extract(epoch FROM recorded_at) * 1000000)::bigint,
    actor, action, subject, area, detail::text, previous, hash
FROM audit_log ORDER BY seq"""

_HEAD = "SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True)
class AuditRow:
    """One row as it was stored; times are microseconds since 1970."""

    seq: int
    at_us: int
    recorded_us: int
    actor: str
    action: str
    subject: str
    area: str
    detail: str
    previous: bytes
    hash: bytes

    @property
    def name(self) -> str:
        """Return how a person finds the row."""
        return f"row {self.seq} ({self.actor}: {self.action} {self.subject})"


@dataclass(frozen=True)
class Head:
    """The newest row: kept elsewhere, it shows later that no row was cut off the end."""

    seq: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"


@dataclass(frozen=True)
class Verified:
    """``problem`` None: the chain of ``rows`` rows is whole, up to ``head``."""

    rows: int
    head: Head
    problem: str | None


def parse_head(text: str) -> Head:
    """Return a head as `civicstream audit head` printed it; raise ConfigurationError for another.

    >>> parse_head("0:" + "00" * 32).seq
    0
    """
    matched = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text.strip())
    if matched is None:
        raise ConfigurationError(
            f"{text!r} is not a head of the audit; it is what `civicstream audit head` prints: "
            "a number, a colon, 64 hexadecimal digits"
        )
    return Head(int(matched[1]), bytes.fromhex(matched[2]))


def chain_hash(row: AuditRow) -> bytes:
    """Return what the row's hash must be, given what it says of the one before it."""
    digest = hashlib.sha256(row.previous)
    for value in (
        str(row.seq),
        str(row.at_us),
        str(row.recorded_us),
        row.actor,
        row.action,
        row.subject,
        row.area,
        row.detail,
    ):
        encoded = value.encode()
        digest.update(b"%d:%b," % (len(encoded), encoded))
    return digest.digest()


def verify_rows(rows: Iterable[AuditRow], kept: Head | None = None) -> Verified:
    """Follow the chain and return how far it is whole; ``kept`` is a head from before.

    The first break is named; what follows it proves nothing.
    """
    last = Head(0, GENESIS)
    for row in rows:
        problem = _break(row, last)
        if problem is None and kept is not None and row.seq == kept.seq:
            problem = _differs(row, kept)
        if problem is not None:
            return Verified(last.seq, last, problem)
        last = Head(row.seq, row.hash)
    if kept is not None and last.seq < kept.seq:
        return Verified(
            last.seq,
            last,
            f"rows {last.seq + 1} to {kept.seq} were removed from the end: the head that was kept "
            f"is row {kept.seq}, the log ends with row {last.seq}",
        )
    return Verified(last.seq, last, None)


def _break(row: AuditRow, last: Head) -> str | None:
    expected = last.seq + 1
    if row.seq > expected:
        missing = f"row {expected}" if row.seq == expected + 1 else f"rows {expected}-{row.seq - 1}"
        return f"{missing} removed, or the rows before {row.name} were numbered anew"
    if row.seq < expected:
        return f"{row.name} was put before the beginning: numbers start at 1"
    if chain_hash(row) != row.hash:
        return f"{row.name} was changed: its content does not give its hash"
    if row.previous != last.hash:
        return (
            f"{row.name} does not follow row {last.seq}: one of them was put in, moved, "
            "or made anew"
        )
    return None


def _differs(row: AuditRow, kept: Head) -> str | None:
    if row.hash == kept.hash:
        return None
    return f"{row.name} is not the one whose head was kept: the log was written anew up to there"


def verify(settings: Settings, kept: Head | None = None) -> Verified:
    """Return what the log in the database proves; any role that may read ``audit_log`` will do."""
    with _connected(settings) as connection, translated():
        return verify_rows(_stored(connection), kept)


def head(settings: Settings) -> Head:
    """Return the newest row, or number 0 and zeros of an empty log."""
    with _connected(settings) as connection, translated():
        row = connection.execute(_HEAD).fetchone()
    return Head(int(row[0]), bytes(row[1])) if row else Head(0, GENESIS)


def _connected(settings: Settings) -> Connection:
    database = settings.database
    url = settings.feeds.database_url or database.owner_url or database.url
    return connect(url, "civicstream-audit")


def _stored(connection: Connection) -> Iterator[AuditRow]:
    """Yield all rows in order, in pieces, as of one moment."""
    with connection.transaction(), connection.cursor("audit") as cursor:
        cursor.itersize = _FETCH
        cursor.execute(_SELECT)
        for row in cursor:
            yield AuditRow(*row)
