"""How the hours of the units on shift fall to areas and services."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dispatch.demand.capacity import TRAVEL_H, capacity_per_h


@settings(max_examples=60)
@given(st.integers(0, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_the_hours_of_all_units_with_a_skill_are_spent_and_no_more(
    units: int, areas: int, services: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    skills = (rng.random((units, services)) < 0.5).astype(np.float64)
    work_h = rng.uniform(0.2, 2, services)
    tasks = rng.poisson(2, (areas, services)).astype(np.float64)
    per_h = capacity_per_h(rng.uniform(0, 20, (units, areas)), skills, tasks, work_h)
    hours = per_h * (work_h + TRAVEL_H)
    assert hours.sum() == pytest.approx(skills.any(axis=1).sum())
    assert np.all(per_h[:, ~skills.any(axis=0)] == 0)


def test_a_unit_counts_most_where_the_work_is_and_more_where_it_is_near() -> None:
    skill, work = np.ones((1, 1)), np.array([0.8])
    equal = capacity_per_h(np.array([[0.5, 6.0]]), skill, np.array([[2.0], [2.0]]), work)
    assert equal[0, 0] > 3 * equal[1, 0]
    away = capacity_per_h(np.array([[0.5, 6.0]]), skill, np.array([[0.0], [2.0]]), work)
    assert away[1, 0] > 0.95
    assert away.sum() == pytest.approx(1.0)
