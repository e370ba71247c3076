"""Citizens who asked for it are told of their case, by mail or webhook, until forgotten."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from civicstream.personal import Privacy
from civicstream.service_events import Case
from civicstream.settings import KafkaSettings
from sinks.admin.forgetting import forget
from stack.servers.processes import Child, wait_until
from tests.integration.test_deliver_mail import Mailbox, mail_server, smtp
from tests.integration.test_sink_citizens import send
from tests.kit.citizen_events import OTHER, SOMEONE, case, personal
from tests.kit.deliver_runs import (
    WEBHOOK_SECRET,
    WebServer,
    alert_sender,
    dead_letters,
    delivering,
    ledger_reports,
    web_server,
)
from tests.kit.privacy_keys import OPENING, PSEUDONYM_KEY, PUBLIC_KEY
from tests.kit.sink_rows import Loader, as_role, loader, settings_for

PRIVACY = Privacy(PUBLIC_KEY, PSEUDONYM_KEY.encode())


def known(report: str, pseudonym: str, **person: str) -> Any:
    return personal(report=report, pseudonym=pseudonym, sealed=PRIVACY.seal_person(person))


class Stage:
    """A database with sealed records, and a deliver process that tells of cases."""

    def __init__(self, loaded: Loader, kafka: KafkaSettings, child: Child) -> None:
        self.loaded, self.kafka, self.child = loaded, kafka, child

    def publish(self, *versions: Case) -> None:
        """Store the versions as the sink does and publish them as the worker does."""
        send(self.loaded, "cases", *versions)
        with alert_sender(self.kafka, "cases") as out:
            for version in versions:
                out(version)


@contextmanager
def stage(
    kafka: KafkaSettings, url: str, folder: Path, port: int, *people: Any, **plan: Any
) -> Iterator[Stage]:
    citizens = {"secret": {"env": "WEBHOOK_SECRET"}, "timeout_s": 2, **plan}
    with loader(url) as loaded:
        send(loaded, "private", *people)
        with delivering(
            kafka,
            folder,
            [],
            tables={**smtp(port), "citizens": citizens},
            **OPENING,
            database__private_url=as_role(url, "civicstream_private").get_secret_value(),
        ) as child:
            yield Stage(loaded, kafka, child)


NOTE = "call 030 1234567"

LOCAL = {"allow_http": True, "allow_private_addresses": True}


def states(server: WebServer) -> list[str]:
    return [msgspec.json.decode(r.body)["state"] for r in list(server.requests)]


def test_who_asked_is_told_of_each_new_state_by_mail_or_webhook_and_nobody_else(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    with web_server() as server, mail_server(mailbox) as port:
        people = [
            known("r1", SOMEONE, notify="email", email="ada@citizen.example", name="Ada"),
            known("r2", OTHER, notify=f"{server.url}/mine"),
            known("r3", "1" * 32, email="quiet@citizen.example"),
            known("r9", "2" * 32, notify="email", email="other@citizen.example"),
        ]
        with stage(kafka, postgres, tmp_path, port, *people, **LOCAL) as running:
            running.publish(
                case(latest_report="r1"),
                case(version=2, latest_report="r2"),
                case(version=3, latest_report="r3"),
                case(version=4, state="acknowledged", changed_by="operator-3", note=NOTE),
                case(version=5, state="acknowledged", weight=9.0, latest_report=None),
                case(version=6, state="resolved", changed_by="system", latest_report=None),
                case(id="c9", latest_report="r9"),
            )
            wait_until(lambda: len(mailbox.mails) >= 2, "mails", timeout_s=20)
            wait_until(lambda: len(server.requests) >= 2, "posts", timeout_s=20)
            told = [(to, mail["Subject"]) for to, mail in mailbox.mails]
            assert told == [
                ("ada@citizen.example", "Your report (pothole) has been seen and accepted"),
                ("ada@citizen.example", "Your report (pothole) has been resolved"),
            ]
            text = mailbox.mails[0][1].get_content()
            assert "The city writes: call […]" in text
            assert "/open311/v2/requests/r1.json" in text
            assert states(server) == ["acknowledged", "resolved"]
            request = server.requests[0]
            assert request.path == "/mine"
            signed = request.headers["x-civicstream-timestamp"].encode() + b"." + request.body
            expected = hmac.new(WEBHOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert request.headers["x-civicstream-signature"] == f"v1={expected}"
            assert msgspec.json.decode(request.body)["service_request_ids"] == ["r2"]
            # ada's second mail and the like were all: nothing is under way any more.
            gauges = ledger_reports(kafka)[-1].gauges
            assert gauges["citizens.failed"] == 0


def test_after_forget_nothing_is_sent(kafka: KafkaSettings, postgres: str, tmp_path: Path) -> None:
    mailbox = Mailbox()
    people = [
        known("r1", SOMEONE, notify="email", email="ada@citizen.example"),
        known("r2", OTHER, notify="email", email="bob@citizen.example"),
    ]
    with (
        mail_server(mailbox) as port,
        stage(kafka, postgres, tmp_path, port, *people, **LOCAL) as running,
    ):
        running.publish(case(latest_report="r1"), case(version=2, latest_report="r2"))
        running.publish(case(version=3, state="acknowledged", latest_report=None))
        wait_until(lambda: len(mailbox.mails) >= 2, "mails", timeout_s=20)
        forget(settings_for(postgres, kafka), SOMEONE)
        running.publish(case(version=4, state="resolved", latest_report=None))
        wait_until(lambda: len(mailbox.mails) >= 3, "one mail more", timeout_s=20)
        assert sorted(to for to, _ in mailbox.mails[:2]) == [
            "ada@citizen.example",
            "bob@citizen.example",
        ]
    assert [to for to, _ in mailbox.mails[2:]] == ["bob@citizen.example"]


def test_addresses_of_our_own_networks_are_never_called(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    with web_server() as server:
        people = [
            known("r1", SOMEONE, notify="https://localhost/x"),
            known("r2", OTHER, notify=f"https://127.0.0.1:{server.port}/x"),
            known("r3", "1" * 32, notify=server.url),
        ]
        with stage(kafka, postgres, tmp_path, 1, *people) as running:
            running.publish(
                case(latest_report="r1"),
                case(version=2, latest_report="r2"),
                case(version=3, latest_report="r3"),
                case(version=4, state="resolved", latest_report=None),
            )
            wait_until(lambda: len(dead_letters(kafka)) >= 3, "refusals", timeout_s=20, every_s=1)
            letters = dead_letters(kafka)
            assert {x.reason for x in letters} == {"delivery_refused"}
            assert not any("127.0.0.1" in x.detail or "localhost" in x.detail for x in letters)
        assert server.requests == []


@pytest.mark.fault
def test_who_cannot_be_reached_delays_nobody_hears_the_newest_and_survives_a_crash(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    down = True
    with web_server(lambda _: (503 if down else 200, {})) as server, mail_server(mailbox) as port:
        people = [
            known("r1", SOMEONE, notify=server.url),
            known("r2", OTHER, notify="email", email="bob@citizen.example"),
        ]
        with stage(kafka, postgres, tmp_path, port, *people, **LOCAL) as running:
            running.publish(case(latest_report="r1"), case(version=2, latest_report="r2"))
            running.publish(case(version=3, state="acknowledged", latest_report=None))
            wait_until(lambda: len(server.requests) >= 2, "attempts", timeout_s=20)
            assert len(mailbox.mails) == 1
            running.publish(case(version=4, state="resolved", latest_report=None))
            wait_until(lambda: len(mailbox.mails) >= 2, "the second mail", timeout_s=20)
            running.child.kill()
        down = False
        failed = len(server.requests)
        with stage(kafka, postgres, tmp_path, port, **LOCAL):
            wait_until(lambda: states(server)[failed:][-1:] == ["resolved"], "news", timeout_s=30)
