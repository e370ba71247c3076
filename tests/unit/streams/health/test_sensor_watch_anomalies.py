"""What healthy sensors find unusual becomes events, opened and closed with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from streams.anomaly import AnomalyDetector
from streams.health import SensorWatch
from streams.windows.windows import Columns
from tests.kit.sensor_windows import MINUTE, START, Partition, Values, chance, late_readings

DAY = 24 * 60


@dataclass(frozen=True)
class _Scores:
    score: NDArray[Any]
    expected: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


class Thresholds:
    """A detector to which everything above 100 is unusual: so that a test knows the score.

    Like the real one it tells what is unusual once, when it is news.
    """

    def grow(self, series: int) -> None:
        self.series = series
        self.told = np.zeros(series, np.bool_)

    def update(
        self, rows: NDArray[np.intp], at_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> _Scores:
        assert len(set(rows.tolist())) == len(rows) == len(at_ms)
        assert rows.max() < self.series
        full = np.full(len(rows), 50.0)
        news = (values > 100) & ~self.told[rows]
        self.told[rows] = values > 100
        return _Scores(np.where(news, 0.97, 0.0), full, full - 50, full + 50)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Thresholds:
        assert not arrays
        return cls()


def watch_over(city: City, high: set[int], since: int, until: int, minutes: int) -> list[Any]:
    """Return the anomalies of six grid nodes of one area, ``high`` ones so from/to a minute."""
    kind = city.sensors.kind_names.index("energy")
    energy = np.flatnonzero(city.sensors.kind == kind)
    area = np.bincount(city.sensors.area[energy]).argmax()
    nodes = energy[city.sensors.area[energy] == area][:6]
    assert len(nodes) == 6
    watch = SensorWatch(KINDS["energy"], city, detector=Thresholds())
    names, found = [a.id for a in city.areas], []
    for minute in range(minutes):
        start = START + minute * MINUTE
        ts = start + np.arange(6, dtype=np.int64) * 1000
        rng = np.random.default_rng(minute)
        volts = 50 + rng.standard_normal(6)
        for i in high:
            volts[i] += 70 if since <= minute < until else 0
        measures = {"activePower": 30 + rng.random(6), "voltage": volts}
        measures["activeEnergyImport"] = np.full(6, np.nan)
        readings = Columns(
            city.sensor_keys[nodes], ts, city.sensors.area[nodes], ts + 100, measures
        )
        told = watch.observe(start, start + MINUTE, readings, names, late_readings([]), start)
        assert told.health == []
        found += told.anomalies
    return found


CITY = plan_city(4_000, 5)


def test_what_neighbours_share_is_an_event_at_once_and_closes_when_it_is_over() -> None:
    found = watch_over(CITY, {1, 2, 3}, since=20, until=50, minutes=90)
    opened = [a for a in found if a.state == "open"]
    closed = [a for a in found if a.state == "closed"]
    assert len(opened) == len(closed) == 3
    assert {a.id for a in opened} == {a.id for a in closed}
    first = opened[0]
    assert (first.version, closed[0].version) == (1, 2)
    assert first.window_end <= START + 25 * MINUTE
    assert closed[0].window_end >= START + 60 * MINUTE
    assert first.measure == "voltage"
    assert (first.score, first.expected, first.high) == (np.float32(0.97), 50, 100)
    assert first.sensor is not None
    key = first.sensor_key & 0xFFFF_FFFF_FFFF_FFFF
    assert first.id == f"energy/{first.area}/{key:016x}/voltage/{first.started_at}"
    assert len({a.sensor_key for a in opened}) == 3


def test_what_stands_alone_against_its_neighbours_has_to_last() -> None:
    assert watch_over(CITY, {1}, since=20, until=29, minutes=60) == []
    found = watch_over(CITY, {1}, since=20, until=60, minutes=80)
    assert [a.state for a in found] == ["open", "closed"]
    assert found[0].window_end >= START + 30 * MINUTE
    assert found[0].started_at <= START + 22 * MINUTE
    assert {a.score for a in found} == {np.float32(0.97)}


def test_an_anomaly_of_a_sensor_that_turns_out_broken_is_closed() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        if sensor == 2 and minute >= 45:
            return None
        loud = 70 if sensor == 2 and minute >= 20 else 0
        level = 50 + loud + float(chance(sensor, ts).standard_normal())
        return {"LAeq": level, "LAmax": level + 3}

    meters = Partition("noise", 6, measure, interval_s=60, detector=Thresholds())
    meters.run(44)
    assert [a.state for a in meters.anomalies] == ["open"]
    meters.run(20)
    assert meters.states(2) == ["silent"]
    assert [a.state for a in meters.anomalies] == ["open", "closed"]
    assert meters.anomalies[1].window_end == meters.changes(2)[0].window_end


def test_the_real_detector_finds_a_fall_of_the_voltage_that_all_share() -> None:
    rng = np.random.default_rng(3)

    def measure(_: int, ts: int) -> Values:
        minute = (ts - START) // MINUTE
        fall = 25 if minute >= DAY + 60 else 0
        day = 2 * np.sin(2 * np.pi * minute / DAY)
        volts = 231 + day - fall + 0.6 * rng.standard_normal()
        power = 40 * (1 + 0.03 * rng.standard_normal())
        return {"voltage": round(volts, 3), "activePower": round(power, 3)}

    nodes = Partition("energy", 6, measure, interval_s=60, detector=AnomalyDetector())
    nodes.run(DAY + 60)
    before = len(nodes.anomalies)
    nodes.run(30)
    found = [a for a in nodes.anomalies[before:] if a.state == "open"]
    assert {a.measure for a in found} == {"voltage"}
    assert len({a.sensor_key for a in found}) == 6
    assert all(a.value < a.low for a in found)
    assert before <= 6
