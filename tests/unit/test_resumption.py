"""A task's memory of its input is held against the log that Kafka has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.resumption import Input, resume


def test_a_log_as_it_was_is_gone_on_with() -> None:
    assert resume("t", 0, Input(5, 9, "a"), "a", 0, 20) == (Input(5, 9, "a"), None)
    assert resume("t", 0, Input(5, 9, "a"), "a", 5, 9) == (Input(5, 9, "a"), None)


def test_a_shorter_log_is_a_gap_and_what_comes_after_it_is_new() -> None:
    read, gap = resume("t", 3, Input(50, 90, "a"), "a", 0, 70)
    assert read == Input(50, 70, "a"), "frames of open windows that are still there are read again"
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (70, 90, "log_shorter")
    assert "t partition 3: offsets 70 to 89 are gone" in str(gap)
    assert resume("t", 3, Input(50, 90, "a"), "a", 0, 20)[0] == Input(20, 20, "a")


def test_a_log_cleaned_beyond_what_was_read_is_a_gap() -> None:
    read, gap = resume("t", 0, Input(50, 60, "a"), "a", 80, 200)
    assert read == Input(80, 80, "a")
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (50, 80, "log_cleaned")


def test_a_topic_made_again_is_read_from_its_beginning() -> None:
    read, gap = resume("t", 0, Input(50, 60, "a"), "b", 0, 200)
    assert read == Input(0, 0, "b")
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (50, 60, "topic_recreated")


def test_the_first_start_on_a_cleaned_log_is_no_gap() -> None:
    assert resume("t", 0, Input(), "a", 80, 200) == (Input(80, 80, "a"), None)


@given(*[st.integers(0, 30)] * 4, st.booleans())
def test_one_never_goes_on_outside_of_the_log(resume_at, ahead, first, length, same) -> None:  # type: ignore[no-untyped-def]
    stored = Input(resume_at, resume_at + ahead, "a")
    read, gap = resume("t", 0, stored, "a" if same else "b", first, first + length)
    assert first <= read.resume_at <= read.next_offset <= max(first + length, first)
    lossless = same and stored.next_offset <= first + length and resume_at >= first
    assert (gap is None) == lossless
