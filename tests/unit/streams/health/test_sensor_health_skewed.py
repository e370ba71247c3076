"""A wrong clock shows against the other sensors' delays; slow transport does not."""

from __future__ import annotations

from tests.kit.sensor_windows import (
    MINUTE,
    START,
    Partition,
    Values,
    free_traffic,
    late_readings,
)


def test_a_clock_that_is_twenty_seconds_slow_is_skewed() -> None:
    def delay(sensor: int, ts: int) -> int:
        return 20_200 if sensor == 3 and ts > START + 10 * MINUTE else 200 + ts % 97

    partition = Partition("traffic", 10, free_traffic, delay_ms=delay)
    partition.run(20)
    change = partition.changes(3)[0]
    assert change.health == "skewed"
    assert "20 s behind" in change.reason
    assert len(partition.health) == 1


def test_a_clock_that_is_fast_is_skewed_too() -> None:
    def delay(sensor: int, ts: int) -> int:
        return -24_000 if sensor == 3 else 300 + ts % 97

    partition = Partition("traffic", 10, free_traffic, delay_ms=delay)
    partition.run(20)
    assert partition.states(3) == ["skewed"]
    assert "24 s ahead of" in partition.changes(3)[0].reason


def test_a_clock_so_slow_that_all_readings_are_late_is_skewed_and_recovers() -> None:
    def measure(sensor: int, ts: int) -> Values | None:
        minute = (ts - START) // MINUTE
        return None if sensor == 3 and 20 <= minute < 60 else free_traffic(sensor, ts)

    partition = Partition("traffic", 10, measure)
    key = int(partition.keys[3])

    def late(end: int) -> object:
        minute = (end - START) // MINUTE
        times = range(end - MINUTE, end, 20_000) if 20 < minute < 60 else ()
        return late_readings([(key, ts - 150_000, ts + 200) for ts in times])

    partition.run(60, late)  # type: ignore[arg-type]
    assert partition.states(3) == ["skewed"]
    assert "150 s behind" in partition.changes(3)[0].reason
    partition.run(40)
    assert partition.states(3) == ["skewed", "ok"]


def test_a_sensor_that_sends_its_readings_in_batches_has_no_wrong_clock() -> None:
    def delay(sensor: int, ts: int) -> int:
        batched = sensor == 3
        return (60_000 - ts % 60_000) // 2 + 100 if batched else 200

    partition = Partition("traffic", 10, free_traffic, delay_ms=delay)
    partition.run(60)
    assert partition.health == []


def test_a_replay_at_another_speed_skews_no_clock() -> None:
    years = 10**11

    def delay(sensor: int, ts: int) -> int:
        return years + sensor - (ts - START) * 59 // 60

    partition = Partition("traffic", 10, free_traffic, delay_ms=delay)
    partition.run(60)
    assert partition.health == []


def test_readings_that_are_late_now_and_then_say_nothing_about_the_clock() -> None:
    partition = Partition("traffic", 10, free_traffic)
    key = int(partition.keys[3])
    partition.run(60, lambda end: late_readings([(key, end - 200_000, end)]))
    assert partition.health == []
