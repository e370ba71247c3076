"""Whatever order and repetition Kafka's client delivers in, records are taken in one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.offset_gate import OffsetGate, PendingOffsets, StallWatch, Turn


@given(st.integers(0, 20), st.lists(st.integers(0, 40), max_size=200), st.sets(st.integers(0, 40)))
def test_records_are_taken_once_in_order_and_none_is_left_out(resume_at, offsets, markers) -> None:  # type: ignore[no-untyped-def]
    """``markers`` are offsets that no reader sees, as after every transaction."""
    gate = OffsetGate(resume_at)
    taken = []
    for offset in offsets:
        if offset in markers:
            continue
        follows = offset
        while follows - 1 in markers:
            follows -= 1
        before = gate.expected
        if gate.turn(follows, offset, 0.0) is Turn.NEXT:
            taken.append(offset)
            assert all(missing in markers for missing in range(before, offset))
    assert taken == sorted(set(taken))
    assert all(offset >= resume_at for offset in taken)


def test_a_missing_record_is_sought_once_while_later_ones_pass() -> None:
    gate = OffsetGate(10)
    assert gate.turn(14, 14, 0.0) is Turn.SEEK
    assert gate.turn(15, 15, 0.1) is Turn.WAIT
    assert gate.turn(10, 10, 0.2) is Turn.NEXT
    assert gate.turn(10, 10, 0.3) is Turn.REPEATED
    assert [gate.turn(o, o, 0.4) for o in range(11, 15)] == [Turn.NEXT] * 4


def test_a_marker_of_a_transaction_is_no_missing_record() -> None:
    gate = OffsetGate(10)
    assert gate.turn(10, 12, 0.0) is Turn.NEXT
    assert gate.turn(13, 15, 0.1) is Turn.NEXT, "13 is where the reading stood"
    assert gate.turn(17, 18, 0.2) is Turn.SEEK, "16 never came"


def test_records_that_were_fetched_and_do_not_come_are_sought_again() -> None:
    watch = StallWatch()
    assert not watch.stalled(5, None, 0.0)
    assert not watch.stalled(5, 9, 1.0)
    assert not watch.stalled(5, 9, 3.9)
    assert watch.stalled(5, 9, 4.1)
    assert not watch.stalled(5, 9, 5.0), "a seek takes its time"
    assert watch.stalled(5, 9, 7.2)
    assert not watch.stalled(7, 9, 8.0), "it goes on"
    assert not watch.stalled(9, 9, 30.0), "all that was fetched came"
    assert not watch.stalled(9, 12, 31.0)


@given(st.lists(st.integers(1, 5), max_size=30), st.lists(st.integers(0, 6), max_size=10))
def test_a_frame_is_needed_until_its_windows_and_those_before_it_are_published(  # type: ignore[no-untyped-def]
    waits, closings
) -> None:
    held = PendingOffsets()
    for offset, until in enumerate(waits):
        held.hold(offset, until)
    closed = 0
    for closing in closings:
        closed = max(closed, closing)
        needed = held.release(closed)
        open_ = [offset for offset, until in enumerate(waits) if until > closed]
        assert needed == (open_[0] if open_ else None)
