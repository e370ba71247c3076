"""The life of an allocation: proposed, accepted, rejected, overridden, withdrawn, completed."""

from __future__ import annotations

import msgspec
import pytest

from civicstream.errors import DataError
from civicstream.service_events import Action, Allocation
from streams.dispatch.allocation import Dispatcher, Refusal
from tests.kit.allocation_making import (
    HOUR,
    MINUTE,
    NOW,
    act,
    advices,
    dispatcher,
    pairs,
    task,
    unit,
)


def start(*events: object, **settings: object) -> tuple[Dispatcher, dict[str, Allocation]]:
    """A dispatcher that has planned once, and its proposals by task."""
    desk = dispatcher(**settings)  # type: ignore[arg-type]
    for event in events:
        desk.apply(event, NOW)  # type: ignore[arg-type]
    return desk, {a.task: a for a in advices(desk.plan(NOW))}


def test_versions_count_from_one_through_the_whole_life() -> None:
    desk, proposed = start(unit("u", 5), task("t", 0))
    first = proposed["case/t"]
    steps = [
        desk.apply(act(first, "accept", by="u"), NOW + 1000),
        desk.apply(unit("u", 4, state="en_route", task="case/t", at=NOW + 2000), NOW + 2000),
        desk.apply(unit("u", 0, state="on_site", task="case/t", at=NOW + 5 * MINUTE), NOW),
        desk.apply(unit("u", 0, state="available", at=NOW + HOUR), NOW + HOUR),
    ]
    life = [first, *(a for step in steps for a in advices(step))]
    assert [(a.version, a.state) for a in life] == [
        (1, "proposed"),
        (2, "accepted"),
        (3, "completed"),
    ]
    assert {a.id for a in life} == {first.id}
    assert life[1].decided_by == "u"
    # Nobody else is sent while the case waits to be closed.
    assert desk.plan(NOW + HOUR) == []
    assert desk.close_task("case/t", NOW + HOUR) == []


def test_a_unit_that_just_goes_has_accepted() -> None:
    desk, proposed = start(unit("u", 5), task("t", 0))
    out = advices(desk.apply(unit("u", 4, state="en_route", task="case/t", at=NOW + 1), NOW + 1))
    assert [(a.id, a.state, a.decided_by) for a in out] == [
        (proposed["case/t"].id, "accepted", "u")
    ]


def test_who_rejects_is_not_asked_again_until_the_time_is_over() -> None:
    desk, proposed = start(unit("near", 1), unit("far", 20), task("t", 0), reject_bar_min=60.0)
    out = advices(desk.apply(act(proposed["case/t"], "reject", by="near", note="no crane"), NOW))
    assert [(a.state, a.note) for a in out] == [("rejected", "no crane")]
    assert pairs(desk.plan(NOW)) == {"case/t": "far"}
    # An hour later it may be asked again, and is by far the nearest.
    assert pairs(desk.plan(NOW + 61 * MINUTE)) == {"case/t": "near"}


def test_a_unit_may_say_that_it_takes_nothing_for_a_while() -> None:
    desk, proposed = start(unit("u", 1), task("t", 0))
    desk.apply(act(proposed["case/t"], "reject", by="u", value="unit:30"), NOW)
    desk.apply(task("other", 2, priority=2), NOW)
    assert desk.plan(NOW + 29 * MINUTE) == []
    assert pairs(desk.plan(NOW + 31 * MINUTE)) == {"case/other": "u"}


def test_a_task_may_be_left_alone_for_a_while() -> None:
    desk, proposed = start(unit("a", 1), unit("b", 2), task("t", 0))
    desk.apply(act(proposed["case/t"], "reject", value="task:30", note="police line"), NOW)
    assert desk.plan(NOW + 29 * MINUTE) == []
    assert pairs(desk.plan(NOW + 31 * MINUTE)) == {"case/t": "a"}


@pytest.mark.parametrize("value", ["unit:soon", "unit:-5", "crew:30", "task:nan"])
def test_a_rejection_that_cannot_be_read_is_refused_with_an_example(value: str) -> None:
    desk, proposed = start(unit("u", 1), task("t", 0))
    (refusal,) = desk.apply(act(proposed["case/t"], "reject", value=value), NOW)
    assert isinstance(refusal, Refusal)
    assert "'unit:30'" in refusal.reason
    assert desk.plan(NOW) == []


def test_an_override_fixes_the_pair_against_every_better_plan() -> None:
    desk, proposed = start(unit("near", 1), unit("far", 30), task("t", 0))
    out = advices(desk.apply(act(proposed["case/t"], "override", value="far", note="trained"), NOW))
    assert [(a.unit, a.state, a.policy) for a in out] == [
        ("near", "overridden", "optimal"),
        ("far", "accepted", "manual"),
    ]
    desk.apply(task("more", 29, priority=1), NOW)
    assert pairs(desk.plan(NOW + MINUTE)) == {"case/more": "near"}


def test_an_override_takes_the_unit_from_what_it_had_and_that_gets_another() -> None:
    desk, proposed = start(unit("a", 0), unit("b", 40), task("one", 1), task("two", 41))
    assert {t: p.unit for t, p in proposed.items()} == {"case/one": "a", "case/two": "b"}
    out = advices(desk.apply(act(proposed["case/one"], "override", value="b"), NOW))
    assert [(a.task, a.unit, a.state) for a in out] == [
        ("case/one", "a", "overridden"),
        ("case/two", "b", "overridden"),
        ("case/one", "b", "accepted"),
    ]
    assert pairs(desk.plan(NOW)) == {"case/two": "a"}


@pytest.mark.parametrize(
    ("value", "why"), [("ghost", "unknown"), ("asleep", "off duty"), (None, "name the unit")]
)
def test_an_override_that_cannot_be_done_changes_nothing_and_says_why(
    value: str | None, why: str
) -> None:
    desk, proposed = start(unit("u", 1), unit("asleep", 1, state="off_duty"), task("t", 0))
    (refusal,) = desk.apply(act(proposed["case/t"], "override", value=value), NOW)
    assert isinstance(refusal, Refusal)
    assert why in refusal.reason
    assert desk.store.advice_of("case/t") is not None


def test_an_action_on_an_allocation_that_has_ended_is_refused() -> None:
    desk, proposed = start(unit("u", 1), task("t", 0))
    desk.close_task("case/t", NOW)
    (refusal,) = desk.apply(act(proposed["case/t"], "accept"), NOW)
    assert isinstance(refusal, Refusal)
    assert "does not stand" in refusal.reason


def test_actions_about_cases_and_alerts_are_not_the_dispatchers() -> None:
    desk, _ = start(unit("u", 1), task("t", 0))
    about = Action(id="x", subject="case/t", action="resolve", area="a", by="me", at=NOW)
    assert desk.apply(about, NOW) == []


def test_a_proposal_for_a_task_that_is_closed_is_withdrawn() -> None:
    desk, _ = start(unit("u", 1), task("t", 0))
    assert [a.state for a in advices(desk.close_task("case/t", NOW))] == ["withdrawn"]


def test_a_proposal_nobody_answers_goes_to_another() -> None:
    desk, _ = start(unit("near", 1), unit("far", 9), task("t", 0), answer_within_s=120.0)
    assert desk.tick(NOW + 119_000) == []
    out = advices(desk.tick(NOW + 130_000))
    assert [(a.unit, a.state) for a in out] == [("near", "withdrawn"), ("far", "proposed")]
    assert out[0].note == "nobody answered"


def test_a_unit_that_goes_off_duty_gives_its_task_back() -> None:
    desk, proposed = start(unit("a", 1), unit("b", 9), task("t", 0))
    desk.apply(act(proposed["case/t"], "accept", by="a"), NOW)
    out = advices(desk.apply(unit("a", 1, state="off_duty", at=NOW + 1), NOW + 1))
    assert [a.state for a in out] == ["withdrawn"]
    assert pairs(desk.plan(NOW + 1)) == {"case/t": "b"}


def test_a_unit_that_goes_to_an_open_task_by_itself_is_counted_as_sent() -> None:
    desk, proposed = start(unit("a", 1), unit("b", 9), task("t", 0))
    desk.apply(task("other", 3), NOW)
    out = advices(desk.apply(unit("a", 1, state="en_route", task="case/other", at=NOW), NOW))
    assert [(a.task, a.unit, a.state, a.policy) for a in out] == [
        ("case/t", "a", "overridden", "optimal"),
        ("case/other", "a", "accepted", "unit"),
    ]
    assert proposed["case/t"].unit == "a"
    assert pairs(desk.plan(NOW)) == {"case/t": "b"}


def accepted(*events: object, **settings: object) -> Dispatcher:
    desk, proposed = start(*events, **settings)
    for advice in proposed.values():
        desk.apply(act(advice, "accept", by=advice.unit), NOW)
    return desk


def test_a_little_better_is_no_reason_to_turn_a_unit_round() -> None:
    desk = accepted(unit("a", 10), task("t", 0))
    desk.apply(unit("b", 7), NOW)
    assert desk.plan(NOW) == []
    desk.apply(unit("c", 2), NOW)
    out = advices(desk.plan(NOW))
    assert [(a.unit, a.state) for a in out] == [("a", "withdrawn"), ("c", "proposed")]
    assert "c goes instead" in out[0].note


def test_only_an_urgent_task_takes_a_unit_away_from_another() -> None:
    desk = accepted(unit("u", 10), task("t", 0))
    desk.apply(task("high", 10, priority=2), NOW)
    assert desk.plan(NOW) == []
    desk.apply(task("urgent", 12, priority=1), NOW)
    out = advices(desk.plan(NOW))
    assert [(a.task, a.state) for a in out] == [
        ("case/t", "withdrawn"),
        ("case/urgent", "proposed"),
    ]
    assert "needed for case/urgent" in out[0].note


def test_an_urgent_task_does_not_take_a_unit_from_an_urgent_task() -> None:
    desk = accepted(unit("u", 10), task("t", 0, priority=1))
    desk.apply(task("urgent", 10, priority=1, weight=3.0), NOW)
    assert desk.plan(NOW) == []


def test_a_unit_on_site_is_left_alone_even_for_the_urgent() -> None:
    desk = accepted(unit("u", 1), task("t", 0, work_s=7200.0))
    desk.apply(unit("u", 0, state="on_site", task="case/t", at=NOW + MINUTE), NOW + MINUTE)
    desk.apply(task("urgent", 0, priority=1), NOW + MINUTE)
    assert desk.tick(NOW + 2 * MINUTE) == []


def test_an_urgent_task_is_planned_at_once_others_with_the_next_round() -> None:
    desk, _ = start(unit("a", 1), unit("b", 2), plan_every_s=10.0)
    desk.apply(task("t", 0), NOW + 1000)
    assert desk.tick(NOW + 1000) == []
    desk.apply(task("urgent", 0, priority=1), NOW + 2000)
    assert set(pairs(desk.tick(NOW + 2000))) == {"case/t", "case/urgent"}


def test_nothing_new_means_no_work_and_no_versions() -> None:
    desk = accepted(unit("a", 1), task("t", 0))
    assert desk.tick(NOW + 20_000) == []
    assert desk.tick(NOW + 40_000) == []


def test_a_bar_that_ends_is_noticed_without_any_news() -> None:
    desk, proposed = start(unit("u", 1), task("t", 0), reject_bar_min=30.0)
    desk.apply(act(proposed["case/t"], "reject", by="u"), NOW)
    for minute in range(30):
        assert desk.tick(NOW + minute * MINUTE) == []
    assert pairs(desk.tick(NOW + 31 * MINUTE)) == {"case/t": "u"}


def test_an_older_report_of_a_unit_is_left_out() -> None:
    desk, _ = start(unit("u", 1))
    desk.apply(unit("u", 50, at=NOW - 1), NOW)
    assert desk.store.units["u"].unit.lon == pytest.approx(unit("u", 1).lon)


def test_a_dispatcher_that_is_restored_goes_on_as_if_nothing_had_happened() -> None:
    one, proposed = start(unit("a", 1), unit("b", 30), task("t", 0), task("s", 31, priority=2))
    items = {k: v for k, v in one.changed().items() if v is not None}
    later = [
        act(proposed["case/t"], "reject", by="a"),
        unit("b", 31, state="on_site", task="case/s", at=NOW + MINUTE),
        task("new", 15, priority=1),
    ]
    two = dispatcher()
    two.restore(items)

    def goes_on(desk: Dispatcher) -> bytes:
        out: list[object] = []
        for number, event in enumerate(later):
            out += desk.apply(event, NOW + number * MINUTE)  # type: ignore[arg-type]
            out += desk.plan(NOW + number * MINUTE)
        return msgspec.json.encode(out)

    assert goes_on(one) == goes_on(two)
    # What changed since is enough to bring a third to the same state.
    three = dispatcher()
    for key, value in one.changed().items():
        if value is None:
            items.pop(key, None)
        else:
            items[key] = value
    three.restore(items)
    assert three.plan(NOW + HOUR) == one.plan(NOW + HOUR)
    one.apply(task("another", 3), NOW + HOUR)
    assert list(one.changed()) == ["task/case/another"]
    assert one.changed() == {}


def test_state_of_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="'forecast/x': no such kind"):
        dispatcher().restore({"forecast/x": b"{}"})
    with pytest.raises(DataError, match="'unit/x': 1 bytes do not decode"):
        dispatcher().restore({"unit/x": b"{"})
