"""Open cases and confirmed incidents become tasks; what is settled does not."""

from __future__ import annotations

import msgspec
import pytest

from civicstream.services import load_services
from streams.dispatch.allocation import task_of_case, task_of_incident
from tests.kit.allocation_making import HOUR, KM, NOW, TOWN
from tests.kit.citizen_events import case
from tests.kit.sink_events import incident

LEAK = load_services()["water_leak"]
CASE = case(
    state="acknowledged",
    area="a",
    service="water_leak",
    priority=1,
    lon=0.1,
    lat=0.2,
    opened_at=NOW,
    updated_at=NOW,
    due_at=NOW + 6 * HOUR,
)
INCIDENT = incident(
    state="confirmed",
    area="a",
    segment="s7",
    upstream_segment="s6",
    downstream_segment="s9",
    position=0.5,
    severity=0.7,
    estimated_start=NOW,
    first_evidence=NOW,
    last_evidence=NOW,
    window_end=NOW,
    computed_at=NOW,
)


def test_a_unit_is_to_be_there_early_enough_to_be_done_by_the_cases_target() -> None:
    task = task_of_case(CASE, LEAK)
    assert task is not None
    assert (task.id, task.skill, task.priority, task.weight) == ("case/c1", "water", 1, 1.5)
    assert task.work_s == 120 * 60
    assert task.due_at == NOW + 4 * HOUR


@pytest.mark.parametrize("state", ["resolved", "rejected", "duplicate"])
def test_a_case_that_is_settled_is_no_task(state: str) -> None:
    assert task_of_case(msgspec.structs.replace(CASE, state=state), LEAK) is None


def test_a_confirmed_incident_is_a_task_on_its_segment() -> None:
    task = task_of_incident(INCIDENT, TOWN)
    assert task is not None
    assert (task.id, task.segment, task.priority, task.skill) == ("incident/i1", "s7", 1, "tow")
    assert task.lon == pytest.approx(7.5 * KM)
    light = task_of_incident(msgspec.structs.replace(INCIDENT, severity=0.3), TOWN)
    assert light is not None
    assert light.priority == 2


def test_a_suspicion_and_what_clears_already_are_no_tasks() -> None:
    for state in ("suspected", "clearing", "cleared"):
        assert task_of_incident(msgspec.structs.replace(INCIDENT, state=state), TOWN) is None
    elsewhere = msgspec.structs.replace(INCIDENT, segment="unknown")
    assert task_of_incident(elsewhere, TOWN) is None
