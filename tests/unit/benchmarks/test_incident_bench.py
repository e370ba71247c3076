"""How the incident bench counts, and that its days are the same every time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from benchmarks.incident_days import Scenario, simulate
from benchmarks.incident_faults import FAULTS, BrokenDetectors
from benchmarks.incident_score import Alarm, Score, score
from benchmarks.incident_truth import DailyIncidents, ValuedIncident
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from sensors_sim.incidents import Incident
from tests.kit.incident_road import MINUTE, NOON, straight_road

CITY = straight_road(12).city
EVERYWHERE = np.ones(12, np.bool_)
TRUE = ValuedIncident(Incident("one", 6, NOON, NOON + 20 * MINUTE, 0.6, 0.7), 0.8, 0.95)
MINOR = ValuedIncident(Incident("minor", 6, NOON, NOON + 20 * MINUTE, 0.2, 0.7), 0.8, 0.95)


def alarm(name: str, upstream: int, minute: int) -> Alarm:
    at = NOON + minute * MINUTE
    return Alarm(name, upstream, upstream + 1, at, at)


def judged(truth: list[ValuedIncident], *alarms: Alarm) -> Score:
    return score(CITY, truth, alarms, reporting=EVERYWHERE, decisions=1_000, days=0.5)


def test_an_alarm_at_the_place_and_time_is_a_detection_with_its_delay() -> None:
    result = judged([TRUE], alarm("a", 6, 3))
    assert (result.incidents, result.delays_s, result.false_alarms) == (1, [180.0], 0)
    assert result.regimes["dense"] == [1, 1]


def test_an_alarm_elsewhere_or_at_another_time_is_false_and_the_incident_missed() -> None:
    for wrong in (alarm("a", 1, 3), alarm("a", 9, 3), alarm("a", 6, -1), alarm("a", 6, 26)):
        result = judged([TRUE], wrong)
        assert (result.delays_s, result.false_alarms, result.missed) == ([], 1, ["one"])


def test_a_second_alarm_for_the_same_incident_counts_as_false() -> None:
    figures = judged([TRUE], alarm("a", 6, 3), alarm("b", 5, 8)).figures()
    assert figures["detection_rate"] == 1
    assert (figures["false_alarms"], figures["of_these_repeats"]) == (1, 1)
    assert figures["false_alarms_per_day_per_100_segments"] == round(100 / 6, 3)
    assert figures["false_alarm_rate"] == 0.001
    same = judged([TRUE], alarm("a", 6, 3), alarm("a", 6, 8)).figures()
    assert same["false_alarms"] == 0


def test_a_minor_incident_neither_has_to_be_found_nor_makes_its_alarm_false() -> None:
    result = judged([MINOR], alarm("a", 6, 3))
    assert (result.incidents, result.delays_s, result.false_alarms) == (0, [], 0)


def test_an_incident_without_detectors_on_both_sides_is_counted_apart() -> None:
    edge = replace(TRUE, incident=replace(TRUE.incident, segment=11))
    result = judged([edge], alarm("a", 10, 3))
    assert (result.incidents, result.at_edge, result.edge_detected) == (0, 1, 1)


def test_one_detector_in_ten_is_broken_and_does_what_its_fault_says() -> None:
    n = 4_000
    broken = BrokenDetectors(n, np.random.default_rng(1))
    all_of_them = np.arange(n)
    counts = broken.counts(all_of_them)
    assert 300 < n - counts["sound"] < 500
    assert all(counts[fault] > 40 for fault in FAULTS)
    names = KINDS["traffic"].measure_names
    values = np.tile([[20.0], [90.0], [0.1], [20.0], [0.0]], n)
    rng = np.random.default_rng(2)
    changed = np.zeros(n, np.bool_)
    unsent = np.zeros(n, np.bool_)
    for minute in range(0, 24 * 60, 7):
        values[0] = 15 + minute % 11
        sent, said = broken.spoil(all_of_them, NOON + minute * MINUTE, values, rng)
        unsent |= ~sent
        changed |= (said != values)[: len(names)].any(axis=0)
    assert unsent.sum() == counts["dropping"]
    assert (changed | unsent).sum() == n - counts["sound"]


def test_incidents_on_one_corridor_are_apart_and_follow_the_traffic_of_the_day() -> None:
    city = plan_city(700, 5)
    plan = DailyIncidents(city, 5, NOON // 86_400_000 * 86_400_000, 4)
    found = plan.starting_between(0, 2**62)
    assert len(found) > 100
    by_corridor: dict[str, list[Incident]] = {}
    for incident in found:
        by_corridor.setdefault(city.segments[incident.segment].corridor, []).append(incident)
    for one in by_corridor.values():
        for before, after in pairwise(one):
            assert after.start_ms - before.end_ms >= 90 * MINUTE
    hours = np.array([i.start_ms // 3_600_000 % 24 for i in found])
    assert np.count_nonzero(hours < 5) < len(found) / 20


def test_a_simulated_day_is_the_same_every_time_and_has_a_window_a_minute() -> None:
    scenario = Scenario("small", 3, sensors=40, days=1, start_ms=NOON, interval_s=20)
    runs = []
    for _ in range(2):
        days, windows = simulate(scenario)
        first = [next(windows) for _ in range(90)]
        windows.close()
        runs.append((days.faults, [w.flow_veh_h.tobytes() for w in first]))
    assert runs[0] == runs[1]
    assert [w.start for w in first] == [NOON + i * MINUTE for i in range(90)]
    assert first[-1].coverage.max() == 1
