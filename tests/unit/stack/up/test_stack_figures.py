"""Rates and totals from ledger reports, and the lines made of them."""

from __future__ import annotations

import pytest

from civicstream.events import Counts, LedgerReport
from stack.servers.processes import Child
from stack.up.figures import LedgerHistory
from stack.up.status import LINE_WIDTH, status_line
from stack.up.supervisor import Part, PartState, Supervised

START = 1_000_000


def _report(
    at: int, received: int, *, stage: str = "gateway", epoch: int = START, **gauges: float
) -> LedgerReport:
    kinds = {"air": Counts(received=received, accepted=received)}
    return LedgerReport(stage, "a", epoch, at, kinds, gauges)  # type: ignore[arg-type]


def _history(*reports: LedgerReport) -> LedgerHistory:
    history = LedgerHistory(START)
    for report in reports:
        history.add(report)
    return history


def test_the_rate_is_the_growth_over_the_last_five_seconds() -> None:
    # 1,000 in the first second, then 100 a second: the burst is out of sight after five seconds
    reports = [_report(START + 1000 * s, 1000 + 100 * s) for s in range(1, 9)]
    figures = _history(_report(START, 0), *reports).figures("gateway", START + 8000)
    assert figures.rate == pytest.approx(100)
    assert figures.received == 1800


def test_a_restarted_process_adds_to_the_total_and_its_rate_starts_anew() -> None:
    history = _history(
        _report(START + 1000, 100, lag_records=7, windows_closed=3, stage="worker"),
        _report(START + 2000, 200, lag_records=7, windows_closed=4, stage="worker"),
        _report(START + 9000, 0, epoch=START + 8500, lag_records=1, stage="worker"),
        _report(
            START + 10_000, 50, epoch=START + 8500, lag_records=2, windows_closed=2, stage="worker"
        ),
    )
    figures = history.figures("worker", START + 10_000)
    assert figures.received == 250
    assert figures.rate == pytest.approx(50)
    assert figures.gauges == {"lag_records": 2, "windows_closed": 6}


def test_a_silent_process_has_no_rate() -> None:
    history = _history(_report(START, 0), _report(START + 1000, 100))
    assert history.figures("gateway", START + 2000).rate == 100
    assert history.figures("gateway", START + 7000).rate == 0


def test_reports_of_earlier_runs_do_not_count() -> None:
    history = _history(_report(START + 1000, 100, epoch=START - 1))
    assert history.figures("gateway", START + 1000).received == 0
    assert not history.ready("gateway", START)


def test_a_process_is_ready_with_its_own_report_not_with_its_predecessors() -> None:
    history = _history(_report(START + 1000, 0))
    assert history.ready("gateway", START)
    assert not history.ready("gateway", START + 500)
    assert not history.ready("worker", START)


def test_a_stage_is_idle_when_a_later_report_shows_no_lag() -> None:
    history = _history(_report(START + 1000, 9, lag_records=0, stage="sink"))
    assert history.idle("sink", START + 999)
    assert not history.idle("sink", START + 1000)
    history.add(_report(START + 2000, 9, lag_records=1, stage="sink"))
    assert not history.idle("sink", START + 1000)
    assert not history.idle("worker", START)


def test_a_gateway_is_idle_when_it_has_acknowledged_everything() -> None:
    history = _history(_report(START + 1000, 9, in_flight_messages=1))
    assert not history.idle("gateway", START)
    history.add(_report(START + 2000, 9, in_flight_messages=0))
    assert history.idle("gateway", START)


def _parts(states: dict[str, PartState]) -> dict[str, Supervised]:
    def launch() -> Child:
        raise AssertionError

    return {name: Supervised(Part(name, launch), state) for name, state in states.items()}


def test_the_line_names_rates_what_was_found_and_what_is_not_ready() -> None:
    parts = _parts(
        {"kafka": PartState.READY, "sink": PartState.READY, "worker": PartState.STARTING}
    )
    history = _history(
        _report(START, 0),
        _report(START + 1000, 1500, in_flight_messages=3, dead_letters=2),
        _report(START, 0, stage="sink", rows_written=0),
        _report(START + 1000, 0, stage="sink", rows_written=12_600, lag_records=4),
        _report(START + 1000, 0, stage="alerts", alerts_active=1),
    )
    assert status_line(parts, history, START + 1000) == (
        "starting: worker | 1,500 readings/s in | 13k rows/s, lag 4 | 1 alert | 2 dead letters"
    )


def test_the_line_never_gets_longer_than_a_terminal_is_wide() -> None:
    parts = _parts({f"part-{n}": PartState.WAITING for n in range(20)})
    history = _history(
        *(_report(START, 0, stage=stage, lag_records=0) for stage in ("gateway", "worker", "sink")),
        *(
            _report(
                START + 1000,
                9_999_999,
                stage=stage,
                rows_written=9_999_999,
                lag_records=9_999_999,
                open_incidents=888,
                dead_letters=77_777,
            )
            for stage in ("gateway", "worker", "sink")
        ),
    )
    line = status_line(parts, history, START + 1000)
    assert line.startswith("waiting: part-0, part-1, part-2 and 17 more | 10.0M readings/s in")
    assert len(line) <= LINE_WIDTH
