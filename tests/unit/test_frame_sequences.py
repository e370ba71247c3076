"""Frame numbers prove a loss or a second delivery, wherever batches are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.sequences import Gap, Received, Stream, Tally, account

ONE = Stream("gateway-1", 5, "city.frames.air", 0)
OTHER = Stream("gateway-2", 5, "city.frames.air", 0)


def frames(*numbers: int, stream: Stream = ONE) -> list[Received]:
    return [Received(stream, number, 10) for number in numbers]


def test_consecutive_frames_leave_no_gap() -> None:
    changed, gaps = account({}, frames(0, 1, 2))
    assert changed == {ONE: Tally(next_seq=3, frames=3, readings=30)}
    assert gaps == []


def test_a_first_frame_that_is_not_number_0_is_a_gap() -> None:
    _, gaps = account({}, frames(2))
    assert gaps == [Gap(ONE, first=0, missing=2)]


def test_a_repeat_counts_its_readings_once() -> None:
    changed, gaps = account({ONE: Tally(next_seq=2, frames=2, readings=20)}, frames(1, 2))
    assert changed == {ONE: Tally(next_seq=3, frames=3, readings=30, repeats=1)}
    assert gaps == []


def test_gateways_are_numbered_apart() -> None:
    changed, gaps = account({}, [*frames(0), *frames(0, 1, stream=OTHER), *frames(1)])
    assert gaps == []
    assert {s: t.next_seq for s, t in changed.items()} == {ONE: 2, OTHER: 2}


@given(st.sets(st.integers(0, 60)), st.integers(1, 7))
def test_gaps_are_the_missing_numbers_however_batches_are_cut(numbers: set[int], cut: int) -> None:
    arrived = sorted(numbers)
    known: dict[Stream, Tally] = {}
    found: list[int] = []
    for start in range(0, len(arrived), cut):
        changed, gaps = account(known, frames(*arrived[start : start + cut]))
        known |= changed
        found += [n for gap in gaps for n in range(gap.first, gap.first + gap.missing)]
    last = arrived[-1] if arrived else -1
    assert found == [n for n in range(last) if n not in numbers]
    assert known.get(ONE, Tally()).gaps == len(found)
