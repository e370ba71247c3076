"""Webhooks on a real Kafka: signed, in order, one dead receiver holds up nobody, none is lost."""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings
from stack.servers.processes import wait_until
from tests.kit.deliver_runs import (
    WEBHOOK_SECRET,
    Request,
    alert_sender,
    dead_letters,
    delivering,
    ledger_reports,
    life_of,
    send_alerts,
    start_deliver,
    wait_ready_receivers,
    web_server,
    webhook,
)
from tests.kit.sink_events import alert

log = logging.getLogger(__name__)


def _signature(request: Request) -> str:
    signed = request.headers["x-civicstream-timestamp"].encode() + b"." + request.body
    return "v1=" + hmac.new(WEBHOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()


def test_a_webhook_gets_every_version_signed_and_with_an_id_of_its_own(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with web_server() as server, delivering(kafka, tmp_path, [webhook("ops", server.url)]):
        versions = life_of("l1", headline="Ünïcode") + life_of("l2")
        send_alerts(kafka, *versions)
        wait_until(lambda: len(server.requests) >= 6, "six posts", timeout_s=20)
        assert server.alerts() == [(a.id, a.version) for a in versions]
        for request, sent in zip(server.requests, versions, strict=True):
            assert request.headers["x-civicstream-signature"] == _signature(request)
            assert abs(int(request.headers["x-civicstream-timestamp"]) * 1000 - request.at_ms) < 5e3
            assert request.headers["x-civicstream-delivery"] == f"{sent.id}/{sent.version}"
            body = msgspec.json.decode(request.body)
            assert body["type"] == "alert"
            assert msgspec.convert(body["alert"], type=type(sent)) == sent


def test_a_dead_receiver_holds_up_nobody_and_its_alerts_become_dead_letters(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with web_server() as alive, web_server(lambda _: (503, {})) as failing:
        receivers = [
            webhook("alive", alive.url),
            webhook("gone", "http://127.0.0.1:1/", give_up_after_s=2),
            webhook("failing", failing.url),
            webhook("refusing", alive.url + "/ignored", give_up_after_s=3600),
        ]
        alive.answer = lambda request: (404 if request.path == "/ignored" else 200, {})
        with delivering(kafka, tmp_path, receivers):
            versions = life_of("l1")
            send_alerts(kafka, *versions)

            def to_alive() -> list[Request]:
                return [r for r in list(alive.requests) if r.path == "/"]

            wait_until(lambda: len(to_alive()) >= 3, "the living", timeout_s=10)
            wait_until(
                lambda: len(dead_letters(kafka)) >= 5, "dead letters", timeout_s=30, every_s=1
            )
            letters = dead_letters(kafka)
            assert all(x.stage == "deliver" and x.topic.endswith(".alerts") for x in letters)
            for name, reason in (("gone", "delivery_timed_out"), ("refusing", "delivery_refused")):
                lost = [x for x in letters if f"'{name}'" in x.detail]
                assert {x.reason for x in lost} == {reason}
                assert [x.offset for x in lost] == [0, 1, 2][: len(lost)]
                assert msgspec.json.decode(lost[0].payload, type=type(versions[0])) == versions[0]
            assert len(failing.requests) > 1
            assert {v for _, v in failing.alerts()} == {1}  # order is kept: the first one still
            gauges = ledger_reports(kafka)[-1].gauges
            assert gauges["alive.delivered"] == 3
            assert gauges["refusing.failed"] == 3
            assert gauges["failing.delivered"] == 0
            assert gauges["failing.waiting_s"] > 0


@pytest.mark.parametrize("late", [{"Retry-After": "2"}, {}])
def test_a_receiver_that_recovers_gets_everything_in_order_and_when_it_asked(
    kafka: KafkaSettings, tmp_path: Path, late: dict[str, str]
) -> None:
    answers = iter([(429, late), (500, {})])
    with web_server(lambda _: next(answers, (204, {}))) as server:
        with delivering(kafka, tmp_path, [webhook("ops", server.url)]):
            send_alerts(kafka, *life_of("l1"))
            wait_until(lambda: len(server.requests) >= 5, "posts", timeout_s=20)
        assert [version for _, version in server.alerts()] == [1, 1, 1, 2, 3]
        if late:
            assert server.requests[1].at_ms - server.requests[0].at_ms >= 2000


@pytest.mark.fault
def test_nothing_is_lost_when_deliver_is_killed_again_and_again(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with web_server() as server:
        receivers = [webhook("ops", server.url)]
        expected: list[tuple[str, int]] = []
        child = start_deliver(kafka, tmp_path, receivers)
        try:
            wait_ready_receivers(kafka, child, ["ops"])
            for turn in range(3):
                versions = [v for n in range(20) for v in life_of(f"l{turn}-{n}")]
                expected += [(v.id, v.version) for v in versions]
                send_alerts(kafka, *versions[:30])
                wait_until(
                    lambda: len(server.requests) > 5, "some posts", timeout_s=30, every_s=0.01
                )
                child.kill()
                send_alerts(kafka, *versions[30:])
                child = start_deliver(kafka, tmp_path, receivers)
            wait_until(lambda: set(server.alerts()) >= set(expected), "all posts", timeout_s=60)
        finally:
            child.stop()
        first_seen = list(dict.fromkeys(server.alerts()))
        assert first_seen == expected


def test_a_new_receiver_hears_of_what_is_active_and_not_of_what_is_over(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with web_server() as server:
        with delivering(kafka, tmp_path, []):
            old = alert(id="open", version=2, change="updated", severity="minor")
            send_alerts(kafka, *life_of("over"), alert(id="open", severity="minor"), old)
        with delivering(kafka, tmp_path, [webhook("ops", server.url)]):
            send_alerts(kafka, alert(id="new"))
            wait_until(lambda: len(server.requests) >= 2, "posts", timeout_s=20)
        assert server.alerts() == [("open", 2), ("new", 1)]


def test_from_kafka_to_the_webhooks_request_takes_under_a_second_for_99_of_100(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with (
        web_server() as server,
        delivering(kafka, tmp_path, [webhook("ops", server.url)]),
        alert_sender(kafka) as send,
    ):
        sent_ms: dict[str, int] = {}
        pace = threading.Event()  # never set: a storm of alerts is one alert, so they come apart
        for number in range(100):
            name = f"l{number}"
            sent_ms[name] = now_ms()
            send(alert(id=name))  # returns when Kafka has it
            pace.wait(0.05)
        wait_until(lambda: len(server.requests) >= 100, "all posts", timeout_s=30)
    waits = np.array(
        [
            r.at_ms - sent_ms[name]
            for r, (name, _) in zip(server.requests, server.alerts(), strict=True)
        ]
    )
    p50, p99 = np.percentile(waits, (50, 99)) / 1000
    log.info("alert sent to Kafka -> webhook's request: p50 %.3f s, p99 %.3f s", p50, p99)
    assert p99 < 1.0, f"p50 {p50:.3f} s, p99 {p99:.3f} s"
