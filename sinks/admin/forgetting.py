"""`civicstream forget`: erases what is known of a citizen as a person, on Kafka and here."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass

from pydantic import SecretStr

from civicstream.clock import now_ms, rfc3339
from civicstream.errors import ConfigurationError
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from civicstream.topics import topic_name
from sinks.outbox import delete_from_kafka
from sinks.personal_records import Erased, Forget, apply_forget

__all__ = ["Forgotten", "forget"]

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Forgotten:
    """What was erased, and what stays."""

    what: Forget
    erased: Erased
    topic: str

    def summary(self) -> str:
        """Return the sentences for the person who asked for it."""
        return (
            f"erased: {self.erased.sealed} sealed records, "
            f"the bytes of {self.erased.dead_letters} dead letters\n"
            f"stay: {self.erased.reports} reports, each of a reporter who is nobody now, with "
            "service, place, times and description, without address, photo and reference\n"
            f"Kafka: the topic {self.topic} has been told to give up what it holds; what was "
            "still on its way is erased when the sink reads it\n"
            f"reports received after {rfc3339(self.what.until)} count as a new reporter's"
        )


def forget(settings: Settings, pseudonym: str, *, by: str | None = None) -> Forgotten:
    """Forget a person; safe to repeat.

    Raise ConfigurationError for what is no pseudonym and for a role without the right,
    ServerUnavailable when Kafka or the database is away; then run it again.
    """
    if not _PSEUDONYM.fullmatch(pseudonym):
        raise ConfigurationError(
            f"{pseudonym!r} is not a pseudonym (32 hexadecimal digits); it is the column reporter "
            "of the view reports, where each report has its id"
        )
    # A gateway's clock may be that much ahead of ours.
    until = now_ms() + round(settings.gateway.max_future_skew_s * 1000)
    what = Forget(pseudonym, until, by or getpass.getuser())
    topic = topic_name(settings.kafka.topic_prefix, "private")
    with connect(_url(settings), "civicstream-forget") as connection:
        _check_right(connection)  # before anything is deleted on Kafka
        delete_from_kafka(settings, topic, what)
        with translated():
            erased = apply_forget(connection, what)
    return Forgotten(what, erased, topic)


def _url(settings: Settings) -> SecretStr:
    database = settings.database
    return database.private_url or database.owner_url or database.url


def _check_right(connection: Connection) -> None:
    with translated(), connection.transaction():
        row = connection.execute(
            "SELECT has_schema_privilege('private', 'USAGE') AND "
            "has_function_privilege('private.forget(text, timestamptz, text)', 'EXECUTE')"
        ).fetchone()
    if row != (True,):
        raise ConfigurationError(
            f"role {connection.info.user!r} may not have a person forgotten; set "
            "CIVICSTREAM_DATABASE__PRIVATE_URL to the role civicstream_private"
        )
