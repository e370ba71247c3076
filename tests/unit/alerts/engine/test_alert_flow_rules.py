"""The packaged rules that tell when readings stop on their way to results and rows."""

from __future__ import annotations

import pytest

from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule_file import load_rules
from civicstream.clock import REAL, Clock
from civicstream.events import Alert, Counts, LedgerReport
from tests.kit.alert_making import T0


class City:
    """Reports of a gateway, a worker and a sink, a second at a time; ``clock`` is the city's."""

    def __init__(self, clock: Clock = REAL) -> None:
        self.clock = clock
        self.alerts = AlertEngine(load_rules(None), Places(), clock)
        self.alerts.resume(clock.at(T0))
        self.second = 0
        self.accepted = {"gateway": 0, "sink": 0}
        self.computations = 0
        self.made: list[Alert] = []

    def run(
        self,
        seconds: int,
        *,
        reporting: tuple[str, ...] = ("gateway", "worker", "sink"),
        storing: bool = True,
        computing: bool = True,
        coming: bool = True,
        every_s: int = 1,
        lag: float = 10,
    ) -> dict[str, str]:
        """Return the newest state of each rule's alert after so many seconds."""
        for _ in range(seconds):
            self.second += 1
            now = coming and self.second % every_s == 0
            self.accepted["gateway"] += 100 * now
            self.accepted["sink"] += 100 * (now and storing)
            self.computations += computing and coming and self.second % every_s == 2 % every_s
            for stage in reporting:
                self._report(stage, lag if stage != "gateway" else 0)
            city_ms = self.clock.at(self.now)
            self.made += self.alerts.tick(city_ms, machine_ms=self.now)
        return {alert.rule: alert.state for alert in self.made if not alert.children}

    @property
    def now(self) -> int:
        return T0 + 1000 * self.second

    def _report(self, stage: str, lag: float) -> None:
        count = self.accepted.get(stage, 0)
        gauges = {"lag_records": lag}
        if stage == "worker":
            gauges["computations"] = float(self.computations)
        if stage == "gateway":
            gauges["frames"] = count / 100
        report = LedgerReport(
            stage,  # type: ignore[arg-type]
            f"{stage}-1",
            T0,
            self.now,
            {"noise": Counts(received=count, accepted=count)},
            gauges,
        )
        self.made += self.alerts.apply("ledger", report, self.clock.at(self.now))


def test_a_city_that_works_has_no_alert_and_a_quiet_one_neither() -> None:
    city = City()
    assert city.run(400) == {}
    assert city.run(300, coming=False) == {}


def test_a_sink_that_stores_nothing_is_an_alert_within_40_s_until_it_does() -> None:
    city = City()
    city.run(120)
    assert city.run(25, storing=False) == {}
    assert city.run(15, storing=False) == {"nothing-stored": "active"}
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


def test_readings_of_which_nothing_is_computed_are_an_alert_within_40_s() -> None:
    city = City()
    city.run(60)
    stopped = city.now
    assert city.run(30, computing=False) == {}
    assert city.run(10, computing=False) == {"no-fresh-results": "active"}
    assert city.made[0].computed_at <= stopped + 37_000
    assert city.run(5) == {"no-fresh-results": "cleared"}


@pytest.mark.parametrize("every_s", [2, 20, 29, 31, 45, 60, 75])
def test_a_city_that_reports_seldom_has_no_alert(every_s: int) -> None:
    assert City().run(900, every_s=every_s) == {}


def test_a_worker_that_starts_slowly_is_no_alert_and_one_that_never_begins_is() -> None:
    city = City()
    assert city.run(100, computing=False) == {}
    assert city.run(20) == {}
    stuck = City()
    assert stuck.run(119, computing=False) == {}
    assert stuck.run(30, computing=False) == {"no-fresh-results": "active"}


def test_a_worker_killed_and_back_within_seconds_is_no_alert() -> None:
    city = City()
    city.run(60)
    city.run(8, reporting=("gateway", "sink"), computing=False)
    city.computations = 0
    assert city.run(10, computing=False) == {}
    assert city.run(60) == {}


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_parts_are_missed_by_the_machines_time_whatever_the_citys_is(speed: float) -> None:
    """A simulated morning or a replay: the city's clock is hours behind, and may run faster."""
    clock = Clock(wall_ms=T0, city_ms=T0 - 10 * 3_600_000, speed=speed)
    city = City(clock)
    assert city.run(120) == {}
    stopped = city.now
    found = city.run(40, reporting=("gateway", "sink"), computing=False)
    assert found == {"part-silent": "active", "no-fresh-results": "active"}
    silent = next(a for a in city.made if a.rule == "part-silent")
    assert silent.started_at == clock.at(stopped)
    assert clock.at(stopped + 30_000) <= silent.computed_at <= clock.at(stopped + 32_000)
    assert set(city.run(5).values()) == {"cleared"}
