"""Whatever order and repetition Kafka's client delivers in, frames are taken in one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.sequence import FrameSequence, StallWatch, Turn


@given(st.integers(0, 20), st.lists(st.integers(0, 40), max_size=200))
def test_frames_are_taken_once_in_order_and_without_a_hole(resume_at, offsets) -> None:  # type: ignore[no-untyped-def]
    sequence = FrameSequence(resume_at)
    taken = []
    for offset in offsets:  # a clock that stands still: no seek is given up
        turn = sequence.turn(offset, 0.0)
        if turn is Turn.NEXT:
            taken.append(offset)
        assert (turn is Turn.ACCOUNTED) == (offset < resume_at)
    assert taken == list(range(resume_at, resume_at + len(taken)))
    assert sequence.expected == resume_at + len(taken)


def test_a_missing_frame_is_sought_once_while_later_ones_pass() -> None:
    sequence = FrameSequence(10)
    assert sequence.turn(14, 0.0) is Turn.SEEK
    assert sequence.turn(15, 0.1) is Turn.WAIT
    assert sequence.turn(10, 0.2) is Turn.NEXT
    assert sequence.turn(10, 0.3) is Turn.REPEATED
    assert [sequence.turn(o, 0.4) for o in range(11, 15)] == [Turn.NEXT] * 4


def test_a_frame_that_is_gone_from_kafka_holds_nothing_up_for_long() -> None:
    sequence = FrameSequence(10)
    turns = [sequence.turn(14, float(second)) for second in range(30)]
    first = turns.index(Turn.AFTER_GAP)
    assert turns[:first].count(Turn.SEEK) == 4
    assert first <= 15
    assert sequence.turn(15, 30.0) is Turn.NEXT


def test_a_partition_with_unread_records_of_which_none_comes_is_sought_again() -> None:
    watch = StallWatch()
    assert not watch.stalled(5, None, 0.0)
    assert not watch.stalled(5, 9, 1.0)
    assert not watch.stalled(5, 9, 3.9)
    assert watch.stalled(5, 9, 4.1)
    assert not watch.stalled(5, 9, 5.0), "a seek takes its time"
    assert watch.stalled(5, 9, 7.2)
    assert not watch.stalled(7, 9, 8.0), "it goes on"
    assert not watch.stalled(9, 9, 30.0), "read to its end"
    assert not watch.stalled(9, 12, 31.0)
