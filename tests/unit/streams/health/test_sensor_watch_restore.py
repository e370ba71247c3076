"""A watch that was restored goes on as if it had never stopped."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.kinds import KINDS
from streams.anomaly import AnomalyDetector
from streams.health import SensorWatch
from tests.kit.sensor_windows import MINUTE, START, Partition, Values, free_traffic, late_readings


def eventful(sensor: int, ts: int) -> Values | None:
    """Return traffic in which sensors break and heal, and one is unusual at the end."""
    minute = (ts - START) // MINUTE
    if sensor == 1 and 30 <= minute < 60:
        return free_traffic(sensor, START)
    if sensor == 2 and minute >= 40:
        return None
    if sensor == 3 and minute >= 50:
        return free_traffic(sensor, ts) | {"occupancy": 0.99, "intensity": 9.0}
    if sensor in {4, 5} and minute >= 70:
        return free_traffic(sensor, ts, speed=40)
    return free_traffic(sensor, ts)


def partition() -> Partition:
    return Partition("traffic", 10, eventful, detector=AnomalyDetector())


def restored(from_: Partition, profiles: dict[str, bytes] | None = None) -> Partition:
    """Return a new life that goes on where ``from_`` stands."""
    new = partition()
    new.minute = from_.minute
    learned = from_.watch.dump_profile("old-town") if profiles is None else profiles["old-town"]
    new.watch.restore("old-town", from_.watch.dump("old-town"), learned)
    return new


@pytest.fixture(scope="module")
def whole() -> Partition:
    """Return a life without interruption."""
    one = partition()
    one.run(100)
    return one


@pytest.mark.parametrize("stop", [1, 43, 52, 77])
def test_a_restored_watch_tells_what_the_old_one_would_have_told(
    whole: Partition, stop: int
) -> None:
    first = partition()
    first.run(stop)
    second = restored(first)
    second.run(100 - stop)
    assert len(whole.health) >= 4
    assert first.health + second.health == whole.health
    assert first.anomalies + second.anomalies == whole.anomalies
    assert second.excluded == whole.excluded
    assert second.watch.dump("old-town") == whole.watch.dump("old-town")
    assert second.watch.dump_profile("old-town") == whole.watch.dump_profile("old-town")


def test_an_older_profile_keeps_the_states_of_health() -> None:
    first = partition()
    first.run(35)
    old = {"old-town": first.watch.dump_profile("old-town")}
    first.run(20)
    second = restored(first, old)
    assert second.watch.unhealthy == first.watch.unhealthy >= 2
    first.run(30)
    second.run(30)
    assert second.excluded == first.excluded


def test_a_watch_without_a_profile_starts_young_and_keeps_the_states() -> None:
    first = partition()
    first.run(55)
    second = partition()
    second.minute = first.minute
    second.watch.restore("old-town", first.watch.dump("old-town"))
    assert second.watch.unhealthy == first.watch.unhealthy
    second.run(30)
    assert second.excluded == {3}


def test_the_order_of_readings_changes_nothing() -> None:
    plain, shuffled = partition(), partition()
    plain.run(80)
    for minute in range(80):
        start = START + minute * MINUTE
        rows = shuffled.rows(start)
        order = np.random.default_rng(minute).permutation(len(rows))
        shuffled.observe(start, [rows[i] for i in order], late_readings([]))
    assert shuffled.health == plain.health
    assert shuffled.anomalies == plain.anomalies
    assert shuffled.watch.dump_all() == plain.watch.dump_all()


def test_the_fast_state_of_a_large_area_is_below_a_hundred_bytes_per_sensor() -> None:
    many = Partition("traffic", 500, free_traffic, detector=AnomalyDetector())
    many.run(12)
    assert len(many.watch.dump("old-town")) < 100 * 500


def test_bytes_that_are_no_state_are_refused() -> None:
    watch = partition().watch
    with pytest.raises(ValueError, match="are not a state of sensors"):
        watch.restore("old-town", b"something else")


def test_a_state_with_a_column_of_another_shape_restores_the_rest() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return {"pm10": 20.0 + (ts + sensor) % 7, "pm25": 9.0}

    air = Partition("air", 3, measure, interval_s=60)
    air.run(3)
    watch = SensorWatch(KINDS["noise"], air.city)
    watch.restore("old-town", air.watch.dump("old-town"))
    assert len(watch) == 3
