"""Simulated containers: they fill evenly, overflow, and are emptied by trucks alone."""

from __future__ import annotations

import numpy as np

from sensors_sim.channels import TRAITS
from sensors_sim.city_plan import plan_city
from sensors_sim.containers import Containers, fill_days
from sensors_sim.simulation import Simulation, SimulationPlan

NOW = 1_767_600_000_000
DAY = 86_400_000
TRAITS_OF = np.random.default_rng(1).random((TRAITS, 50))
EVERY = np.arange(50)


def levels(containers: Containers, days: float) -> np.ndarray:  # type: ignore[type-arg]
    return containers.levels(EVERY, np.full(50, NOW + round(days * DAY)))


def test_a_container_fills_by_its_own_pace_and_stays_full() -> None:
    containers = Containers(TRAITS_OF, NOW)
    start = levels(containers, 0)
    assert ((start >= 0) & (start < 1)).all()
    later = levels(containers, 1.5)
    np.testing.assert_allclose(later, np.minimum(start + 1.5 / fill_days(TRAITS_OF), 1), atol=1e-6)
    assert (levels(containers, 30) == 1).all()


def test_only_the_container_that_is_emptied_is_empty() -> None:
    containers = Containers(TRAITS_OF, NOW)
    before = levels(containers, 12)
    assert containers.empty(7, NOW + 12 * DAY) == before[7] == 1
    after = levels(containers, 12)
    assert after[7] < 0.02
    np.testing.assert_array_equal(np.delete(after, 7), np.delete(before, 7))
    assert levels(containers, 12 + fill_days(TRAITS_OF)[7])[7] > 0.99


def test_the_sensors_of_a_simulated_city_show_that_a_truck_was_there() -> None:
    city = plan_city(200, 1)
    plan = SimulationPlan(seed=1, kinds=("waste",), collected=True)
    simulation = Simulation(city, plan, NOW)
    blocks = simulation.blocks(3_600_000)

    def newest() -> dict[int, float]:
        (messages,) = next(blocks).groups
        order = np.argsort(messages.ts[:, 0])
        filled = messages.measures[0, :, 0]
        return dict(zip(messages.sensor[order].tolist(), filled[order].tolist(), strict=True))

    before = newest()
    fullest = max(before, key=before.__getitem__)
    assert simulation.empty_container(fullest, NOW + 3_600_000) > 0.7
    after = newest()
    assert after[fullest] < 0.1
    assert all(after[s] >= before[s] for s in before if s != fullest)
