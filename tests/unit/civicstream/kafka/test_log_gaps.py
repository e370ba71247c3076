"""Where reading goes on, for every way in which Kafka's log may differ from the one read before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.kafka.log_gaps import Log, LogGap, LogWatch, Position, Times, go_on

TOPIC, PARTITION = "city.frames.noise", 2
KNOWN = Position(100, "old", 5_000)
UNTIMED = Position(100, "old")


def judge(read: Position, log: Log, **options: Any) -> tuple[Position, LogGap | None]:
    return go_on(TOPIC, PARTITION, read, log, **options)


@pytest.mark.parametrize(
    ("known", "log", "offset", "gap"),
    [
        (KNOWN, Log("old", 0, 100), 100, None),
        (KNOWN, Log("old", 0, 150, 100, 100), 100, None),
        (KNOWN, Log("old", 0, 150, 120, 130), 100, None),  # ends of transactions take offsets too
        (KNOWN, Log("old", 0, 150, 99), 100, None),  # a marker, by a clock that differs
        (KNOWN, Log("new", 0, 500), 0, ("topic_recreated", 100, None)),
        (KNOWN, Log("old", 130, 150, 130, 130), 130, ("deleted", 100, 130)),
        (KNOWN, Log("old", 0, 80), 80, ("log_truncated", 80, 100)),
        (KNOWN, Log("old", 0, 80, 60, 60), 60, ("log_truncated", 60, 100)),
        (KNOWN, Log("old", 0, 150, 60, 60), 60, ("log_truncated", 60, 100)),
        (KNOWN, Log("old", 0, 150, 110, 110, parted=60), 60, ("log_truncated", 60, 100)),
        # A restored copy has given the same leader epoch again, to records that are new.
        (KNOWN, Log("old", 0, 80, 50, None, parted=80), 50, ("log_truncated", 50, 100)),
        (KNOWN, Log("old", 70, 150, parted=60), 70, ("log_truncated", 70, 100)),
        (KNOWN, Log("old", 0, 150, parted=100), 100, None),
        (UNTIMED, Log("old", 20, 80), 80, ("log_truncated", 80, 100)),
        (UNTIMED, Log("old", 0, 150), 100, None),
        (Position(100), Log("old", 0, 150), 100, None),
    ],
)
def test_reading_goes_on_at_the_first_new_record_and_the_gap_is_known(
    known: Position, log: Log, offset: int, gap: tuple[str, int, int | None] | None
) -> None:
    position, found = judge(known, log)
    assert (position.topic_id, position.next_offset) == (log.topic_id, offset)
    if gap is None:
        assert found is None
    else:
        assert found is not None
        assert (found.reason, found.first, found.end) == gap
        assert found.read_from == offset
        assert f"{TOPIC} partition {PARTITION}" in str(found)
        assert str(found).endswith(f"reading goes on at {offset}")


def test_whoever_may_read_twice_begins_again_where_the_times_do_not_tell_what_is_new() -> None:
    log = Log("old", 20, 80)
    assert judge(UNTIMED, log, may_repeat=True)[0].next_offset == 20
    assert judge(KNOWN, log, may_repeat=True)[0].next_offset == 80


def test_what_is_still_needed_of_what_was_read_counts_where_it_is_gone() -> None:
    cleaned, gap = judge(Position(60, "old"), Log("old", 80, 200), needed_from=50)
    assert (cleaned.next_offset, gap and (gap.first, gap.end)) == (80, (50, 80))
    within, gap = judge(Position(60, "old"), Log("old", 55, 200), needed_from=50)
    assert (within.next_offset, gap and (gap.first, gap.end)) == (60, (50, 55))
    _, gap = judge(Position(60, "old"), Log("new", 0, 200), needed_from=50)
    assert gap is not None
    assert (gap.first, gap.end, gap.missing) == (50, 60, 10)


def test_a_gap_counts_its_records_where_their_number_is_known() -> None:
    _, cut = judge(KNOWN, Log("old", 0, 80))
    _, anew = judge(KNOWN, Log("new", 0, 80))
    assert cut is not None
    assert anew is not None
    assert (cut.missing, anew.missing) == (20, 0)
    event = cut.event(7)
    assert (event.gateway, event.first, event.missing, event.at) == ("log_truncated", 80, 20, 7)


def test_the_time_of_the_newest_record_outlives_a_cut_but_not_a_new_topic() -> None:
    assert judge(KNOWN, Log("old", 0, 80))[0].newest_ms == 5_000
    assert judge(KNOWN, Log("new", 0, 80))[0].newest_ms == 0


@given(*[st.integers(0, 30)] * 3, st.booleans())
def test_one_never_goes_on_outside_of_the_log(  # type: ignore[no-untyped-def]
    offset, begin, length, same
) -> None:
    read, log = Position(offset, "old"), Log("old" if same else "new", begin, begin + length)
    at, gap = judge(read, log)
    assert begin <= at.next_offset <= begin + length
    assert (gap is None) == (same and begin <= offset <= begin + length)


def test_only_times_that_are_known_are_asked_for() -> None:
    times = Times.of({"a": KNOWN, "b": UNTIMED, "c": None})
    assert times.later == {"a": 5_001}
    assert times.proof == {"a": 6_001}


def test_a_log_that_was_cut_under_its_reader_is_seen_though_newer_records_were_read() -> None:
    watch = LogWatch()
    watch.took("p", 100, 5_000)
    watch.took("p", 101, 5_900)
    assert watch.times() == {}, "nothing is appended while a broker is away"
    watch.took("p", 140, 9_000)
    watch.took("p", 141, 11_000)
    assert watch.times() == {"p": 6_901}
    assert watch.look({"p"}, {"p": 60})
    assert watch.parted == {"p": 60}
    watch.forget(["p"])
    assert (watch.parted, watch.times()) == ({}, {})


def test_a_pause_in_what_is_appended_is_no_cut() -> None:
    watch = LogWatch()
    for offset in range(100, 110):
        watch.took("p", offset + 1, 60_000 * offset)
        assert not watch.look(watch.times(), {"p": offset})
    assert watch.parted == {}
