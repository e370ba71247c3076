"""`civicstream tail` and `civicstream health` against a real broker."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.events import Counts, LedgerReport
from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kafka.clients import producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.kinds import KINDS
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.health import wait_for_report
from stack.tail import tail
from tests.kit.citizen_events import action, allocation, case, demand, report, unit
from tests.kit.sink_events import anomaly, forecast, forecast_row, incident
from tests.kit.sink_events import health as sensor_health

Send = Callable[..., None]


@pytest.fixture
def send(kafka: KafkaSettings) -> Iterator[Send]:
    create_topics(kafka)
    sender = producer(kafka)

    def send(name: str, value: bytes, **options: object) -> None:
        sender.send(topic_name(kafka.topic_prefix, name), value, **options).get(10)

    yield send
    sender.close()


def _noise(ts: int, area: str) -> bytes:
    return encode(
        Frame(
            kind=KINDS["noise"],
            sensor_key=np.array([7]),
            sensor=Dictionary(np.zeros(1, np.int32), ["n7"]),
            area=Dictionary(np.zeros(1, np.int32), [area]),
            ts=np.array([ts]),
            measures={"LAeq": np.array([61.5]), "LAmax": np.array([np.nan])},
        )
    )


def test_frames_of_all_partitions_are_printed_from_the_beginning(
    kafka: KafkaSettings, send: Send
) -> None:
    headers = FrameHeaders("g", 1, 0, 1, 1).to_kafka()
    for partition in range(4):
        send("frames.noise", _noise(partition, "north"), partition=partition, headers=headers)
    out = io.StringIO()
    tail(kafka, "frames.noise", start="beginning", stop=threading.Event(), limit=4, out=out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sorted(line["ts"] for line in lines) == [0, 1, 2, 3]
    assert lines[0]["LAeq"] == 61.5


def test_the_limit_counts_lines_of_the_area_asked_for(kafka: KafkaSettings, send: Send) -> None:
    for ts, area in enumerate(("north", "south", "north", "south")):
        send("frames.noise", _noise(ts, area), partition=0)
    out = io.StringIO()
    stop, name = threading.Event(), f"{kafka.topic_prefix}.frames.noise"
    tail(kafka, name, start="beginning", stop=stop, limit=2, area="south", out=out)
    assert [json.loads(line)["ts"] for line in out.getvalue().splitlines()] == [1, 3]


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        ("incidents", incident()),
        ("forecasts", forecast(forecast_row("s1", [50.0, None]))),
        ("health", sensor_health(sensor=None)),
        ("anomalies", anomaly()),
        ("reports", report()),
        ("cases", case()),
        ("units", unit()),
        ("allocations", allocation()),
        ("demand", demand()),
        ("actions", action()),
    ],
)
def test_events_are_printed_as_they_are(
    kafka: KafkaSettings, send: Send, topic: str, event: msgspec.Struct
) -> None:
    send(topic, msgspec.json.encode(msgspec.structs.replace(event, area="south")), key=b"south")
    send(topic, msgspec.json.encode(event), key=b"north")
    out, stop = io.StringIO(), threading.Event()
    tail(kafka, topic, start="beginning", stop=stop, limit=1, area="north", out=out)
    assert msgspec.json.decode(out.getvalue(), type=type(event)) == event


def test_a_topic_that_is_not_declared_is_refused_with_the_list(kafka: KafkaSettings) -> None:
    with pytest.raises(ConfigurationError, match=r"'frames\.nosie' is not one of: frames\.traffic"):
        tail(kafka, "frames.nosie", start="end", stop=threading.Event())


def _report(instance: str, at: int) -> bytes:
    report = LedgerReport("sink", instance, at, at, {"air": Counts()})
    return msgspec.json.encode(report)


def test_a_part_is_healthy_by_its_next_report(kafka: KafkaSettings, send: Send) -> None:
    send("ledger", _report("sink-1", now_ms()), key=b"sink/s1/1")
    stop = threading.Event()

    def report_every_moment() -> None:
        while not stop.wait(0.1):
            send("ledger", _report("sink-1", now_ms()), key=b"sink/s1/1")

    reporter = threading.Thread(target=report_every_moment)
    reporter.start()
    try:
        assert wait_for_report(kafka, "sink", "sink-1", timeout_s=20).instance == "sink-1"
        with pytest.raises(ServerUnavailable, match="'sink-2' sent no ledger report"):
            wait_for_report(kafka, "sink", "sink-2", timeout_s=1)
    finally:
        stop.set()
        reporter.join()


def test_an_old_report_does_not_make_a_dead_part_healthy(kafka: KafkaSettings, send: Send) -> None:
    send("ledger", _report("sink-1", now_ms() - 1), key=b"sink/s1/1")
    with pytest.raises(ServerUnavailable, match="see its log"):
        wait_for_report(kafka, "sink", "sink-1", timeout_s=1)
