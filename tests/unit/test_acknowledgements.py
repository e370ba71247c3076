"""A frame is acked once its windows are published, and never before an earlier frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.acknowledgements import HeldFrames


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(0, 6), max_size=10))
def test_frames_are_released_in_order_and_only_when_their_windows_are(waits, closings) -> None:  # type: ignore[no-untyped-def]
    held: HeldFrames[int] = HeldFrames()
    for offset, until in enumerate(waits):
        held.hold(offset, offset, until)
    released: list[int] = []
    closed = 0
    for closing in closings:
        closed = max(closed, closing)
        released += held.release(closed)
        assert released == list(range(len(released)))
        assert all(waits[offset] <= closed for offset in released)
        if len(released) < len(waits):
            assert waits[len(released)] > closed, "the next frame could have been released"
            assert held.first_unfinished(closed) == len(released)


def test_an_unconfirmed_late_reading_holds_its_frame_and_those_after_it() -> None:
    held: HeldFrames[str] = HeldFrames()
    first = held.hold("first", 7, 0, late_pending=True)
    held.hold("second", 8, 0)
    assert held.release(100) == []
    assert held.first_unfinished(100) == 7
    held.late_confirmed(first)
    assert held.release(100) == ["first", "second"]
    assert len(held) == 0
