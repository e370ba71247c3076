"""The balance tells a loss from what is still on its way."""

from __future__ import annotations

from civicstream.events import Counts, LedgerReport
from sinks.balance import SeenFrames, SinkCounts, balance


def gateway(
    received: int, accepted: int, *, epoch: int = 1, in_flight: int = 0, rejected: int = 0
) -> LedgerReport:
    counts = Counts(received=received, accepted=accepted, rejected=rejected, in_flight=in_flight)
    return LedgerReport("gateway", "g", epoch, at=epoch + 1, kinds={"air": counts})


def seen(readings: int, *, epoch: int = 1, gaps: int = 0) -> SeenFrames:
    return SeenFrames("g", epoch, "air", readings, gaps, repeats=0)


def test_nothing_is_wrong_when_every_accepted_reading_is_a_row_or_a_duplicate() -> None:
    found = balance(
        [gateway(12, 10, rejected=2)],
        [seen(10)],
        {"air": SinkCounts(received=10, accepted=9, duplicate=1)},
        waiting_records=0,
    )
    assert found.problems == []
    assert found.settled


def test_a_reading_on_kafka_is_in_flight_and_no_problem() -> None:
    found = balance([gateway(10, 10)], [seen(7)], {"air": SinkCounts(7, 7)}, waiting_records=1)
    assert (found.in_flight, found.problems, found.settled) == (3, [], False)


def test_a_reading_that_is_neither_on_kafka_nor_in_the_database_is_a_problem() -> None:
    found = balance([gateway(10, 10)], [seen(7)], {"air": SinkCounts(7, 7)}, waiting_records=0)
    assert len(found.problems) == 1
    assert "3 readings confirmed on Kafka are not in the database" in found.problems[0]


def test_reports_and_units_which_travel_in_no_frames_are_no_missing_readings() -> None:
    counts = {"report": Counts(3, accepted=2, rejected=1), "unit": Counts(5, accepted=5)}
    report = LedgerReport("gateway", "g", 1, at=2, kinds=counts)
    found = balance([report], [], {}, waiting_records=0)
    assert (found.problems, found.in_flight) == ([], 0)
    wrong = LedgerReport("gateway", "g", 1, at=2, kinds={"report": Counts(3, accepted=2)})
    assert balance([wrong], [], {}, waiting_records=0).problems == [
        "gateway g: report: +1 readings unaccounted for"
    ]


def test_a_gap_is_a_problem() -> None:
    found = balance(
        [gateway(10, 10)], [seen(10, gaps=2)], {"air": SinkCounts(10, 10)}, waiting_records=0
    )
    assert found.problems == ["air: 2 frames never came to the sink"]


def test_what_a_killed_gateway_had_in_flight_is_its_next_starts_business() -> None:
    reports = [gateway(12, 10, epoch=1, in_flight=2), gateway(5, 5, epoch=2)]
    found = balance(
        reports,
        [seen(11, epoch=1), seen(5, epoch=2)],
        {"air": SinkCounts(16, 16)},
        waiting_records=0,
    )
    assert found.settled
    assert found.problems == []
    assert found.kinds[0].gateway.in_flight == 0


def test_counts_that_do_not_add_up_are_a_problem_of_their_stage() -> None:
    found = balance([gateway(11, 10)], [seen(10)], {"air": SinkCounts(10, 9)}, waiting_records=0)
    assert found.problems == [
        "gateway g: air: +1 readings unaccounted for",
        "air: +1 readings unaccounted for in the sink",
    ]


def test_more_rows_than_were_inserted_are_a_problem() -> None:
    found = balance([], [], {"air": SinkCounts(5, 5)}, waiting_records=0, rows={"air": 6})
    assert found.problems == ["air: 6 rows, but only 5 were ever inserted"]
