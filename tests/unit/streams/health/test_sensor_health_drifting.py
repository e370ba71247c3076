"""A sensor that slowly leaves its neighbours drifts; neighbours that disagree prove nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams.health import drift
from streams.health.drift import judge_drift, neighbour_median
from streams.health.expectations import Expected
from streams.health.sensor_table import SensorTable
from tests.kit.sensor_windows import chance

SENSORS = 8
DAY = 288
"""Blocks of five minutes."""

TEMPERATURE = Expected("temperature", 3600.0, neighbour_floor=0.5)
LENGTH = Expected("effectiveLength", 0.0, own_floor=0.05, derived=True)
SPEED = Expected("averageVehicleSpeed", 180.0, neighbour_floor=2.5)

Block = Callable[[int], np.ndarray]


def fresh(measures: int = 1) -> SensorTable:
    table = SensorTable(drift.COLUMNS, measures)
    table.append(np.arange(SENSORS, dtype=np.int64))
    return table


def others(sensors: int = SENSORS) -> np.ndarray:
    """Return each sensor's neighbours: six of the others."""
    return np.array([[j for j in range(sensors) if j != i][:6] for i in range(sensors)])


def judge(
    table: SensorTable, blocks: range, value: Block, expected: Expected = TEMPERATURE
) -> None:
    ok = np.ones(len(table), np.bool_)
    for block in blocks:
        judge_drift(table, others(), 0, value(block), expected, ok)


def convicted(table: SensorTable, m: int = 0) -> list[int]:
    return np.flatnonzero(table["drift"][:, m] >= drift.CONVICTS).tolist()


def usual(block: int) -> np.ndarray:
    """Temperatures of a day; the sensors differ in level and a little in how they follow it."""
    day = 6 * np.sin(2 * np.pi * block / DAY)
    follow, level = np.linspace(0.9, 1.1, SENSORS), np.linspace(-2, 2, SENSORS)
    return 10 + level + follow * day + 0.1 * chance(block).standard_normal(SENSORS)


def test_sensors_that_differ_from_each_other_as_ever_do_not_drift() -> None:
    table = fresh()
    judge(table, range(4 * DAY), usual)
    assert convicted(table) == []


def test_a_sensor_that_leaves_its_neighbours_by_half_a_degree_an_hour_is_found() -> None:
    table = fresh()
    judge(table, range(2 * DAY), usual)

    def drifting(block: int) -> np.ndarray:
        value = usual(block)
        value[3] += (block - 2 * DAY) * 0.5 / 12
        return value

    judge(table, range(2 * DAY, 2 * DAY + 8 * 12), drifting)
    assert convicted(table) == [3]


def test_an_unusual_day_that_all_share_is_no_drift() -> None:
    table = fresh()
    judge(table, range(2 * DAY), usual)
    judge(table, range(2 * DAY, 3 * DAY), lambda block: usual(block) - 4)
    assert convicted(table) == []


def test_nothing_is_concluded_on_the_first_day() -> None:
    table = fresh()

    def odd(block: int) -> np.ndarray:
        value = usual(block)
        value[3] += 20 * (block > 100)
        return value

    judge(table, range(DAY - 1), odd)
    assert convicted(table) == []


def test_neighbours_that_disagree_prove_nothing() -> None:
    table = fresh()
    judge(table, range(2 * DAY), usual)

    def queue_ends_here(block: int) -> np.ndarray:
        value = usual(block)
        value[:4] -= 15
        return value

    judge(table, range(2 * DAY, 3 * DAY), queue_ends_here)
    assert convicted(table) == []


def test_a_drift_in_the_length_of_vehicles_is_found_without_neighbours() -> None:
    table = fresh()

    def length(block: int) -> np.ndarray:
        value = 6.5 + 0.1 * chance(block).standard_normal(SENSORS)
        value[2] *= 1 + max(block - 2 * DAY, 0) / 12 * 0.05
        return np.log(value)

    judge(table, range(2 * DAY + 10 * 12), length, LENGTH)
    assert convicted(table) == [2]


def test_a_jam_that_only_one_detector_sees_is_no_drift_while_its_figures_fit_together() -> None:
    table, ok = fresh(2), np.ones(SENSORS, np.bool_)
    for block in range(3 * DAY):
        rng = chance(block)
        length = np.log(6.5 + 0.1 * rng.standard_normal(SENSORS))
        speed = 100 + rng.standard_normal(SENSORS)
        if block >= 2 * DAY:
            speed[5] -= 60
        judge_drift(table, others(), 1, length, LENGTH, ok)
        judge_drift(table, others(), 0, speed, SPEED, ok)
    assert convicted(table) == []


def test_a_broken_neighbour_is_no_reference() -> None:
    table = fresh()
    judge(table, range(2 * DAY), usual)
    ok = np.ones(SENSORS, np.bool_)
    ok[:3] = False
    for block in range(2 * DAY, 3 * DAY):
        value = usual(block)
        value[:3] = -40
        judge_drift(table, others(), 0, value, TEMPERATURE, ok)
    assert set(convicted(table)) <= {0, 1, 2}


def test_the_median_ignores_missing_neighbours_and_needs_two() -> None:
    value = np.array([1.0, 5.0, np.nan, 3.0])
    neighbours = np.array([[1, 2, 3], [0, 2, -1], [0, 1, 3], [-1, -1, -1]])
    median, spread = neighbour_median(value, neighbours)
    np.testing.assert_array_equal(median, [4.0, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(np.isnan(spread), [False, True, False, True])
