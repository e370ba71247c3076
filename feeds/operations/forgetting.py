"""Forgetting a person over HTTP: the same as `civicstream forget`, for feeds with that right."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

import psycopg
from psycopg import errors
from pydantic import BaseModel, SecretStr

from civicstream.clock import now_ms, rfc3339
from civicstream.cloudevents import cloud_headers
from civicstream.errors import ServerUnavailable
from civicstream.settings import Settings
from feeds.problems import Problem
from feeds.report_output import KafkaRecord

__all__ = ["Forgetting", "Forgotten"]

Publish = Callable[[Sequence[KafkaRecord]], Awaitable[None]]

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_MAY = (
    "SELECT has_schema_privilege('private', 'USAGE') AND "
    "has_function_privilege('private.forget(text, timestamptz, text)', 'EXECUTE')"
)
_FORGET = (
    "SELECT sealed_erased, reports_detached, letters_emptied "
    "FROM private.forget(%s, to_timestamp(%s / 1000.0), %s)"
)


class Forgotten(BaseModel):
    """What was erased of a person, and what stays of nobody."""

    sealed_erased: int
    reports_detached: int
    letters_emptied: int
    until: str
    """Reports received later count as a new reporter's."""


class Forgetting:
    """Needs ``database.private_url``; without it everything is refused with a hint."""

    def __init__(self, settings: Settings, publish: Publish) -> None:
        self._url: SecretStr | None = settings.database.private_url
        self._skew_ms = round(settings.gateway.max_future_skew_s * 1000)
        self._publish = publish

    async def forget(self, pseudonym: str, by: str) -> Forgotten:
        """Publish the null record and erase; safe to repeat. Raise Problem or ServerUnavailable."""
        if self._url is None:
            raise Problem(
                409,
                "these feeds may not read personal data, so they cannot erase it either; use "
                "`civicstream forget`, or set CIVICSTREAM_DATABASE__PRIVATE_URL for the feeds",
            )
        if not _PSEUDONYM.fullmatch(pseudonym):
            raise Problem(
                400,
                "the pseudonym is 32 hexadecimal digits: the column reporter of the view reports",
                parameter="pseudonym",
            )
        until = now_ms() + self._skew_ms
        try:
            connecting = psycopg.AsyncConnection.connect(
                self._url.get_secret_value(),
                connect_timeout=5,
                application_name="civicstream-forget",
                options="-c statement_timeout=30000",
            )
            async with await connecting as connection:
                if await (await connection.execute(_MAY)).fetchone() != (True,):
                    raise Problem(
                        409, "CIVICSTREAM_DATABASE__PRIVATE_URL must be of civicstream_private"
                    )
                await self._publish([_null_record(pseudonym, until, by)])
                row = await (await connection.execute(_FORGET, (pseudonym, until, by))).fetchone()
        except (errors.UndefinedFunction, errors.InvalidSchemaName) as error:
            raise ServerUnavailable(
                "the schema is not there yet; run `civicstream init`"
            ) from error
        except psycopg.OperationalError as error:
            raise ServerUnavailable(f"the database does not answer: {error}") from error
        sealed, reports, letters = row or (0, 0, 0)
        return Forgotten(
            sealed_erased=sealed,
            reports_detached=reports,
            letters_emptied=letters,
            until=rfc3339(until),
        )


def _null_record(pseudonym: str, until: int, by: str) -> KafkaRecord:
    """Return the record that has the topic, and the sink reading it, forget the person."""
    headers = cloud_headers(
        "forget",
        source="feeds",
        event_id=f"{pseudonym}/{until}",
        time_ms=now_ms(),
        subject=pseudonym,
    )
    headers += [("until", str(until).encode()), ("by", by.encode())]
    return KafkaRecord("private", pseudonym.encode(), None, headers)
