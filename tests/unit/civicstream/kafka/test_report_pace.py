"""Reports come by change, and now and then without one."""

from __future__ import annotations

import pytest

from civicstream.events import Counts, LedgerReport
from civicstream.kafka import ledger_report
from civicstream.kafka.ledger_report import ReportPace


def test_a_changed_report_is_due_after_a_second_and_an_unchanged_one_after_three(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = 0.0
    monkeypatch.setattr(ledger_report.time, "monotonic", lambda: at)
    pace, due = ReportPace(), []
    counts = Counts(1, 1)
    report = LedgerReport("sink", "s", 1, 2, {"air": counts})
    for tick in range(1, 101):
        at = tick / 10
        if tick == 50:
            counts.received = counts.accepted = 2  # the process counts on in the same object
        if pace.due(report):
            due.append(at)
    assert due == [0.1, 3.0, 5.0, 7.9]
