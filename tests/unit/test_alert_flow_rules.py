"""The packaged rules that tell when readings stop on their way to results and rows."""

from __future__ import annotations

from civicstream.events import Alert, Counts, LedgerReport
from streams.alerts.engine import AlertEngine
from streams.alerts.places import Places
from streams.alerts.rule_file import load_rules
from tests.unit.alert_making import T0


class City:
    """Reports of a gateway, a worker and a sink, a second at a time."""

    def __init__(self) -> None:
        self.alerts = AlertEngine(load_rules(None), Places())
        self.alerts.resume(T0)
        self.second = 0
        self.accepted = {"gateway": 0, "sink": 0}
        self.closed = 5
        self.made: list[Alert] = []

    def run(
        self,
        seconds: int,
        *,
        reporting: tuple[str, ...] = ("gateway", "worker", "sink"),
        storing: bool = True,
        closing: bool = True,
        coming: bool = True,
        lag: float = 10,
    ) -> dict[str, str]:
        """Return the newest state of each rule's alert after so many seconds."""
        for _ in range(seconds):
            self.second += 1
            self.accepted["gateway"] += 100 * coming
            self.accepted["sink"] += 100 * (coming and storing)
            self.closed += closing and coming and self.second % 60 == 0
            for stage in reporting:
                self._report(stage, lag if stage != "gateway" else 0)
            self.made += self.alerts.tick(self.now)
        return {alert.rule: alert.state for alert in self.made if not alert.children}

    @property
    def now(self) -> int:
        return T0 + 1000 * self.second

    def _report(self, stage: str, lag: float) -> None:
        count = self.accepted.get(stage, 0)
        gauges = {"lag_records": lag}
        if stage == "worker":
            gauges["windows_closed"] = float(self.closed)
        report = LedgerReport(
            stage,  # type: ignore[arg-type]
            f"{stage}-1",
            T0,
            self.now,
            {"noise": Counts(received=count, accepted=count)},
            gauges,
        )
        self.made += self.alerts.apply("ledger", report, self.now)


def test_a_city_that_works_has_no_alert_and_a_quiet_one_neither() -> None:
    city = City()
    assert city.run(400) == {}
    assert city.run(300, coming=False) == {}


def test_a_sink_that_stores_nothing_is_an_alert_within_a_minute_until_it_does() -> None:
    city = City()
    city.run(120)
    assert city.run(25, storing=False) == {}
    assert city.run(30, storing=False) == {"nothing-stored": "active"}
    (raised,) = city.made
    assert (raised.severity, raised.subject) == ("severe", "city")
    assert city.run(5) == {"nothing-stored": "cleared"}


def test_a_sink_that_is_gone_is_an_alert_until_it_reports_again() -> None:
    city = City()
    city.run(120)
    found = city.run(60, reporting=("gateway", "worker"), storing=False)
    assert found == {"part-silent": "active", "nothing-stored": "active"}
    silent = next(a for a in city.made if a.rule == "part-silent")
    assert silent.headline.startswith("sink sink-1 has not reported for half a minute")
    assert set(city.run(5).values()) == {"cleared"}


def test_a_backlog_of_half_a_minute_is_an_alert_until_it_is_worked_off() -> None:
    city = City()
    city.run(60)
    assert city.run(20, lag=5_000) == {}
    assert city.run(15, lag=5_000) == {"part-behind": "active"}
    assert city.run(5, lag=500) == {"part-behind": "active"}
    assert city.run(5, lag=50) == {"part-behind": "cleared"}


def test_readings_without_a_window_for_half_a_minute_too_long_are_an_alert() -> None:
    city = City()
    city.run(180)
    assert city.run(90, closing=False) == {}
    assert city.run(60, closing=False) == {"no-fresh-results": "active"}
    assert city.run(70) == {"no-fresh-results": "cleared"}
