"""Numbers prove a loss or a second delivery, wherever batches are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from civicstream.events import ReadSequence
from civicstream.frames import FrameHeaders
from civicstream.kafka.numbering import Number, stamp
from civicstream.kafka.sequences import (
    Gap,
    ReadAccount,
    Received,
    Stream,
    account,
    received,
    without,
)

ONE = Stream("gateway-1", 5, "city.frames.air", 0)
OTHER = Stream("gateway-2", 5, "city.frames.air", 0)


def frames(*numbers: int, stream: Stream = ONE) -> list[Received]:
    return [Received(stream, number, 10) for number in numbers]


def seen(following: int, records: int, **more: object) -> ReadSequence:
    place = (ONE.writer, ONE.epoch, ONE.topic, ONE.partition)
    return ReadSequence(*place, 0, following, records, 10 * records, **more)  # type: ignore[arg-type]


def test_consecutive_records_leave_no_gap() -> None:
    changed, gaps = account({}, frames(0, 1, 2))
    assert changed == {ONE: seen(3, 3)}
    assert gaps == []


def test_a_first_record_that_is_not_number_0_is_a_gap() -> None:
    changed, gaps = account({}, frames(2))
    assert gaps == [Gap(ONE, first=0, missing=2)]
    assert changed[ONE].missing == [(0, 1)]


def test_a_reader_that_begins_in_the_middle_counts_from_its_first_record() -> None:
    changed, gaps = account({}, frames(7, 8), from_zero=False)
    assert gaps == []
    assert (changed[ONE].first, changed[ONE].next, changed[ONE].gaps) == (7, 9, 0)


def test_a_repeat_counts_its_readings_once() -> None:
    changed, gaps = account({ONE: seen(2, 2)}, frames(1, 2))
    assert changed == {ONE: seen(3, 3, repeated=1)}
    assert gaps == []


def test_a_record_that_comes_after_a_later_one_fills_the_gap_it_left() -> None:
    changed, gaps = account({}, frames(0, 2, 3, 1))
    assert gaps == [Gap(ONE, first=1, missing=1)]
    assert changed == {ONE: seen(4, 4, reordered=1)}


def test_a_corrupt_record_is_no_gap() -> None:
    changed, gaps = account({}, [Received(ONE, 0, 10, corrupt=True), *frames(1)])
    assert (gaps, changed[ONE].corrupt, changed[ONE].events) == ([], 1, 20)


def test_writers_are_numbered_apart() -> None:
    changed, gaps = account({}, [*frames(0), *frames(0, 1, stream=OTHER), *frames(1)])
    assert gaps == []
    assert {s: t.next for s, t in changed.items()} == {ONE: 2, OTHER: 2}


@given(st.permutations(range(12)), st.integers(0, 12), st.integers(1, 5))
def test_what_is_missing_is_exact_in_any_order_and_however_batches_are_cut(
    order: list[int], kept: int, cut: int
) -> None:
    arrived = order[:kept]
    known: dict[Stream, ReadSequence] = {}
    for start in range(0, len(arrived), cut):
        known |= account(known, frames(*arrived[start : start + cut]))[0]
    if arrived:
        missing = {n for a, b in known[ONE].missing for n in range(a, b + 1)}
        assert missing == set(range(max(arrived))) - set(arrived)
        assert known[ONE].records == len(arrived)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5))),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5))),
)
def test_ranges_without_others_hold_the_same_numbers_as_sets_do(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    ranges = [(first, first + more) for first, more in some]
    taken = [(first, first + more) for first, more in others]
    left = {n for a, b in without(ranges, taken) for n in range(a, b + 1)}
    numbers = {n for a, b in ranges for n in range(a, b + 1)}
    assert left == numbers - {n for a, b in taken for n in range(a, b + 1)}


def taken(account: ReadAccount, *numbers: int, offset: int = 0) -> ReadAccount:
    for i, record in enumerate(frames(*numbers)):
        account.take(offset + i, record)
    return account


def test_what_is_read_again_after_a_crash_is_no_repeat() -> None:
    checkpoint = taken(ReadAccount(), 0, 1, 2, 3).dump()
    after = taken(ReadAccount(checkpoint), 2, 3, 4, 5, offset=2)
    assert after.sequences() == [seen(6, 6)]


def test_what_is_left_out_across_a_crash_is_missing() -> None:
    checkpoint = taken(ReadAccount(), 0, 1).dump()
    after = taken(ReadAccount(checkpoint), 4, offset=4)
    assert after.sequences()[0].missing == [(2, 3)]


def test_in_a_log_that_is_shorter_than_remembered_new_records_count() -> None:
    checkpoint = taken(ReadAccount(), 0, 1, 2, 3).dump()
    after = ReadAccount(checkpoint)
    after.cut(2)
    taken(after, 4, 5, offset=2)
    assert after.sequences() == [seen(6, 6)]


def test_what_was_removed_before_the_first_reader_came_is_no_loss_of_its() -> None:
    assert taken(ReadAccount(begin=40), 7, 8, offset=40).sequences()[0].missing == []
    assert taken(ReadAccount(), 7, 8).sequences()[0].missing == [(0, 6)]


def test_what_was_in_another_log_of_the_topic_is_no_loss() -> None:
    assert taken(ReadAccount(other_log=True), 7, 8).sequences()[0].missing == []


def test_a_writer_that_was_silent_since_before_the_reader_came_has_lost_nothing() -> None:
    checkpoint = taken(ReadAccount(begin=40), 7, offset=40).dump()
    after = ReadAccount(checkpoint)
    older = Stream("silent", 6, "city.frames.air", 0)
    newer = Stream("new", 2**62, "city.frames.air", 0)
    after.take(41, Received(older, 90))
    after.take(42, Received(newer, 2))
    assert [(s.writer, s.missing) for s in after.sequences()[1:]] == [
        ("silent", []),
        ("new", [(0, 1)]),
    ]


def test_a_gap_is_new_once_and_not_again_after_a_crash() -> None:
    account = taken(ReadAccount(), 0, 3)
    assert account.take_gaps() == [Gap(ONE, 1, 2)]
    after = taken(ReadAccount(account.dump()), 3, 4, offset=1)
    assert after.take_gaps() == account.take_gaps() == []
    crashed = taken(ReadAccount(taken(ReadAccount(), 0).dump()), 0, 3)
    assert crashed.take_gaps() == [Gap(ONE, 1, 2)], "no checkpoint had it yet"


def test_an_account_remembers_a_bounded_number_of_writers() -> None:
    account = ReadAccount()
    for epoch in range(100):
        account.take(epoch, Received(Stream("g", epoch, "city.frames.air", 0), 0))
    assert [s.epoch for s in account.sequences()] == list(range(68, 100))


def test_a_writer_that_was_forgotten_and_writes_again_has_lost_nothing() -> None:
    account = ReadAccount()
    for epoch in range(100):
        account.take(epoch, Received(Stream("g", epoch, "city.frames.air", 0), 0))
    account.take(100, Received(Stream("g", 3, "city.frames.air", 0), 9))
    assert (account.take_gaps(), account.sequences()[-1].first) == ([], 9)


def test_a_checkpoint_leaves_out_the_writers_that_do_not_fit() -> None:
    account = ReadAccount()
    for epoch in range(20):
        account.take(epoch, Received(Stream("g", epoch, "city.frames.air", 0), 0))
    few = account.dump(300)
    assert len(few) <= 300
    kept = [s.epoch for s in ReadAccount(few).sequences()]
    assert kept == list(range(20 - len(kept), 20))
    assert len(kept) > 3


def test_numbers_that_no_column_could_hold_are_none() -> None:
    good = FrameHeaders("g", 5, 1, 10, 0).to_kafka()
    assert received("t", 2, good) == Received(Stream("g", 5, "t", 2), 1, 10)
    for bad in (("epoch", b"%d" % 2**64), ("seq", b"-1"), ("count", b"x")):
        assert received("t", 2, [*good, bad]) is None
    number = stamp(Number("w", 3, 4))
    assert received("t", 2, [*good, number]) == Received(Stream("w", 3, "t", 2), 4)
