"""Whatever happens: versions without gaps, the same again after a crash, bounded store."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.city import City
from civicstream.errors import DataError
from civicstream.events import DeadLetter
from civicstream.service_events import Action, Case
from streams.dispatch.cases import CaseProcessor
from streams.dispatch.cases.life import MOVES
from streams.dispatch.cases.processor import CaseEvent
from tests.kit.case_making import SERVICES, at, make_case_processor, make_evidence, make_report

Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["report", "report", "action", "action", "evidence", "tick"]),
        st.integers(0, 11),
        st.integers(0, 3),
        st.integers(0, 40),
    ),
    max_size=60,
)


def _event(step: Step, hours: float, known: list[str]) -> CaseEvent | None:
    kind, number, other, _ = step
    if kind == "report":
        service = "flooding" if other == 3 else "pothole"
        person = f"person-{other}"
        return make_report(number, hours, east_m=45 * other, service=service, reporter=person)
    if kind == "evidence":
        return make_evidence(hours, ended=other == 0, id=f"e{number}", source=f"s{number}")
    if kind == "action" and known:
        name = sorted(MOVES)[number % len(MOVES)]
        value = "sign" if name == "reclassify" else known[other % len(known)]
        subject = f"case/{known[(number + other) % len(known)]}"
        return Action(
            id=f"a{number}-{hours}",
            subject=subject,
            action=name,
            area="d1",
            by="op",
            at=at(hours),
            note="why",
            value=value,
        )
    return None


class _Life:
    """A desk, the state written down after each step, and all that it told."""

    def __init__(self, desk: CaseProcessor) -> None:
        self.desk = desk
        self.stored: dict[str, bytes] = {}
        self.told: list[Case | DeadLetter] = []

    def step(self, step: Step, hours: float) -> None:
        known = sorted({e.id for e in self.told if isinstance(e, Case)})
        self.told += self.desk.tick(at(hours))
        event = _event(step, hours, known)
        if event is not None:
            self.told += self.desk.apply(event, at(hours))
        for key, data in self.desk.changed().items():
            if data is None:
                self.stored.pop(key)
            else:
                self.stored[key] = data


@settings(max_examples=120)
@given(STEPS, st.integers(0, 60))
def test_a_desk_restored_at_any_moment_goes_on_exactly_like_one_that_never_stopped(
    steps: list[Step], crash: int
) -> None:
    lasting, restored = _Life(make_case_processor()), _Life(make_case_processor())
    hours = 0.0
    for number, step in enumerate(steps):
        hours += step[3]
        if number == crash:
            desk = make_case_processor()
            desk.restore(dict(reversed(restored.stored.items())))
            restored.desk = desk
        lasting.step(step, hours)
        restored.step(step, hours)
    assert restored.told == lasting.told
    assert restored.stored == lasting.stored


@settings(max_examples=120)
@given(STEPS)
def test_versions_have_no_gaps_reports_count_once_and_letters_change_nothing(
    steps: list[Step],
) -> None:
    life, hours = _Life(make_case_processor()), 0.0
    for step in steps:
        hours += step[3]
        life.step(step, hours)
    versions: dict[str, list[Case]] = {}
    for event in life.told:
        if isinstance(event, Case):
            versions.setdefault(event.id, []).append(event)
    for cases in versions.values():
        assert [c.version for c in cases] == list(range(1, len(cases) + 1))
        assert all(c.weight >= 0 and c.reporters <= c.reports for c in cases)
    counted = [e.latest_report for e in life.told if isinstance(e, Case) and e.latest_report]
    assert len(counted) == len(set(counted))


def test_all_memory_is_given_back_once_everything_is_closed_and_old() -> None:
    desk = make_case_processor()
    for number in range(50):
        (case,) = desk.apply(make_report(number, number / 10, east_m=100 * number), at(5))
        assert isinstance(case, Case)
        action = Action(
            id=f"a{number}",
            subject=f"case/{case.id}",
            action="reject",
            area="d1",
            by="op",
            at=at(6),
            note="no",
        )
        desk.apply(action, at(6))
    desk.apply(make_evidence(6), at(6))
    desk.tick(at(24 * 40))
    assert all(data is None for data in desk.changed().values())
    assert len(desk) == 0


def test_cases_of_a_service_that_the_city_gave_up_are_still_followed_to_their_end() -> None:
    life = _Life(make_case_processor())
    life.step(("report", 1, 0, 0), 0)
    life.step(("report", 2, 2, 0), 0)
    first, second = (event for event in life.told if isinstance(event, Case))
    left = {code: s for code, s in SERVICES.items() if code != "pothole"}
    desk = CaseProcessor(left, City())
    desk.restore(life.stored)
    merge = Action(
        id="a1",
        subject=f"case/{second.id}",
        action="duplicate",
        area="d1",
        by="op",
        at=at(1),
        note="",
        value=first.id,
    )
    gone, kept = desk.apply(merge, at(1))
    assert isinstance(gone, Case)
    assert isinstance(kept, Case)
    assert (kept.priority, kept.due_at, kept.reporters) == (first.priority, first.due_at, 2)
    assert desk.tick(at(100))[0].breach == "breached"


def test_a_restored_desk_forgets_what_is_old_too() -> None:
    life = _Life(make_case_processor())
    life.step(("report", 1, 0, 0), 0)
    life.step(("evidence", 1, 1, 0), 0)
    desk = make_case_processor()
    desk.restore(life.stored)
    desk.tick(at(24 * 40))
    dropped = {key.split("/")[0] for key, data in desk.changed().items() if data is None}
    assert dropped == {"seen", "reporter", "evidence"}


def test_changed_tells_each_change_once() -> None:
    desk = make_case_processor()
    desk.apply(make_report(1), at(0))
    first = desk.changed()
    assert {key.split("/")[0] for key in first} == {"case", "seen", "reporter"}
    assert desk.changed() == {}


@pytest.mark.parametrize(
    "items", [{"case/x": b"no"}, {"dragon/x": b""}, {"seen/x": msgspec.msgpack.encode("a")}]
)
def test_what_is_no_state_of_a_desk_is_named(items: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match=next(iter(items))):
        make_case_processor().restore(items)
