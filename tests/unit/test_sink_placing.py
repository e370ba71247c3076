"""Where reading goes on, for every way in which Kafka's log may differ from the one read before."""

from __future__ import annotations

from uuid import UUID

import pytest

from sinks.placing import Log, Position, go_on
from sinks.records import Place

PLACE = Place("city.frames.noise", 2)
OLD, NEW = UUID(int=1), UUID(int=2)
KNOWN = Position(OLD, 100, newest_at=5_000)


@pytest.mark.parametrize(
    ("known", "log", "offset", "gap"),
    [
        (None, Log(OLD, 30, 90, None), 30, None),
        (KNOWN, Log(OLD, 0, 100, None), 100, None),
        (KNOWN, Log(OLD, 0, 150, 100), 100, None),
        (KNOWN, Log(OLD, 0, 150, 120), 100, None),  # ends of transactions take offsets too
        (KNOWN, Log(NEW, 0, 500, None), 0, ("topic_recreated", 100, None)),
        (KNOWN, Log(OLD, 130, 150, 130), 130, ("deleted", 100, 130)),
        (KNOWN, Log(OLD, 0, 80, None), 80, ("log_truncated", 80, 100)),
        (KNOWN, Log(OLD, 0, 80, 60), 60, ("log_truncated", 60, 100)),
        (KNOWN, Log(OLD, 0, 150, 60), 60, ("log_truncated", 60, 100)),
        (Position(OLD, 100), Log(OLD, 20, 80, None), 20, ("log_truncated", 20, 100)),
        (Position(OLD, 100), Log(OLD, 0, 150, None), 100, None),
    ],
)
def test_reading_goes_on_at_the_first_new_record_and_the_gap_is_known(
    known: Position | None, log: Log, offset: int, gap: tuple[str, int, int | None] | None
) -> None:
    position, found = go_on(PLACE, known, log)
    assert (position.topic_id, position.next_offset) == (log.topic_id, offset)
    if gap is None:
        assert found is None
    else:
        assert found is not None
        assert (found.reason, found.first_offset, found.next_offset) == gap
        assert found.read_from == offset
        assert str(offset) in found.sentence
        assert PLACE.topic in found.sentence


def test_a_gap_counts_its_records_where_their_number_is_known() -> None:
    _, cut = go_on(PLACE, KNOWN, Log(OLD, 0, 80, None))
    _, anew = go_on(PLACE, KNOWN, Log(NEW, 0, 80, None))
    assert cut is not None
    assert anew is not None
    assert (cut.records, anew.records) == (20, 0)


def test_the_time_of_the_newest_record_outlives_a_cut_but_not_a_new_topic() -> None:
    assert go_on(PLACE, KNOWN, Log(OLD, 0, 80, None))[0].newest_at == 5_000
    assert go_on(PLACE, KNOWN, Log(NEW, 0, 80, None))[0].newest_at is None
