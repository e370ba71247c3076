"""Readings that contradict physics, though every value is in its range."""

from __future__ import annotations

import pytest

from tests.kit.sensor_windows import MINUTE, START, Partition, Values, chance, free_traffic


def traffic_with(change: Values, share: float = 1.0) -> Partition:
    """Six detectors of which number 2 reports ``change`` in ``share`` of its readings."""

    def measure(sensor: int, ts: int) -> Values:
        values = free_traffic(sensor, ts, flow=7.0)
        wrong = sensor == 2 and ts > START + 10 * MINUTE and chance(ts).random() < share
        return values | change if wrong else values

    return Partition("traffic", 6, measure)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"occupancy": 0.95, "intensity": 8.0}, "impossible length"),
        ({"intensity": 0.0, "averageVehicleSpeed": 80.0}, "a speed without a vehicle"),
        ({"intensity": 190.0}, "more vehicles than any road carries|impossible length"),
        ({"averageVehicleSpeed": 270.0}, "a mean speed no traffic has"),
    ],
)
def test_traffic_that_cannot_be_is_a_broken_detector(change: Values, words: str) -> None:
    partition = traffic_with(change)
    partition.run(20)
    found = partition.changes(2)[0]
    assert found.health == "impossible"
    assert any(part in found.reason for part in words.split("|"))
    assert len(partition.health) == 1


def test_a_glitch_now_and_then_breaks_no_sensor() -> None:
    partition = traffic_with({"averageVehicleSpeed": 270.0}, share=0.05)
    partition.run(240)
    assert partition.health == []


def test_a_jam_with_high_occupancy_is_possible() -> None:
    def measure(sensor: int, ts: int) -> Values:
        return free_traffic(sensor, ts, flow=4.0, speed=8.0)

    partition = Partition("traffic", 6, measure)
    partition.run(60)
    assert partition.health == []


def test_humidity_that_jumps_faster_than_air_can_is_a_broken_sensor() -> None:
    def measure(sensor: int, ts: int) -> Values:
        rng = chance(sensor, ts)
        jumps = sensor == 1 and ts > START + 20 * MINUTE and ts // MINUTE % 2
        return {
            "temperature": round(8 + 0.1 * rng.standard_normal(), 2),
            "relativeHumidity": 0.99 if jumps else round(0.6 + 0.01 * rng.standard_normal(), 3),
        }

    partition = Partition("weather", 5, measure, interval_s=60)
    partition.run(40)
    found = partition.changes(1)[0]
    assert found.health == "impossible"
    assert "humidity" in found.reason
    assert len(partition.health) == 1


def test_more_free_spots_than_spots_and_dust_finer_than_dust_are_found() -> None:
    def parking(sensor: int, ts: int) -> Values:
        free = float(chance(sensor, ts).integers(10, 50))
        return {"availableSpotNumber": 60.0 if sensor == 0 else free, "totalSpotNumber": 50.0}

    def air(sensor: int, ts: int) -> Values:
        dust = 10 + float(chance(sensor, ts).random())
        return {"pm10": dust, "pm25": dust * (3 if sensor == 0 else 0.7)}

    for kind, measure in (("parking", parking), ("air", air)):
        partition = Partition(kind, 4, measure, interval_s=60)
        partition.run(15)
        assert partition.states(0) == ["impossible"]
        assert len(partition.health) == 1
