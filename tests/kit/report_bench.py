"""A gateway's intake that knows how to take reports in, without servers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import SecretStr

from civicstream.events import DeadLetter
from civicstream.personal import Privacy
from civicstream.service_events import PersonalRecord, Report
from civicstream.settings import (
    GatewaySettings,
    PrivacySettings,
    ReportSettings,
    Settings,
)
from ingest.intake import Intake, PendingEvent
from tests.kit.privacy_keys import PSEUDONYM_KEY, PUBLIC_KEY

NOW = 1_795_282_800_000
TOPIC = "city/v1/report/north/phone-17"

REPORT: dict[str, Any] = {
    "reference": "r-1",
    "service": "pothole",
    "ts": NOW - 60_000,
    "lon": 13.4051234567,
    "lat": 52.52,
    "description": "A hole as wide as a wheel",
    "name": "Ada Muster",
    "email": "ada@example.org",
    "phone": "+49 30 1234567",
}
SECRETS = ("phone-17", "Ada", "Muster", "example.org", "1234567")
"""What of REPORT must not be seen by others."""


class ReportBench:
    """An intake and what it has for Kafka."""

    def __init__(
        self,
        public_key: str | None = PUBLIC_KEY,
        pseudonym_key: str = PSEUDONYM_KEY,
        **reports: Any,
    ) -> None:
        privacy = PrivacySettings(public_key=public_key, pseudonym_key=SecretStr(pseudonym_key))
        chosen = Settings(
            gateway=GatewaySettings(id="g1"),
            privacy=privacy,
            reports=ReportSettings.model_validate(reports),
        )
        self.intake = Intake(chosen, 99)
        self.now = 10.0
        self.packet_id = 0
        self.acked: list[int] = []

    def receive(self, payload: Any, topic: str = TOPIC) -> int:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.packet_id += 1
        self.intake.receive(topic, raw, self.packet_id, now_ms=NOW, now=self.now)
        return self.packet_id

    def events(self, topic: str) -> list[PendingEvent]:
        return [e for e in self.intake.events if e.event.topic == topic]

    def reports(self) -> list[Report]:
        return [msgspec.json.decode(e.event.value, type=Report) for e in self.events("reports")]

    def personal(self) -> list[PersonalRecord]:
        return [
            msgspec.json.decode(e.event.value, type=PersonalRecord) for e in self.events("private")
        ]

    def dead_letters(self) -> list[DeadLetter]:
        return [pending.dead_letter for pending in self.intake.dead_letters]

    def confirm(self, pending: PendingEvent) -> None:
        self.intake.events.remove(pending)
        self.acked += self.intake.event_confirmed(pending)

    def confirm_all(self) -> None:
        for pending in list(self.intake.events):
            self.confirm(pending)
        while self.intake.dead_letters:
            self.acked += self.intake.dead_letter_confirmed(self.intake.dead_letters.popleft())

    def on_shared_topics(self) -> str:
        """Everything that others can read: all records but those of ``private``, and its keys."""
        shown = [msgspec.json.encode(letter).decode() for letter in self.dead_letters()]
        shown += [letter.payload.decode("latin-1") for letter in self.dead_letters()]
        for pending in self.intake.events:
            event = pending.event
            shown.append(f"{event.topic} {event.key!r} {event.headers!r}")
            if event.topic != "private":
                shown.append(event.value.decode())
        return "\n".join(shown)


def privacy() -> Privacy:
    return Privacy(PUBLIC_KEY, PSEUDONYM_KEY.encode())
