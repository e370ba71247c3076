"""Restarts back off, are bounded, and a part that recovered is forgiven."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stack.up.restart_policy import Backoff, RestartRecord


@given(failures=st.integers(1, 10_000))
def test_pauses_never_shrink_and_never_pass_the_longest(failures: int) -> None:
    backoff = Backoff(first_s=0.5, longest_s=30)
    assert 0.5 <= backoff.pause_s(failures) <= backoff.pause_s(failures + 1) <= 30


def test_each_death_soon_after_the_last_doubles_the_pause() -> None:
    record, now, pauses = RestartRecord(), 100.0, []
    for _ in range(4):
        record, due = record.after_death(ready_since=now, now=now + 1, backoff=Backoff(first_s=1))
        pauses.append(due - now - 1)
        now = due
    assert pauses == [1, 2, 4, 8]
    assert (record.failures, record.restarts) == (4, 4)


def test_a_part_that_was_ready_for_long_starts_again_at_the_first_pause() -> None:
    backoff = Backoff(first_s=1, forgive_s=60)
    record = RestartRecord(failures=7, restarts=7)
    record, due = record.after_death(ready_since=0, now=60, backoff=backoff)
    assert (record.failures, record.restarts, due) == (1, 8, 61)


def test_a_part_that_tried_for_long_and_never_got_ready_is_not_forgiven() -> None:
    record = RestartRecord(failures=3, restarts=3)
    record, _ = record.after_death(ready_since=None, now=10_000, backoff=Backoff(forgive_s=60))
    assert record.failures == 4
