"""A task's memory of its input is held against the log that Kafka has."""

from __future__ import annotations

from faust.types import TP

from civicstream.kafka.log_gaps import Log
from streams.runtime.task_state import Input
from streams.runtime.tasks import resume

PLACE = TP("t", 3)


def test_a_log_as_it_was_is_gone_on_with() -> None:
    read = Input(5, 9, "a", 7)
    assert resume(PLACE, read, Log("a", 0, 20)) == (read, None)
    assert resume(PLACE, read, Log("a", 5, 9)) == (read, None)


def test_what_is_still_there_of_open_windows_in_a_log_that_was_cut_is_read_again() -> None:
    read, gap = resume(PLACE, Input(50, 90, "a"), Log("a", 0, 70))
    assert read == Input(50, 70, "a")
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (70, 90, "log_truncated")
    assert resume(PLACE, Input(50, 90, "a"), Log("a", 0, 20))[0] == Input(20, 20, "a")


def test_a_log_that_was_cut_and_has_grown_past_what_was_read_is_read_from_the_cut() -> None:
    read, gap = resume(PLACE, Input(50, 90, "a", 5_000), Log("a", 0, 200, 70, 70))
    assert read == Input(50, 70, "a", 5_000)
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (70, 90, "log_truncated")


def test_frames_of_open_windows_that_were_deleted_are_a_gap() -> None:
    read, gap = resume(PLACE, Input(50, 60, "a"), Log("a", 80, 200))
    assert read == Input(80, 80, "a")
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (50, 80, "deleted")


def test_a_topic_made_again_is_read_from_its_beginning() -> None:
    read, gap = resume(PLACE, Input(50, 60, "a"), Log("b", 0, 200))
    assert read == Input(0, 0, "b")
    assert gap is not None
    assert (gap.first, gap.end, gap.reason) == (50, 60, "topic_recreated")


def test_the_first_start_on_a_cleaned_log_is_no_gap() -> None:
    assert resume(PLACE, None, Log("a", 80, 200)) == (Input(80, 80, "a"), None)
