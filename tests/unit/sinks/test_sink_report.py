"""The sink's ledger page: what it has written of each sort, beside the balance of readings."""

from __future__ import annotations

from civicstream.events import Counts
from civicstream.kafka.log_gaps import LogGap
from sinks.reporting import SinkLedger
from sinks.written import Written


def test_rows_of_events_are_gauges_and_leave_the_balance_alone() -> None:
    ledger = SinkLedger("sink-1", 5)
    ledger.add(
        Written(
            kinds={"air": Counts(received=10, accepted=9, duplicate=1)},
            result_rows=3,
            events={"incidents": 2, "forecasts": 40, "citizen_reports": 8},
        )
    )
    ledger.add(Written(events={"incidents": 1, "sensor_health": 5, "anomalies": 7}))
    place = ("city.frames.air", 1, "an id")
    ledger.add_gaps([LogGap(*place, "deleted", 10, 25, 25)])
    ledger.add_gaps([LogGap(*place, "topic_recreated", 30, None, 0)])
    report = ledger.report(9, pending={"air": 4}, lag=6)
    assert {name: n for name, n in report.gauges.items() if n} == {
        "rows_written": 9,
        "results_written": 3,
        "incidents_written": 3,
        "forecasts_written": 40,
        "health_written": 5,
        "anomalies_written": 7,
        "reports_written": 8,
        "lag_records": 6,
        "transactions": 2,
        "kafka_gaps": 2,
        "kafka_gap_records": 15,
    }
    assert report.kinds == {"air": Counts(received=14, accepted=9, duplicate=1, in_flight=4)}
    assert report.kinds["air"].imbalance == 0


def test_before_anything_is_written_every_gauge_is_there_and_zero() -> None:
    gauges = SinkLedger("sink-1", 5).report(9, pending={}, lag=0).gauges
    assert set(gauges) > {"incidents_written", "forecasts_written", "health_written"}
    assert set(gauges.values()) == {0}
