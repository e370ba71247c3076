"""Reports, crews and decisions survive kill -9: each counts once, every version comes once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from civicstream.city import City
from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Action, Allocation, Case, Report, Unit
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from sensors_sim.city_plan import plan_city
from stack.servers.processes import Child, wait_until
from tests.kit.worker_runs import read_topic, start_worker, wait_for_report, worker_environment

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SERVICES = ("pothole", "street_light", "graffiti")
PLACES = 12
NEIGHBOURS = 3
"""Citizens who report each problem: one case of three reports."""

E = TypeVar("E", bound=msgspec.Struct)


class Citizens:
    """Puts reports, crews' messages and decisions on Kafka."""

    def __init__(self, kafka: KafkaSettings, city: City) -> None:
        self._kafka = kafka
        self._producer = kafka_clients.producer(kafka)
        segments = city.segments
        step = max(1, len(segments) // PLACES)
        self.places = [(s.area, *s.line[0]) for s in segments[::step]][:PLACES]

    def close(self) -> None:
        self._producer.close()

    def send(self, topic: str, event: Any, event_id: str) -> None:
        headers = cloud_headers(topic, source="/test", event_id=event_id, time_ms=now_ms())
        name = topic_name(self._kafka.topic_prefix, topic)
        value = msgspec.json.encode(event)
        self._producer.send(name, value, key=event.area.encode(), headers=headers).get(30)

    def report(self, place: int, citizen: int, service: str) -> None:
        """Report a problem; the same arguments are the same report, sent again."""
        area, lon, lat = self.places[place]
        report = Report(
            id=f"{place}-{citizen}-{service}",
            area=area,
            service=service,
            lon=lon + citizen * 1e-6,
            lat=lat,
            description="here",
            reported_at=now_ms(),
            received_at=now_ms(),
            channel="mqtt",
            reporter=f"citizen-{place}-{citizen}",
            reference="1",
        )
        self.send("reports", report, report.id)

    def unit(self, number: int, state: str, task: str | None = None) -> None:
        area, lon, lat = self.places[number % len(self.places)]
        shift_end = now_ms() + 8 * 3_600_000
        skills = ["road", "electric", "cleaning", "tow"]
        self.send(
            "units",
            Unit(
                id=f"crew-{number}",
                area=area,
                state=state,  # type: ignore[arg-type]
                skills=skills,
                lon=lon,
                lat=lat,
                shift_end=shift_end,
                capacity=10.0,
                load=0.0,
                at=now_ms(),
                task=task,
            ),
            f"crew-{number}/{now_ms()}",
        )

    def act(self, subject: str, action: str, value: str | None = None) -> None:
        area = self.places[0][0]
        event = Action(
            f"{subject}/{action}", subject, action, area, "operator/anna", now_ms(), value=value
        )
        self.send("actions", event, event.id)


def events(kafka: KafkaSettings, topic: str, of: type[E]) -> list[E]:
    return [msgspec.json.decode(record.value, type=of) for record in read_topic(kafka, topic)]


def newest(versions: list[Case]) -> dict[str, Case]:
    return {case.id: case for case in sorted(versions, key=lambda c: c.version)}


def test_a_worker_killed_again_and_again_counts_every_report_once(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    city = plan_city(60, 2)
    create_topics(kafka)
    settings = worker_environment(kafka, tmp_path, city)
    citizens = Citizens(kafka, city)
    worker = start_worker(settings, tmp_path, "worker-0")
    try:
        wait_for_report(kafka, "worker-0", 0)
        for number in range(4):
            citizens.unit(number, "available")
        for life in range(1, 4):
            for place in range(len(citizens.places)):
                citizens.report(place, (life - 1) % NEIGHBOURS, SERVICES[place % 3])
                citizens.report(place, 0, SERVICES[place % 3])  # the first one's, again
            if life == 2:
                wait_until(lambda: bool(events(kafka, "cases", Case)), "a case", timeout_s=60)
            worker.kill()
            worker = start_worker(settings, tmp_path, f"worker-{life}")
        every = len(citizens.places)

        def counted() -> bool:
            cases = newest(events(kafka, "cases", Case)).values()
            return sum(case.reports for case in cases) == every * NEIGHBOURS

        wait_until(counted, "every report in a case", timeout_s=120, every_s=1.0)
        check_versions(events(kafka, "cases", Case))
        assert len(newest(events(kafka, "cases", Case))) == every
        follow_one_to_its_end(kafka, citizens)
        assign_one_and_be_killed(kafka, citizens, worker)
        worker = start_worker(settings, tmp_path, "worker-4")
        wait_until(lambda: len(sent_by_hand(kafka)) == 1, "the unit assigned", timeout_s=90)
        check_versions(events(kafka, "cases", Case))
        check_versions(events(kafka, "allocations", Allocation))
        assert worker.stop() == 0, worker.last_words()
    finally:
        worker.kill()
        citizens.close()


def check_versions(events_: list[Any]) -> None:
    """Versions count from 1 without gaps; one published twice is the same."""
    found: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for event in events_:
        found[event.id][event.version].append(event)
    assert found
    for id_, versions in found.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), id_
        for copies in versions.values():
            assert copies == [copies[0]] * len(copies), id_


def assign_one_and_be_killed(kafka: KafkaSettings, citizens: Citizens, worker: Child) -> None:
    """Somebody sends a crew to a case that waits; the worker dies at that moment."""
    cases = newest(events(kafka, "cases", Case)).values()
    case = next(c for c in cases if c.state == "received")
    citizens.act(f"case/{case.id}", "assign", "crew-3")
    worker.kill()


def sent_by_hand(kafka: KafkaSettings) -> set[tuple[str, str]]:
    """Return the allocations of crew-3 that somebody decided, whose cases know of it."""
    cases = newest(events(kafka, "cases", Case))
    return {
        (a.id, a.task)
        for a in events(kafka, "allocations", Allocation)
        if a.policy == "manual"
        and a.unit == "crew-3"
        and cases[a.task.removeprefix("case/")].state == "assigned"
    }


def follow_one_to_its_end(kafka: KafkaSettings, citizens: Citizens) -> None:
    """A proposal is accepted, the crew goes, works and is done; the case is resolved."""

    def first(condition: Callable[[Allocation], bool]) -> Allocation | None:
        return next((a for a in events(kafka, "allocations", Allocation) if condition(a)), None)

    wait_until(lambda: first(lambda a: a.state == "proposed") is not None, "advice", timeout_s=60)
    latest = {a.id: a for a in events(kafka, "allocations", Allocation)}
    advice = next(a for a in latest.values() if a.state == "proposed")
    assert advice.reason
    citizens.act(f"allocation/{advice.id}", "accept")
    wait_until(
        lambda: first(lambda a: a.id == advice.id and a.state == "accepted") is not None,
        "the acceptance",
        timeout_s=30,
    )
    case = advice.task.removeprefix("case/")

    def state() -> str:
        return newest(events(kafka, "cases", Case))[case].state

    wait_until(lambda: state() == "assigned", "the case to be assigned", timeout_s=30)
    number = int(advice.unit.removeprefix("crew-"))
    citizens.unit(number, "on_site", advice.task)
    wait_until(lambda: state() == "in_progress", "work to begin", timeout_s=30)
    citizens.act(f"case/{case}", "resolve")
    wait_until(lambda: state() == "resolved", "the case to be resolved", timeout_s=30)
