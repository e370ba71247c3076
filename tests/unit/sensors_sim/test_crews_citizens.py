"""Citizens report what is wrong in the simulated city: the same every run, with noise and abuse."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from civicstream.services import load_services
from sensors_sim.citizens import CitizenPlan, shares_of
from sensors_sim.city_plan import plan_city

DAY = 86_400_000
START = 20_500 * DAY
SERVICES = load_services()
CITY = plan_city(300, 1)
PLAN = CitizenPlan(CITY, SERVICES, 1, per_hour=20.0)


def test_the_same_seed_brings_the_same_problems_wherever_a_run_starts() -> None:
    whole = PLAN.starting_between(START, START + DAY)
    halves = PLAN.starting_between(START, START + DAY // 2) + PLAN.starting_between(
        START + DAY // 2, START + DAY
    )
    assert whole == halves
    again = CitizenPlan(CITY, SERVICES, 1, per_hour=20.0)
    assert again.starting_between(START, START + DAY) == whole
    other = CitizenPlan(CITY, SERVICES, 2, per_hour=20.0)
    assert other.starting_between(START, START + DAY) != whole


def test_there_are_as_many_as_asked_for_and_most_by_day() -> None:
    problems = PLAN.starting_between(START, START + 10 * DAY)
    per_hour = len([p for p in problems if p.id.startswith("p")]) / 240
    assert per_hour == pytest.approx(20, rel=0.1)
    hours = Counter((p.start_ms // 3_600_000) % 24 for p in problems)
    assert min(hours[h] for h in (12, 13, 14)) > 2 * max(hours[h] for h in (1, 2, 3))


def test_urgent_problems_are_the_fewest_of_what_is_reported_every_day() -> None:
    share = dict(zip(SERVICES, shares_of(SERVICES).tolist(), strict=True))
    assert sum(share.values()) == pytest.approx(1)
    urgent = sum(share[code] for code, s in SERVICES.items() if s.priority == 1)
    assert urgent == pytest.approx(0.10)


def test_many_see_what_is_urgent_and_some_report_a_wrong_place_or_service() -> None:
    problems = PLAN.starting_between(START, START + 10 * DAY)
    by_priority = {
        p: np.mean([len(x.reports) for x in problems if SERVICES[x.service].priority == p])
        for p in (1, 4)
    }
    assert by_priority[1] > 2 * by_priority[4]
    reports = [(p, r) for p in problems for r in p.reports]
    wrong_service = np.mean([r.service != p.service for p, r in reports])
    far = np.mean([abs(r.lat - p.lat) * 111_320 > 100 for p, r in reports])
    assert 0.02 < wrong_service < 0.06
    assert 0.01 < far < 0.06
    assert len({(r.client, r.reference) for _, r in reports}) == len(reports)


def test_abuse_comes_in_floods_of_one_client() -> None:
    floods = Counter(r.client for r in PLAN.abuse_between(START, START + 10 * DAY))
    assert floods
    assert max(floods.values()) == 120
    assert all(r.problem is None for r in PLAN.abuse_between(START, START + DAY))
