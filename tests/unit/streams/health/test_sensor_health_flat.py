"""A sensor whose scatter collapsed is flat, unless the whole city is calm."""

from __future__ import annotations

from tests.kit.sensor_windows import MINUTE, START, Partition, Values, chance


def noise(sensor: int, ts: int, scatter: float) -> Values:
    level = 62 + sensor + scatter * chance(sensor, ts).standard_normal()
    return {"LAeq": round(level, 3), "LAmax": round(level + 6 + sensor, 3)}


DAY = 26 * 60
BROKEN_AT = START + DAY * MINUTE


def test_a_sensor_that_hardly_moves_any_more_is_flat() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return noise(sensor, ts, 0.03 if sensor == 4 and ts >= BROKEN_AT else 1.2)

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(DAY + 60)
    change = partition.changes(4)[0]
    assert change.health == "flat"
    assert "LAeq" in change.reason
    assert change.window_end - BROKEN_AT <= 45 * MINUTE
    assert abs(change.since - BROKEN_AT) <= 10 * MINUTE
    assert len(partition.health) == 1


def test_a_calm_that_all_sensors_share_is_the_citys() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return noise(sensor, ts, 0.1 if ts >= BROKEN_AT else 1.2)

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(DAY + 200)
    assert partition.health == []


def test_half_the_scatter_is_not_flat() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return noise(sensor, ts, 0.6 if sensor == 4 and ts >= BROKEN_AT else 1.2)

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(DAY + 200)
    assert partition.health == []


def test_a_lone_sensor_needs_ten_times_the_evidence() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return noise(sensor, ts, 0.03 if ts >= BROKEN_AT else 1.2)

    partition = Partition("noise", 1, measure, interval_s=60, window_min=10)
    partition.run(DAY + 60)
    assert partition.health == []
    partition.run(360)
    assert partition.states(0) == ["flat"]


def test_hours_that_are_as_calm_as_ever_are_not_flat() -> None:
    def measure(sensor: int, ts: int) -> Values:
        night = (ts - START) // (60 * MINUTE) % 24 >= 18
        own_night = night if sensor < 2 else False
        return noise(sensor, ts, 0.15 if own_night else 1.2)

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(3 * 24 * 60)
    assert partition.health == []


def test_values_that_were_interpolated_over_a_gap_are_flat() -> None:
    def measure(sensor: int, ts: int) -> Values:
        values = noise(sensor, ts, 1.2)
        filled = sensor == 1 and ts >= BROKEN_AT
        return values | {"LAeq": 60 + (ts - BROKEN_AT) / MINUTE * 0.01} if filled else values

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(DAY + 60)
    assert partition.states(1) == ["flat"]
    assert len(partition.health) == 1


def test_a_sensor_that_has_not_been_known_for_a_day_is_not_flat() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return noise(sensor, ts, 0.03 if sensor == 4 and ts >= START + 600 * MINUTE else 1.2)

    partition = Partition("noise", 8, measure, interval_s=60, window_min=10)
    partition.run(20 * 60)
    assert partition.health == []
