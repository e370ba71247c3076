"""The balance tells a loss from what is still on its way, at every stage, and names where it is."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from civicstream.events import Counts, LedgerReport, ReadPosition, ReadSequence, WrittenSequence
from civicstream.kafka.sequences import Stream
from sinks.admin.balance import Balance, RowsOfDay, SinkCounts, balance
from sinks.admin.readers import LogState, newest_readers
from sinks.admin.settling import ended, settled_sequences

AIR = "city.frames.air"
ALERTS = "city.alerts"
KIND_OF = {AIR: "air"}
READ = {(AIR, 0): LogState(0, 9, 9, 0), (ALERTS, 0): LogState(0, 9, 9, 0)}
WAITING = READ | {(AIR, 0): LogState(0, 9, 8, 1), (ALERTS, 0): LogState(0, 9, 8, 1)}
WHO = {AIR: "g", ALERTS: "alerts/a"}


def wrote(
    topic: str, following: int, *, epoch: int = 1, void: list[tuple[int, int]] | None = None
) -> WrittenSequence:
    return WrittenSequence(WHO[topic], epoch, topic, 0, following, void or [])


def seen(
    topic: str, following: int, events: int = 0, *, epoch: int = 1, **more: Any
) -> dict[Stream, ReadSequence]:
    place = (WHO[topic], epoch, topic, 0)
    sequence = ReadSequence(*place, next=following, records=following, events=events, **more)
    return {Stream(*place): sequence}


def gateway(
    received: int,
    accepted: int,
    *,
    epoch: int = 1,
    in_flight: int = 0,
    rejected: int = 0,
    frames: int = 1,
) -> LedgerReport:
    counts = Counts(received=received, accepted=accepted, rejected=rejected, in_flight=in_flight)
    written = [wrote(AIR, frames, epoch=epoch)]
    kinds = {"air": counts}
    return LedgerReport("gateway", "g", epoch, at=epoch + 1, kinds=kinds, written=written)


def alerts(following: int, **more: Any) -> LedgerReport:
    written = [wrote(ALERTS, following, **more)]
    return LedgerReport("alerts", "a", 1, at=2, kinds={}, written=written)


def held(
    reports: list[LedgerReport],
    stored: dict[Stream, ReadSequence],
    counts: dict[str, SinkCounts] | None = None,
    logs: dict[tuple[str, int], LogState] = READ,
    **more: Any,
) -> Balance:
    return balance(reports, stored, counts or {}, logs, kind_of=KIND_OF, **more)


def test_nothing_is_wrong_when_every_accepted_reading_is_a_row_or_a_duplicate() -> None:
    counts = {"air": SinkCounts(received=10, accepted=9, duplicate=1)}
    found = held([gateway(12, 10, rejected=2)], seen(AIR, 1, 10), counts)
    assert (found.problems, found.notices) == ([], [])
    assert found.settled


def test_a_reading_on_kafka_is_in_flight_and_no_problem() -> None:
    found = held([gateway(10, 10, frames=2)], seen(AIR, 1, 7), {"air": SinkCounts(7, 7)}, WAITING)
    assert (found.in_flight, found.problems, found.settled) == (3, [], False)


def parked(report: LedgerReport, readings: int) -> LedgerReport:
    return msgspec.structs.replace(report, gauges={"parked_air": readings})


def test_a_parked_reading_is_on_its_way_and_not_lost() -> None:
    counts = {"air": SinkCounts(7, 7)}
    found = held([parked(gateway(10, 10), 3)], seen(AIR, 1, 7), counts)
    assert (found.in_flight, found.problems, found.settled) == (3, [], False)
    # Its next start says what is still parked.
    started = [parked(gateway(10, 10), 3), gateway(0, 0, epoch=2, frames=0)]
    found = held(started, seen(AIR, 1, 7), counts)
    assert [p for p in found.problems if "3 readings confirmed on Kafka" in p]


def test_what_a_later_start_has_sent_on_is_written_under_the_number_of_the_first() -> None:
    first, later = gateway(10, 10, frames=3), gateway(0, 0, epoch=2, frames=0)
    later = msgspec.structs.replace(later, written=[wrote(AIR, 5)])
    for reports in ([first, later], [later, first]):
        found = held(reports, seen(AIR, 3, 10), {"air": SinkCounts(10, 10)})
        assert [(d.first, d.last) for d in found.differences] == [(3, 4)]


@pytest.mark.parametrize("topic", [AIR, ALERTS])
def test_what_its_writer_has_confirmed_and_no_stage_has_is_lost_and_named(topic: str) -> None:
    report = gateway(10, 10, frames=5) if topic == AIR else alerts(5)
    found = held([report], seen(topic, 3, 7), {"air": SinkCounts(7, 7)})
    assert found.problems[0] == (
        f"sink: {topic} partition 0: 2 records never came: numbers 3 to 4; "
        f"written by {WHO[topic]} (started 1)"
    )
    readings = "sink: air: 3 readings confirmed on Kafka are not in the database"
    assert [readings in p for p in found.problems[1:]] == ([True] if topic == AIR else [])
    assert found.in_flight == 0
    one = found.differences[0]
    assert (one.stage, one.topic, one.partition, one.first, one.last) == ("sink", topic, 0, 3, 4)


def test_of_a_writer_that_the_sink_never_heard_of_everything_is_lost() -> None:
    assert "numbers 0 to 4" in held([alerts(5)], {}).problems[0]


def test_numbers_that_their_writer_gave_up_are_no_loss() -> None:
    found = held([alerts(9, void=[(2, 3), (8, 8)])], seen(ALERTS, 8, missing=[(2, 4)]))
    assert found.problems == [
        (
            f"sink: {ALERTS} partition 0: 1 records never came: numbers 4 to 4; "
            "written by alerts/a (started 1)"
        )
    ]


def test_a_gap_is_a_loss_while_more_waits_too() -> None:
    found = held([gateway(10, 10, frames=9)], seen(AIR, 5, 10, missing=[(1, 2)]), logs=WAITING)
    assert ["numbers 1 to 2" in problem for problem in found.problems] == [True]


def test_what_came_twice_or_out_of_order_is_named_and_no_loss() -> None:
    found = held([alerts(5)], seen(ALERTS, 5, repeated=2, reordered=1))
    assert found.problems == []
    assert [d.what for d in found.differences] == ["repeated", "reordered"]
    assert found.notices[0].startswith(
        f"sink: {ALERTS} partition 0: 2 records of 0 to 4 came again"
    )


def test_a_corrupt_record_is_a_loss() -> None:
    found = held([alerts(5)], seen(ALERTS, 5, corrupt=1))
    assert ["1 records of 0 to 4 are corrupt" in problem for problem in found.problems] == [True]


def test_what_a_killed_gateway_had_in_flight_is_its_next_starts_business() -> None:
    reports = [gateway(12, 10, epoch=1, in_flight=2), gateway(5, 5, epoch=2)]
    stored = seen(AIR, 1, 11, epoch=1) | seen(AIR, 1, 5, epoch=2)
    found = held(reports, stored, {"air": SinkCounts(16, 16)})
    assert found.settled
    assert found.problems == []
    assert found.kinds[0].gateway.in_flight == 0


def test_counts_that_do_not_add_up_are_a_problem_of_their_stage() -> None:
    report = LedgerReport("feeds", "f", 1, 2, {"report": Counts(3, accepted=2)})
    found = held([gateway(11, 10), report], seen(AIR, 1, 10), {"air": SinkCounts(10, 9)})
    assert found.problems == [
        "gateway g: air: +1 readings unaccounted for",
        "feeds f: report: +1 readings unaccounted for",
        "sink: air: +1 readings unaccounted for",
    ]


def test_a_log_that_ends_before_what_the_sink_has_read_is_named() -> None:
    found = held([], {}, logs={(AIR, 3): LogState(0, 7, 9, 0)})
    assert ["partition 3: the log ends at offset 7" in p for p in found.problems] == [True]
    assert (found.differences[0].first, found.differences[0].last) == (7, 8)


def test_offsets_that_were_removed_unread_are_named_and_proven_by_numbers_only() -> None:
    found = held([alerts(3)], seen(ALERTS, 3), logs={(ALERTS, 0): LogState(8, 8, 7, 0)})
    assert found.problems == []
    assert "offsets 7 to 7 were removed before the sink read them" in found.notices[0]


# --- readers other than the sink


def reader(
    at: int, *read: ReadSequence, stage: str = "worker", epoch: int = 5, since: int = -1
) -> LedgerReport:
    places = {(s.topic, s.partition, s.reader) for s in read} or {(AIR, 0, "")}
    read_to = [ReadPosition(topic, part, 9, since, name) for topic, part, name in sorted(places)]
    return LedgerReport(
        stage,  # type: ignore[arg-type]
        f"{stage}{epoch}",
        epoch,
        at,
        {},
        read=list(read),
        read_to=read_to,
    )


def had(
    first: int, following: int, *missing: tuple[int, int], topic: str = AIR, name: str = ""
) -> ReadSequence:
    place = (WHO[topic], 1, topic, 0)
    return ReadSequence(*place, first, following, missing=list(missing), reader=name)


def lost(found: Balance) -> list[tuple[str, int | None, int | None]]:
    return [(d.stage, d.first, d.last) for d in found.differences if d.what == "missing"]


def all_at_the_sink(*reports: LedgerReport, waits: int | None = 0, **more: Any) -> Balance:
    counts = {"air": SinkCounts(9, 9)}
    waiting = {} if waits is None else dict.fromkeys(newest_readers(reports), waits)
    return held([*reports], seen(AIR, 9, 9), counts, waiting=waiting, **more)


def test_records_that_a_reader_never_had_are_named() -> None:
    found = all_at_the_sink(gateway(9, 9, frames=9), reader(9, had(0, 9, (3, 4))))
    assert found.problems == [
        f"worker: {AIR} partition 0: 2 records never came: numbers 3 to 4; written by g (started 1)"
    ]


def test_a_reader_s_newest_report_says_all_whichever_process_it_is_of() -> None:
    found = all_at_the_sink(
        gateway(9, 9, frames=9),
        reader(8, had(0, 5, (3, 4))),
        reader(9, had(0, 9), epoch=6),
        reader(7, had(0, 5, (1, 2)), epoch=7),
    )
    assert found.problems == []


def test_records_at_the_end_are_lost_only_if_none_waits_for_the_reader() -> None:
    reports = gateway(9, 9, frames=9), reader(9, had(0, 5))
    assert lost(all_at_the_sink(*reports)) == [("worker", 5, 8)]
    found = all_at_the_sink(*reports, waits=4)
    assert (lost(found), found.settled) == ([], False)
    assert lost(all_at_the_sink(*reports, waits=None)) == [], "its log is not the one it has read"


def test_of_a_writer_that_a_reader_never_had_all_is_lost_if_it_began_after_the_reader() -> None:
    reports = gateway(9, 9, frames=9), reader(9)
    assert lost(all_at_the_sink(*reports)) == [("worker", 0, 8)]
    assert lost(all_at_the_sink(reports[0], reader(9, since=1))) == []


def test_receivers_of_the_same_alerts_are_told_apart() -> None:
    read = had(0, 5, topic=ALERTS, name="mail"), had(0, 4, (2, 2), topic=ALERTS, name="web")
    report = reader(9, *read, stage="deliver")
    waiting = dict.fromkeys(newest_readers([report]), 0)
    found = held([alerts(5), report], seen(ALERTS, 5), waiting=waiting)
    assert lost(found) == [("deliver web", 2, 2), ("deliver web", 4, 4)]
    assert "deliver web: city.alerts partition 0: 1 records never came" in found.problems[0]


def test_what_a_settled_writer_gave_up_is_no_loss_of_any_reader() -> None:
    given_up = {Stream("g", 1, AIR, 0): [(3, 4)]}
    assert lost(all_at_the_sink(reader(9, had(0, 9, (3, 4))), given_up=given_up)) == []
    assert lost(all_at_the_sink(reader(9, had(0, 9, (3, 4))))) == [("worker", 3, 4)]


def test_every_reader_s_records_add_up() -> None:
    report = reader(9, msgspec.structs.replace(had(0, 6, (3, 4)), records=4, corrupt=1))
    (sink, worker) = all_at_the_sink(gateway(9, 9, frames=9), report, waits=3).records
    assert (sink.stage, sink.counts, sink.lost) == ("sink", Counts(9, 9), 0)
    assert worker.counts == Counts(received=9, accepted=3, rejected=1, in_flight=3)
    assert worker.counts.imbalance == worker.lost == 2


# --- rows and ends


def test_rows_that_were_there_are_named_by_table_and_day() -> None:
    rows = [
        RowsOfDay("readings_air", date(2026, 5, 1), 10, 7),
        RowsOfDay("readings_air", date(2026, 5, 2), 10, 10),
        RowsOfDay("alerts", date(2026, 5, 2), 3, 4),
    ]
    found = held([], {}, {"air": SinkCounts(20, 20)}, rows=rows)
    assert found.problems == ["database: readings_air: 2026-05-01: 3 of 10 rows are missing"]
    assert found.kinds[0].rows == 17


def test_a_report_that_was_added_up_still_counts() -> None:
    totals = {("gateway", "air"): Counts(received=90, accepted=80, rejected=10)}
    found = held([gateway(10, 10)], seen(AIR, 1, 10), totals=totals)
    assert (found.kinds[0].gateway.received, found.kinds[0].gateway.accepted) == (100, 90)
    assert found.settled


def test_a_process_ended_an_hour_after_its_last_word_if_replaced_or_else_a_day() -> None:
    hour = 3_600_000
    old, new = gateway(1, 1, epoch=1), gateway(1, 1, epoch=hour)
    assert ended([old, new], hour) == []
    assert ended([old, new], hour + 3) == [old]
    assert ended([new], 24 * hour) == []
    assert ended([new], 25 * hour + 2) == [new]


def test_what_an_ended_writer_gave_up_is_no_loss_for_good_and_its_lost_end_is_one() -> None:
    report = alerts(9, void=[(2, 3)])
    changed = settled_sequences(report, seen(ALERTS, 7, missing=[(2, 4)]), {ALERTS})
    (now,) = changed.values()
    assert (now.missing, now.next) == ([(4, 4), (7, 8)], 9)
    assert settled_sequences(report, seen(ALERTS, 9), {ALERTS}) == {}
    assert settled_sequences(report, {}, {AIR}) == {}
