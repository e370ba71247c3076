"""Incidents, sensor health and forecasts survive kill -9: nothing twice, nothing left out."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from civicstream.city import City, Sensors
from civicstream.clock import now_ms
from civicstream.events import Incident, SensorHealth, TrafficForecast, TrafficResult
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from sensors_sim.city_plan import plan_city
from stack.servers.processes import wait_until
from tests.kit.intelligence_runs import START_MS, WINDOW_MS, Expected, Recording, expected, publish
from tests.kit.worker_runs import read_topic, start_worker, wait_for_report, worker_environment

pytestmark = [pytest.mark.fault, pytest.mark.slow]

MINUTES = 100
SECONDS = 20
"""How long the recording takes to be sent: worker and killings have that time."""


def recording() -> Recording:
    city = plan_city(200, 3)
    detectors = [i for i, kind in enumerate(city.sensors.kind.tolist()) if kind == 0]
    assert Sensors.kind_names[0] == "traffic"
    return Recording(city, 5, MINUTES, detectors[10])


def environment(kafka: KafkaSettings, folder: Path, city: City) -> dict[str, str]:
    """Windows of a minute, as in earnest; everything on."""
    short = worker_environment(kafka, folder, city)
    kept = {k: v for k, v in short.items() if not k.startswith("CIVICSTREAM_WINDOWS__")}
    return kept | {"CIVICSTREAM_INTELLIGENCE__SENSOR_HEALTH": "true"}


def test_a_worker_killed_three_times_concludes_what_one_left_alone_would(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    run = recording()
    truth = expected(run, kafka.partitions)
    assert len({i.id for i in truth.incidents}) >= 3, "a run without incidents shows nothing"
    assert [h.sensor for h in truth.health if h.health == "impossible"] == [
        run.city.sensors.ids[run.broken_sensor]
    ]
    create_topics(kafka)
    settings = environment(kafka, tmp_path, run.city)
    worker = start_worker(settings, tmp_path, "worker-0")
    try:
        wait_for_report(kafka, "worker-0", 0)
        lives, began = 1, time.monotonic()
        for at in publish(kafka, run):
            share = (at - START_MS) / (MINUTES * WINDOW_MS)
            _sleep_until(began + min(share, 1.0) * SECONDS)
            if lives < 4 and share > lives / 4:
                worker.kill()
                worker = start_worker(settings, tmp_path, f"worker-{lives}")
                lives += 1
        assert lives == 4
        wait_for_report(kafka, "worker-3", now_ms())
        last = START_MS + (MINUTES - 1) * WINDOW_MS
        wait_until(
            lambda: last + WINDOW_MS in {f.made_at for f in forecasts(kafka)},
            "the forecast from the last window",
            timeout_s=90,
            every_s=1.0,
        )
        check_health(kafka, truth)
        check_coverage(kafka, run, truth)
        check_forecasts(kafka, run)
        check_incidents(kafka, truth)
        assert worker.stop() == 0, worker.last_words()
    finally:
        worker.kill()


def _sleep_until(at: float) -> None:
    """Pace the load: event time runs three hundred times as fast as the clock."""
    time.sleep(max(0.0, at - time.monotonic()))


def forecasts(kafka: KafkaSettings) -> list[TrafficForecast]:
    records = read_topic(kafka, "forecasts")
    return [msgspec.json.decode(record.value, type=TrafficForecast) for record in records]


def check_incidents(kafka: KafkaSettings, truth: Expected) -> None:
    """Every version is the expected one, also where it was published twice."""
    found = defaultdict(list)
    for record in read_topic(kafka, "incidents"):
        incident = msgspec.json.decode(record.value, type=Incident)
        found[incident.id, incident.version].append(_timeless(incident))
    wanted = {(i.id, i.version): _timeless(i) for i in truth.incidents}
    assert found.keys() == wanted.keys()
    for place, versions in found.items():
        assert versions == [wanted[place]] * len(versions), place


def _timeless(incident: Incident) -> Incident:
    return msgspec.structs.replace(incident, computed_at=0)


def check_health(kafka: KafkaSettings, truth: Expected) -> None:
    changes = {
        (h.sensor_key, h.window_end): h.health
        for record in read_topic(kafka, "health")
        for h in [msgspec.json.decode(record.value, type=SensorHealth)]
    }
    assert changes == {(h.sensor_key, h.window_end): h.health for h in truth.health}


def check_coverage(kafka: KafkaSettings, run: Recording, truth: Expected) -> None:
    """The broken sensor's segment is covered less from the window on in which it was found."""
    coverage: dict[int, dict[str, float]] = defaultdict(dict)
    for record in read_topic(kafka, "results.traffic"):
        result = msgspec.json.decode(record.value, type=TrafficResult)
        if result.status == "final" and result.window_start in truth.windows:
            coverage[result.window_start] |= {r.segment: r.coverage for r in result.segments}
    segment = int(run.city.sensors.segment[run.broken_sensor])
    name = run.city.segments[segment].id
    assert coverage.keys() == truth.windows.keys()
    for start, expected_coverage in truth.windows.items():
        assert coverage[start].get(name, 0.0) == pytest.approx(expected_coverage[segment]), start
    assert coverage[START_MS][name] == 1.0
    assert coverage[max(coverage)].get(name, 0.0) < 1.0


def check_forecasts(kafka: KafkaSettings, run: Recording) -> None:
    """Every area has one after every window, with all its segments."""
    found = defaultdict(list)
    for forecast in forecasts(kafka):
        found[forecast.area, forecast.made_at].append(forecast)
    areas = {segment.area for segment in run.city.segments}
    made = {START_MS + (n + 1) * WINDOW_MS for n in range(MINUTES)}
    assert {(area, at) for area in areas for at in made} <= found.keys()
    at_the_end = [row for area in areas for row in found[area, max(made)][0].segments]
    assert {row.segment for row in at_the_end} == {s.id for s in run.city.segments}
    assert all(
        low <= speed <= high
        for row in at_the_end
        for low, speed, high in zip(
            row.speed_low_kmh, row.speed_kmh, row.speed_high_kmh, strict=True
        )
        if low is not None and speed is not None and high is not None
    )
    assert sum(row.speed_kmh[0] is not None for row in at_the_end) > len(at_the_end) / 2
