"""What the feeds accept is what the worker can carry out: they refuse for the same reasons."""

from __future__ import annotations

from typing import get_args

import pytest

from civicstream.service_events import AllocationState, CaseState, UnitState
from feeds.operations.decisions import DECISIONS, Asked, Standing, check
from feeds.problems import Problem
from streams.dispatch.cases.life import MOVES

NOW = 1_767_600_000_000
STATES = {"case": get_args(CaseState), "allocation": get_args(AllocationState)}


@pytest.mark.parametrize("action", sorted(name for kind, name in DECISIONS if kind == "case"))
def test_a_case_is_moved_from_the_states_that_the_worker_allows(action: str) -> None:
    ours, theirs = DECISIONS["case", action], MOVES[action]
    assert ours.states == theirs.sources
    assert bool(ours.note) is bool(theirs.needs_note)
    assert ours.unit is bool(theirs.needs_value)


@pytest.mark.parametrize(("kind", "action"), [key for key in DECISIONS if key[0] != "alert"])
def test_each_state_allows_the_decision_or_is_named_in_its_refusal(kind: str, action: str) -> None:
    asked = Asked(kind, "x1", action, "because", "u1")  # type: ignore[arg-type]
    for state in STATES[kind]:
        if state in DECISIONS[asked.kind, action].states:
            check(asked, Standing("north", state), "available", NOW)
            continue
        with pytest.raises(Problem, match=f"{kind}/x1 is {state}; {action} is possible") as refused:
            check(asked, Standing("north", state), "available", NOW)
        assert refused.value.status == 409


def test_an_alert_is_acknowledged_once_and_unsilenced_only_while_it_is_silent() -> None:
    acknowledge = Asked("alert", "a1", "acknowledge", "")
    check(acknowledge, Standing("north", "active"), None, NOW)
    seen = Standing("north", "active", NOW - 5_000, "desk-2")
    with pytest.raises(Problem, match="by desk-2 already at 2026-01-05T"):
        check(acknowledge, seen, None, NOW)
    unsilence = Asked("alert", "a1", "unsilence", "")
    check(unsilence, Standing("north", "active", silenced_until=NOW + 1), None, NOW)
    for until in (None, NOW):
        with pytest.raises(Problem, match="not silenced"):
            check(unsilence, Standing("north", "active", silenced_until=until), None, NOW)


@pytest.mark.parametrize("state", get_args(UnitState))
def test_only_units_that_can_go_are_sent(state: str) -> None:
    asked = Asked("allocation", "x1", "override", "", "u1")
    standing = Standing("north", "proposed")
    if state in {"off_duty", "on_site"}:
        with pytest.raises(Problem, match="unit 'u1' is o"):
            check(asked, standing, state, NOW)
    else:
        check(asked, standing, state, NOW)
    with pytest.raises(Problem, match="not known") as unknown:
        check(asked, standing, None, NOW)
    assert unknown.value.status == 404


def test_a_rejection_says_why() -> None:
    for kind, state in (("allocation", "proposed"), ("case", "received")):
        asked = Asked(kind, "x1", "reject", "")  # type: ignore[arg-type]
        with pytest.raises(Problem, match="note must say the reason") as refused:
            check(asked, Standing("north", state), None, NOW)
        assert refused.value.status == 400
