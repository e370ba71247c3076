"""The 80 % intervals: they cover what they promise, for noisy and quiet series, free and jammed."""

from __future__ import annotations

import numpy as np

from tests.kit.forecast_making import DAY, QUARTERS, Floats, run, traffic

LEADS = QUARTERS.leads


def coverage(values: Floats, first: int, series: slice | list[int]) -> float:
    """Share of the values from row ``first`` on that were inside their interval."""
    _, made = run(values)
    inside = [
        (values[row + lead] >= made[row].low[:, i]) & (values[row + lead] <= made[row].high[:, i])
        for row in range(first, len(values) - LEADS[-1])
        for i, lead in enumerate(LEADS)
    ]
    return float(np.mean(np.array(inside)[:, series]))


def test_intervals_cover_four_fifths_of_what_comes() -> None:
    assert 0.75 <= coverage(traffic(5 * DAY, 20), 2 * DAY, slice(None)) <= 0.85


def test_a_noisy_and_a_quiet_sensor_are_each_covered() -> None:
    values = traffic(7 * DAY, 20)
    random = np.random.default_rng(5)
    values[:, :3] += random.normal(0, 6, (len(values), 3))
    assert 0.74 <= coverage(values, 4 * DAY, [0, 1, 2]) <= 0.86
    assert 0.74 <= coverage(values, 4 * DAY, slice(3, None)) <= 0.86


def test_intervals_are_wider_in_a_jam_than_on_a_free_road() -> None:
    values = traffic(9 * DAY, 20, noise=0.3)
    random = np.random.default_rng(7)
    jammed = values < 75
    values += np.where(jammed, random.normal(0, 5, values.shape), 0)
    _, made = run(values)
    rows = slice(5 * DAY, None)
    width = np.stack([(m.high - m.low)[:, 0] for m in made])[rows]
    assert width[jammed[rows]].mean() > 2 * width[~jammed[rows]].mean()


def test_intervals_recover_when_the_errors_double() -> None:
    values = traffic(8 * DAY, 20)
    values[4 * DAY :] += np.random.default_rng(6).normal(0, 3, values[4 * DAY :].shape)
    assert 0.75 <= coverage(values, 5 * DAY, slice(None)) <= 0.85
