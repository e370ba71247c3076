"""A sensor that reports nothing is silent; a gateway that brings nothing is not a thousand."""

from __future__ import annotations

from tests.kit.sensor_windows import (
    MINUTE,
    START,
    Partition,
    Values,
    free_traffic,
    late_readings,
)


def test_a_sensor_is_silent_after_ten_intervals_and_ok_when_it_reports_again() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        return None if sensor == 5 and 20 <= minute < 40 else free_traffic(sensor, ts)

    partition = Partition("traffic", 10, measure)
    partition.run(24)
    assert partition.health == []
    partition.run(16)
    change = partition.changes(5)[0]
    assert change.health == "silent"
    assert START + 19 * MINUTE <= change.since < START + 20 * MINUTE
    assert "no reading since 2026" in change.reason
    assert "every 20 s" in change.reason
    partition.run(1)
    assert partition.states(5) == ["silent"]
    assert partition.excluded == {5}
    partition.run(3)
    assert partition.states(5) == ["silent", "ok"]
    assert len(partition.health) == 2


def test_a_sensor_that_reports_every_five_minutes_may_be_quiet_for_half_an_hour() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        if sensor < 8:
            return free_traffic(sensor, ts)
        rare = minute % 5 == 0 and ts % MINUTE < 20_000
        return free_traffic(sensor, ts) if rare and not 100 <= minute < 140 else None

    partition = Partition("traffic", 10, measure)
    partition.run(140)
    assert partition.health == []


def test_most_of_the_partition_missing_is_no_sensors_fault() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        return None if sensor > 1 and 20 <= minute < 80 else free_traffic(sensor, ts)

    partition = Partition("traffic", 10, measure)
    partition.run(120)
    assert partition.health == []


def test_hours_without_any_window_make_nobody_silent() -> None:
    partition = Partition("traffic", 10, free_traffic)
    partition.run(30)
    partition.minute += 300
    partition.run(30)
    assert partition.health == []


def test_sensors_that_all_report_at_once_every_five_minutes_are_silent_after_ten_times() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        if sensor == 5 and minute >= 100:
            return None
        return free_traffic(sensor, ts) if ts % MINUTE < 20_000 else None

    partition = Partition("traffic", 10, measure)
    for _ in range(34):
        partition.run(1)
        partition.minute += 4
    assert partition.states(5) == ["silent"]
    change = partition.changes(5)[0]
    assert 150 * MINUTE <= change.window_end - START <= 160 * MINUTE
    assert len(partition.health) == 1


def test_readings_that_all_come_late_by_ever_different_delays_are_silence() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        gone = sensor == 5 and ts >= START + 20 * MINUTE
        return None if gone else free_traffic(sensor, ts)

    partition = Partition("traffic", 10, measure)
    key = int(partition.keys[5])

    def late(end: int) -> object:
        minute = (end - START) // MINUTE
        delay = (90_000, 400_000, 900_000)[minute % 3]
        return late_readings([(key, end - delay, end)] if minute > 22 else [])

    partition.run(40, late)  # type: ignore[arg-type]
    assert partition.states(5) == ["silent"]
    assert "came after their window was closed" in partition.changes(5)[0].reason
