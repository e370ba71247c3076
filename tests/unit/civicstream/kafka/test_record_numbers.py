"""Numbers that a writer gives: in order, given again after an abort, given up after a failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from civicstream.kafka.numbering import Numbering, number_of, stamp

PLACE = ("city.alerts", 0)


def written(numbering: Numbering) -> tuple[int, list[tuple[int, int]]]:
    (sequence,) = numbering.written()
    return sequence.next, sequence.void


def test_confirmed_are_the_numbers_below_the_first_without_an_outcome() -> None:
    numbering = Numbering("alerts/a", 5)
    settles = [numbering.take(PLACE)[1] for _ in range(3)]
    settles[0](True)
    settles[2](True)
    assert written(numbering) == (1, [])
    settles[1](True)
    assert written(numbering) == (3, [])


def test_a_failed_record_leaves_a_void_number() -> None:
    numbering = Numbering("alerts/a", 5)
    for confirmed in (True, False, False, True):
        numbering.take(PLACE)[1](confirmed)
    assert written(numbering) == (4, [(1, 2)])


def test_an_aborted_transaction_gives_its_numbers_again_and_reports_none_before_its_end() -> None:
    numbering = Numbering("worker/cases", 5)
    numbering.take(PLACE)[1](True)
    numbering.begin()
    number, settle = numbering.take(PLACE)
    settle(True)
    _, late = numbering.take(PLACE)
    assert (number.seq, written(numbering)) == (1, (1, []))
    numbering.abort()
    late(False)  # the client tells of it after the abort
    numbering.begin()
    assert numbering.take(PLACE)[0].seq == 1
    numbering.abandon()
    numbering.commit()
    assert written(numbering) == (2, [(1, 1)])


def test_what_a_closed_producer_had_in_flight_is_given_up() -> None:
    numbering = Numbering("feeds/f", 5)
    numbering.take(PLACE)
    numbering.abandon()
    numbering.take(PLACE)[1](True)
    assert written(numbering) == (2, [(0, 0)])


def test_the_header_says_the_number_also_of_a_writer_with_slashes() -> None:
    number, _ = Numbering("worker/city/7", 5).take(PLACE)
    assert number_of([("ce_id", b"x"), stamp(number)]) == number


@given(st.binary())
def test_a_header_of_any_bytes_is_a_number_or_none(value: bytes) -> None:
    found = number_of([("sequence", value)])
    assert found is None or (0 <= found.seq < 2**63 and 0 <= found.epoch < 2**63)
