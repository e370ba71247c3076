"""Windows in steps, of segments, areas and the environment, equal what a plain loop computes."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from civicstream.city import City
from civicstream.events import TrafficResult, TrafficRow
from feeds.live.places import Places
from tests.kit.history_runs import CITY, Api, history, noise_result, put, put_city, row, traffic
from tests.kit.sink_events import MINUTE
from tests.kit.sink_rows import Loader, loader

START = 1_780_009_140_000  # 22:59 UTC: the load crosses steps of every width
MINUTES = 130
END = START + MINUTES * MINUTE
DAY = 86_400_000
WIDTHS = {"5m": 300_000, "15m": 900_000, "1h": 3_600_000, "1d": DAY}


def load() -> list[TrafficResult]:
    """Windows of three segments; some without vehicles, some without speed."""
    rng = np.random.default_rng(4)
    made = []
    for minute in range(MINUTES):
        rows: dict[str, list[TrafficRow]] = {"north": [], "south": []}
        for segment in CITY.segments:
            vehicles = float(rng.integers(0, 40))
            speed = float(rng.uniform(10, 90)) if vehicles and rng.random() > 0.1 else None
            level = "ABCDEF"[int(rng.integers(0, 6))] if speed else None
            rows[segment.area].append(row(segment.id, vehicles, speed, level))
        made += [traffic(START + minute * MINUTE, *r, area=a) for a, r in rows.items()]
    return made


@pytest.fixture
def api(database: str) -> Iterator[tuple[Api, Loader, list[TrafficResult]]]:
    with loader(database) as loaded:
        put_city(database)
        results = load()
        put(loaded, "results.traffic", *results)
        with history(database, now=END) as asked:
            yield asked, loaded, results


def grouped(results: list[TrafficResult], width: int) -> dict[int, list[TrafficRow]]:
    found: dict[int, list[TrafficRow]] = defaultdict(list)
    for result in results:
        found[result.window_start // width * width] += result.segments
    return found


def close(found: Any, wanted: Any) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return math.isclose(found, wanted, rel_tol=1e-9)


def mean(values: list[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


@pytest.mark.parametrize("step", WIDTHS)
def test_a_segments_steps_are_what_one_long_window_would_have_given(
    api: tuple[Api, Loader, list[TrafficResult]], step: str
) -> None:
    asked, _, results = api
    width = WIDTHS[step]
    span = {"from_": START // width * width, "to": END}
    items = asked.items("segments/s1/windows", **span, step=step)
    wanted = grouped(results, width)
    assert [item["window_start"] for item in items] == sorted(wanted)
    for item in items:
        rows = [r for r in wanted[item["window_start"]] if r.segment == "s1"]
        moving = [r for r in rows if r.space_mean_speed_kmh]
        hours = sum(r.vehicles / r.space_mean_speed_kmh for r in moving if r.space_mean_speed_kmh)
        assert item["window_end"] - item["window_start"] == width
        assert (item["windows"], item["readings"]) == (len(rows), sum(r.readings for r in rows))
        assert close(item["vehicles"], sum(r.vehicles for r in rows))
        assert close(item["flow_veh_h"], mean([(r.flow_veh_h, 1) for r in rows]))
        assert close(
            item["space_mean_speed_kmh"],
            sum(r.vehicles for r in moving) / hours if hours else None,
        )
        assert item["level_of_service"] == max(
            (r.level_of_service for r in rows if r.level_of_service), default=None
        )


@pytest.mark.parametrize("step", ["1m", "15m"])
def test_an_areas_speed_is_distance_by_time_of_all_its_segments(
    api: tuple[Api, Loader, list[TrafficResult]], step: str
) -> None:
    asked, _, results = api
    width = WIDTHS.get(step, MINUTE)
    span = {"from_": START // width * width, "to": END}
    items = asked.items("areas/north/windows", **span, step=step)
    wanted = grouped([r for r in results if r.area == "north"], width)
    assert [item["window_start"] for item in items] == sorted(wanted)
    segments = {s.id: s for s in CITY.segments}
    for item in items:
        rows = wanted[item["window_start"]]
        km = {s.id: s.length_m / 1000 for s in CITY.segments}
        moving = [(r, r.space_mean_speed_kmh) for r in rows if r.space_mean_speed_kmh]
        distance = sum(r.vehicles * km[r.segment] for r, _ in moving)
        spent = sum(r.vehicles * km[r.segment] / speed for r, speed in moving)
        free = sum(
            r.vehicles * km[r.segment] / segments[r.segment].free_flow_kmh for r, _ in moving
        )
        assert close(item["vehicle_km"], sum(r.vehicles * km[r.segment] for r in rows))
        assert close(item["space_mean_speed_kmh"], distance / spent if spent else None)
        assert close(item["travel_time_index"], spent / free if free else None)
        assert close(item["flow_veh_h"], mean([(r.flow_veh_h, km[r.segment]) for r in rows]))
        jammed = [
            (float(r.level_of_service in "EF"), km[r.segment]) for r in rows if r.level_of_service
        ]
        assert close(item["congested_share"], mean(list(jammed)))
        assert item["segments"] == 2


def test_environment_steps_weigh_by_readings(
    api: tuple[Api, Loader, list[TrafficResult]],
) -> None:
    asked, loaded, _ = api
    at = START // 3_600_000 * 3_600_000
    windows = [noise_result(at + n * MINUTE, 50.0 + n, 1 + n) for n in range(4)]
    put(loaded, "results.environment", *windows)
    for step in ("5m", "15m", "1h"):
        (item,) = asked.items("environment", from_=at, to=at + 1, step=step)
        assert close(item["mean"], (50 * 1 + 51 * 2 + 52 * 3 + 53 * 4) / 10)
        assert (item["min"], item["max"], item["p95"], item["readings"]) == (45.0, 58.0, 57.0, 10)


def test_the_first_and_last_steps_are_never_shown_in_part(
    api: tuple[Api, Loader, list[TrafficResult]],
) -> None:
    asked, _, _ = api
    whole = asked.items("segments/s1/windows", from_=START - DAY, to=END, step="15m")
    later = asked.items("segments/s1/windows", from_=START + 20 * MINUTE, to=END, step="15m")
    assert later == [item for item in whole if item["window_start"] >= START + 20 * MINUTE]
    nothing = asked.get("segments/s1/windows", from_=START + 1, to=START + 2, step="15m")
    assert nothing.status_code == 400
    assert "shorter step" in nothing.json()["detail"]


def test_a_span_too_long_for_its_step_names_a_step_that_would_do(
    api: tuple[Api, Loader, list[TrafficResult]],
) -> None:
    asked, _, _ = api
    for path, step in (("segments/s1/windows", "1h"), ("areas/north/windows", "5m")):
        answer = asked.get(path, from_=END - 40 * DAY, to=END)
        assert answer.status_code == 400
        assert f"step={step}" in answer.json()["detail"]


def test_the_usual_day_is_the_median_of_earlier_days_of_the_same_sort(database: str) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    monday = dt.datetime(2026, 6, 1, 8, 7, tzinfo=berlin)  # the second quarter is free of it
    speeds = {}
    with loader(database) as loaded:
        put_city(database)
        for days in range(1, 29):
            at = monday - dt.timedelta(days=days)
            speed = 30.0 + days if at.weekday() < 5 else 90.0
            speeds[at.date()] = speed
            put(
                loaded,
                "results.traffic",
                traffic(round(at.timestamp()) * 1000, row("s1", 10, speed)),
            )
        with history(database, now=round(monday.timestamp()) * 1000) as asked:
            found = asked.get("segments/s1/usual", days=10).json()
    compared = [dt.date.fromisoformat(day) for day in found["compared_days"]]
    assert len(compared) == 10
    assert all(day.weekday() < 5 for day in compared)
    (slot,) = found["slots"]
    assert (slot["minute"], slot["days"]) == (8 * 60, 10)
    known = [speeds[day] for day in compared]
    assert slot["speed_kmh"] == pytest.approx(np.median(known))
    assert slot["speed_low_kmh"] == pytest.approx(np.quantile(known, 0.1))
    assert slot["speed_high_kmh"] == pytest.approx(np.quantile(known, 0.9))
    assert (found["day_type"], found["time_zone"]) == ("weekday", "Europe/Berlin")


def test_a_segment_is_marked_where_the_live_feed_marks_it(database: str) -> None:
    lines = [
        ((13.0, 52.0), (13.2, 52.2)),
        ((13.0, 52.0), (13.1, 52.0), (13.1, 52.5)),
        ((13.0, 52.0), (13.0, 52.0), (13.3, 52.1), (13.3, 52.1)),
        ((13.0, 52.0), (13.0, 52.0)),
    ]
    segments = tuple(
        replace(CITY.segments[0], id=f"m{n}", position=n, line=line) for n, line in enumerate(lines)
    )
    city = City(CITY.areas, segments, CITY.sensors.empty())
    at = START
    with loader(database) as loaded:
        put_city(database, city)
        put(loaded, "results.traffic", traffic(at, *(row(s.id, 1, 50.0) for s in segments)))
        with history(database, now=at + MINUTE) as asked:
            state = asked.get("state", topics="segments").json()["state"]
    places = Places(city)
    found = {s["id"]: (s["lon"], s["lat"]) for s in state["segments"]}
    assert len(found) == len(lines)
    for segment, place in found.items():
        assert place == pytest.approx(places.segment(segment))
