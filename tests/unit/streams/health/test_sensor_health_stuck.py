"""A value that stands still is a broken sensor only where it should vary."""

from __future__ import annotations

import numpy as np

from tests.kit.sensor_windows import MINUTE, START, Partition, Values, chance, free_traffic

DAY = 24 * 60


def stuck_from(minute: int, until: int = 10**6) -> Partition:
    """Eight detectors of which number 3 repeats one reading from ``minute`` to ``until``."""

    def measure(sensor: int, ts: int) -> Values:
        held = START + minute * MINUTE
        at = held if sensor == 3 and held <= ts < START + until * MINUTE else ts
        return free_traffic(sensor, at)

    return Partition("traffic", 8, measure)


def test_a_detector_that_repeats_its_reading_is_stuck_within_twenty_minutes() -> None:
    partition = stuck_from(minute=30)
    partition.run(50)
    change = partition.changes(3)[0]
    assert (change.health, change.before) == ("stuck", "ok")
    assert abs(change.since - (START + 30 * MINUTE)) <= MINUTE
    assert change.window_end <= START + 50 * MINUTE
    assert "has been exactly" in change.reason
    assert partition.excluded == {3}
    assert {h.sensor_key for h in partition.health} == {int(partition.keys[3])}


def test_a_detector_that_is_known_for_a_day_is_stuck_within_ten_minutes() -> None:
    partition = stuck_from(minute=DAY + 30)
    partition.window_min = 30
    partition.run(DAY + 30)
    partition.window_min = 1
    partition.run(10)
    assert partition.states(3) == ["stuck"]


def test_a_stuck_detector_that_moves_again_is_ok_only_after_ten_good_minutes() -> None:
    partition = stuck_from(minute=30, until=60)
    partition.run(68)
    assert partition.states(3) == ["stuck"]
    partition.run(6)
    assert partition.states(3) == ["stuck", "ok"]
    assert partition.excluded == set()


def test_a_road_without_vehicles_at_night_is_not_a_stuck_detector() -> None:
    def measure(sensor: int, ts: int) -> Values:
        night = ts >= START + 30 * MINUTE
        return free_traffic(sensor, ts, flow=0.0 if night and sensor < 6 else 5.0)

    partition = Partition("traffic", 8, measure)
    partition.run(240)
    assert partition.health == []


def test_a_measure_that_is_constant_for_all_is_constant_by_nature() -> None:
    def measure(sensor: int, ts: int) -> Values:
        speed = round(100 + 5 * chance(sensor, ts).standard_normal(), 1)
        return {"intensity": 100.0, "averageVehicleSpeed": speed, "period": 300.0}

    partition = Partition("traffic", 8, measure)
    partition.run(120)
    assert partition.health == []


def test_car_parks_that_stand_still_for_a_night_are_not_stuck() -> None:
    def measure(sensor: int, ts: int) -> Values:
        hours = (ts - START) / (60 * MINUTE)
        moves = hours < 6
        free = 40 + int(chance(sensor, ts).integers(0, 5)) if moves else 43
        return {"availableSpotNumber": float(free), "totalSpotNumber": 100.0}

    partition = Partition("parking", 6, measure, interval_s=60, window_min=10)
    partition.run(16 * 60)
    assert partition.health == []


def test_one_car_park_that_stands_still_for_a_day_while_others_move_is_stuck() -> None:
    def measure(sensor: int, ts: int) -> Values:
        free = 40 + int(chance(sensor, ts).integers(0, 5))
        return {
            "availableSpotNumber": 43.0
            if sensor == 2 and ts > START + 60 * MINUTE
            else float(free),
            "totalSpotNumber": 100.0,
        }

    partition = Partition("parking", 6, measure, interval_s=60, window_min=10)
    partition.run(16 * 60)
    assert partition.states(2) == ["stuck"]
    assert len(partition.health) == 1


def test_a_speed_that_is_missing_without_vehicles_is_normal() -> None:
    def measure(sensor: int, ts: int) -> Values:
        values = free_traffic(sensor, ts, flow=0.4)
        assert (values["intensity"] > 0) != bool(np.isnan(values["averageVehicleSpeed"]))
        return values

    partition = Partition("traffic", 8, measure)
    partition.run(180)
    assert partition.health == []
