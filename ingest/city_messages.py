"""Messages that are no readings: citizens' reports and what crews say. No I/O.

One such message becomes one or two JSON events, or a dead letter. A report's dead letter holds
nothing of a person in the clear: the payload is sealed, the client's id is its pseudonym.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.errors import ConfigurationError, RejectedReading
from civicstream.rate_limit import RateLimit
from civicstream.reading_age import max_age_of
from civicstream.report_making import ReportMaker
from civicstream.service_events import Unit
from civicstream.settings import Settings
from ingest.channels import check_name
from ingest.newcomers import Newcomers
from ingest.report_messages import decode_report
from ingest.unit_messages import decode_unit
from ingest.validation import TimeLimits

__all__ = ["CityMessages", "Event", "MessageKind", "Refusal"]

MessageKind = Literal["report", "unit"]

# A dead letter keeps this much of a payload; reports are far smaller.
_KEPT_BYTES = 64 * 1024
_SHOWN_AREA = 200
_UNSEALED = b""
"""Payload of a report's dead letter while there is no key to seal it with."""


@dataclass(frozen=True, slots=True)
class Event:
    """One JSON record for Kafka; ``topic`` without the prefix."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a dead letter may say of a message; ``payload`` and ``topic`` are fit to be read."""

    reason: str
    detail: str
    topic: str
    payload: bytes


class CityMessages:
    """Takes reports and units in; without a key reports are refused.

    Raises ConfigurationError for a services or address file that is wrong.
    """

    def __init__(self, settings: Settings, newcomers: Newcomers | None = None) -> None:
        self._newcomers = newcomers or Newcomers(settings.gateway)
        self._root = settings.mqtt.root + "/"
        self._source = f"gateway/{settings.gateway.id}"
        self._max_payload = settings.gateway.max_payload_bytes
        kinds: tuple[MessageKind, ...] = ("report", "unit")
        self._max_age = {kind: max_age_of(kind, settings.database) for kind in kinds}
        self._skew_ms = round(settings.gateway.max_future_skew_s * 1000)
        self._limit = RateLimit(settings.reports.per_client_10_min / 600, settings.reports.burst)
        self.maker: ReportMaker | None = None
        self.why_not = ""
        """Why there is no maker."""
        try:
            self.maker = ReportMaker.from_settings(settings)
        except ConfigurationError as error:
            if settings.privacy.public_key is not None:
                raise
            self.why_not = str(error)

    def kind(self, topic: str) -> MessageKind | None:
        """Return what a message of this topic is about, None for a reading or anything else."""
        if not topic.startswith(self._root):
            return None
        match topic[len(self._root) :].split("/", 1)[0]:
            case "report":
                return "report"
            case "unit":
                return "unit"
        return None

    def take(
        self, kind: MessageKind, topic: str, payload: bytes, *, now_ms: int, now: float
    ) -> list[Event] | Refusal:
        """Return the events of a message, or why it is refused; ``now`` is monotonic [s]."""
        try:
            self._check_size(payload)
            area, sender = self._parts(kind, topic)
            self._newcomers.admit_area(area, now)
            limits = TimeLimits(now_ms, now_ms + self._skew_ms, self._max_age[kind])
            if kind == "unit":
                return [self._unit(payload, area, sender, limits)]
            return self._report(payload, area, sender, limits, now)
        except RejectedReading as error:
            return self.refusal(kind, topic, payload, error)

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_payload:
            raise RejectedReading(
                "payload_too_large",
                f"payload of {len(payload)} bytes is over the limit of {self._max_payload} "
                "(CIVICSTREAM_GATEWAY__MAX_PAYLOAD_BYTES)",
            )

    def _parts(self, kind: MessageKind, topic: str) -> tuple[str, str]:
        parts = topic[len(self._root) :].split("/")[1:]
        names = {"report": "client", "unit": "unit"}
        if len(parts) != 2 or not all(parts):
            raise RejectedReading(
                "unknown_topic", f"the topic is not {self._root}{kind}/<area>/<{names[kind]}>"
            )
        check_name("area", parts[0])
        check_name(names[kind], parts[1])
        return parts[0], parts[1]

    def _unit(self, payload: bytes, area: str, unit: str, limits: TimeLimits) -> Event:
        said = decode_unit(payload, area, unit, limits)
        if isinstance(said, Unit):
            return self._event("units", "unit", f"{unit}/{said.at}", said.at, area, said)
        return self._event("crew_actions", "action", said.id, said.at, area, said)

    def _report(
        self, payload: bytes, area: str, client: str, limits: TimeLimits, now: float
    ) -> list[Event]:
        if self.maker is None:
            raise RejectedReading("reports_not_configured", self.why_not)
        sent = decode_report(payload, area, client, limits)
        made = self.maker.make(sent, area, limits.now_ms)
        report, personal = made.report, made.personal
        if not self._limit.admit(report.reporter, report.id, now):
            raise RejectedReading(
                "rate_limited",
                f"client {report.reporter} sends reports faster than CIVICSTREAM_REPORTS__BURST "
                "and __PER_CLIENT_10_MIN allow; it may go on in "
                f"{self._limit.wait_s(report.reporter):.0f} s",
            )
        return [
            self._event("reports", "report", report.id, report.reported_at, area, report),
            self._event(
                "private", "personal", report.id, personal.at, personal.pseudonym, personal
            ),
        ]

    def _event(
        self, topic: str, kind: str, event_id: str, at: int, key: str, event: msgspec.Struct
    ) -> Event:
        headers = cloud_headers(
            kind, source=self._source, event_id=event_id, time_ms=at, subject=key
        )
        return Event(topic, key.encode(), msgspec.json.encode(event), headers)

    def refusal(
        self, kind: MessageKind, topic: str, payload: bytes, error: RejectedReading
    ) -> Refusal:
        """Return what a dead letter may say of a message refused for ``error``."""
        kept = payload[:_KEPT_BYTES]
        if kind == "unit":
            return Refusal(error.reason, error.detail, topic, bytes(kept))
        parts = topic[len(self._root) :].split("/")
        area = parts[1] if len(parts) > 1 else ""
        client = "/".join(parts[2:])
        if self.maker is None:
            shown, sealed = "[…]", _UNSEALED
        else:
            shown = self.maker.privacy.pseudonym(f"mqtt:{client}")
            sealed = self.maker.privacy.seal(kept).encode()
        where = f"{self._root}report/{area[:_SHOWN_AREA]}/{shown}"
        return Refusal(error.reason, error.detail, where, sealed)
