"""Which detection belongs to which true incident, and what that makes of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.truth.files import Span, TrueFault, TrueIncident
from sinks.truth.matching import (
    Detection,
    IncidentOutcome,
    Rules,
    Unhealthy,
    match_faults,
    match_incidents,
)
from sinks.truth.summary import fault_figures, incident_figures

MINUTE = 60_000
SPAN = Span(0, 24 * 60 * MINUTE)
PLACES = {f"s{n}": float(n) for n in range(10)} | {"s4b": 4.5}
"""A detector on every segment but s4b, between s4 and s5."""


def incident(name: str = "t1", segment: str = "s4", start: int = 100, end: int = 130) -> Any:
    return TrueIncident(
        id=name,
        area="north",
        corridor="A1",
        segment=segment,
        start_ms=start * MINUTE,
        end_ms=end * MINUTE,
        severity=0.5,
    )


def detection(
    name: str = "d1", up: str = "s4", down: str = "s5", at: int = 103, corridor: str = "A1"
) -> Detection:
    when = at * MINUTE
    return Detection(
        id=name,
        area="north",
        corridor=corridor,
        segment=up,
        upstream_segment=up,
        downstream_segment=down,
        detected_at=when,
        published_at=when + 35_000,
        severity=0.4,
    )


def outcomes(
    truth: list[TrueIncident], found: list[Detection], now: int = 1000, span: Span = SPAN
) -> list[tuple[str, str | None, str | None]]:
    matched = match_incidents(truth, found, PLACES, span, now * MINUTE, Rules())
    return [
        (o.outcome, o.truth and o.truth.id, o.detection and o.detection.id)  # type: ignore[misc]
        for o in matched
    ]


def test_a_detection_between_the_neighbouring_detectors_while_it_lasts_is_one() -> None:
    assert outcomes([incident()], [detection()]) == [("detected", "t1", "d1")]


@pytest.mark.parametrize(
    ("up", "down", "outcome"),
    [
        ("s1", "s2", "detected"),  # two detectors upstream of it
        ("s0", "s1", "missed"),
        ("s6", "s7", "detected"),  # two detectors downstream of it
        ("s7", "s8", "missed"),
        ("s4b", "s5", "detected"),
        ("s4", "unknown", "missed"),
    ],
)
def test_it_counts_within_two_detectors_of_the_true_place(up: str, down: str, outcome: str) -> None:
    found = outcomes([incident()], [detection(up=up, down=down)])
    wanted = [("detected", "t1", "d1")]
    if outcome == "missed":
        wanted = [("false_alarm", None, "d1"), ("missed", "t1", None)]  # type: ignore[list-item]
    assert found == wanted


@pytest.mark.parametrize(
    ("at", "outcome"), [(99, "missed"), (100, "detected"), (135, "detected"), (136, "missed")]
)
def test_it_counts_from_the_start_until_five_minutes_after_the_end(at: int, outcome: str) -> None:
    assert outcomes([incident()], [detection(at=at)])[-1][0] == outcome


def test_another_corridor_at_the_same_time_is_a_false_alarm() -> None:
    found = outcomes([incident()], [detection(corridor="A2")])
    assert found == [("false_alarm", None, "d1"), ("missed", "t1", None)]


def test_a_second_detection_of_an_incident_is_repeated_and_no_false_alarm() -> None:
    found = outcomes([incident()], [detection("d2", at=110), detection("d1", at=104)])
    assert found == [("repeated", "t1", "d2"), ("detected", "t1", "d1")]


def test_of_two_incidents_the_nearer_one_is_the_detected_one() -> None:
    near, far = incident("near", "s4"), incident("far", "s6")
    assert outcomes([far, near], [detection(up="s4", down="s5")]) == [
        ("missed", "far", None),
        ("detected", "near", "d1"),
    ]


def test_of_two_at_the_same_place_the_one_that_began_last_is_the_detected_one() -> None:
    first, second = incident("first", start=80), incident("second", start=100)
    found = outcomes([first, second], [detection("d1", at=83), detection("d2", at=103)])
    assert found == [("detected", "first", "d1"), ("detected", "second", "d2")]


def test_an_incident_younger_than_five_minutes_is_pending() -> None:
    assert outcomes([incident()], [], now=104) == [("pending", "t1", None)]
    assert outcomes([incident()], [], now=105) == [("missed", "t1", None)]


def test_what_was_detected_before_or_after_the_simulation_is_no_false_alarm_of_it() -> None:
    span = Span(90 * MINUTE, 200 * MINUTE)
    early, late = detection("early", at=89), detection("late", at=206)
    assert outcomes([], [early, late, detection("in", at=205)], span=span) == [
        ("false_alarm", None, "in")
    ]


def test_the_figures_of_a_small_case_are_those_worked_out_by_hand() -> None:
    truth = [
        incident("a", "s1"),
        incident("b", "s4"),
        incident("c", "s8"),
        incident("d", start=998),
    ]
    found = [
        detection("da", "s1", "s2", at=102),
        detection("db", "s4", "s5", at=106),
        detection("wrong", "s4", "s5", at=500),
    ]
    matched = match_incidents(truth, found, PLACES, SPAN, 1000 * MINUTE, Rules())
    demand = {"a": 0.7, "b": 0.3, "c": 0.9}
    figures = incident_figures(matched, demand, SPAN, segments=50)
    assert (figures.incidents, figures.detected, figures.missed, figures.pending) == (4, 2, 1, 1)
    assert figures.detection_rate == pytest.approx(2 / 3)
    assert (figures.heavy_incidents, figures.heavy_detection_rate) == (2, 0.5)
    assert figures.false_alarms == 1
    assert figures.false_alarms_per_day_per_100_segments == pytest.approx(2.0)
    assert (figures.mttd_s, figures.median_ttd_s) == (240.0, 240.0)


def test_without_incidents_there_is_no_rate() -> None:
    figures = incident_figures([], {}, SPAN, 50)
    assert (figures.detection_rate, figures.mttd_s) == (None, None)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300), st.integers(1, 60)), max_size=8),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 400)), max_size=12),
    st.integers(0, 400),
)
def test_every_truth_and_every_detection_is_in_exactly_one_outcome(
    true: list[tuple[int, int, int]], found: list[tuple[int, int]], now: int
) -> None:
    truth = [incident(f"t{n}", f"s{at}", s, s + d) for n, (at, s, d) in enumerate(true)]
    seen = [detection(f"d{n}", f"s{at}", f"s{at + 1}", t) for n, (at, t) in enumerate(found)]
    matched = match_incidents(truth, seen, PLACES, SPAN, now * MINUTE, Rules())
    own = [o.truth.id for o in matched if o.truth and o.outcome != "repeated"]
    assert sorted(own) == sorted(t.id for t in truth)
    assert sorted(o.detection.id for o in matched if o.detection) == sorted(d.id for d in seen)
    assert all(_consistent(o) for o in matched)


def _consistent(o: IncidentOutcome) -> bool:
    both = o.truth is not None and o.detection is not None
    if o.outcome in {"detected", "repeated"}:
        return both and o.delay_s is not None and o.delay_s >= 0
    return not both


def fault(key: int, kind: str = "stuck", start: int = 100, end: int | None = None) -> TrueFault:
    return TrueFault(
        sensor_key=key,
        kind="air",
        area="north",
        sensor=f"q{key}",
        fault=kind,
        start_ms=start * MINUTE,
        end_ms=end and end * MINUTE,
    )


def change(key: int, at: int, health: str = "stuck") -> Unhealthy:
    return Unhealthy(
        sensor_key=key,
        kind="air",
        area="north",
        sensor=None,
        health=health,
        reason="because",
        detected_at=at * MINUTE,
    )


def test_broken_sensors_are_detected_missed_pending_or_falsely_accused() -> None:
    faults = [
        fault(1),
        fault(2, "drifting"),
        fault(3, start=998),
        fault(4, start=2000),
        fault(5, end=200),
    ]
    changes = [
        change(1, 110),
        change(1, 150, "flat"),
        change(5, 206),  # too long after it was whole again
        change(9, 300),
    ]
    matched = match_faults(faults, changes, SPAN, 1000 * MINUTE, Rules())
    found = {(o.outcome, (o.truth or o.change).sensor_key) for o in matched}  # type: ignore[union-attr]
    assert found == {
        ("detected", 1),
        ("repeated", 1),
        ("missed", 2),
        ("pending", 3),
        ("missed", 5),
        ("false_alarm", 5),
        ("false_alarm", 9),
    }
    figures = fault_figures(matched)
    assert (figures.broken, figures.detected, figures.missed, figures.pending) == (4, 1, 2, 1)
    assert figures.by_fault == {"stuck": 0.5, "drifting": 0.0}
    assert figures.named_as == {"stuck": {"stuck": 1}}
    assert (figures.false_alarms, figures.mttd_s) == (2, 600.0)
