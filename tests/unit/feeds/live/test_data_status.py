"""The state of the data's way, from facts: live only while everything is computed and stored."""

from __future__ import annotations

import pytest

from civicstream.events import Counts, LedgerReport
from feeds.live.data_status import DataStatus, StatusWatch

T0 = 1_800_000_000_000
SECOND = 1_000
RESULTS = ("city.results.traffic", 0)
FRAMES = ("city.frames.noise", 1)


class City:
    """A stack whose parts do every second what they should, except for those named."""

    def __init__(self) -> None:
        self.watch = StatusWatch(T0, 32_000)
        self.now = T0
        self.read = self.written = 0
        self.readings = 0
        self.lag = 0.0

    def run(self, seconds: int, *, without: str = "", sensors: bool = True) -> DataStatus:
        for _ in range(seconds):
            self.now += SECOND
            self.readings += 100 * sensors
            for stage in ("gateway", "worker", "sink"):
                if stage != without:
                    self._report(stage)
            if without not in {"worker", "results"}:
                self.read += 1
                self.watch.read(RESULTS, self.read, self.now, result=True)
            if without not in {"sink", "deaf sink", "slow sink"}:
                self.written = self.read
            if without == "slow sink":
                self.written += 1 if self.now % (3 * SECOND) == 0 else 0
            if without != "database":
                self.watch.stored({RESULTS: self.written + 1, FRAMES: 50}, self.now)
            self.state = self.watch.judge(self.now)
        return self.state

    def _report(self, stage: str) -> None:
        gauges = {"lag_records": self.lag if stage == "worker" else 0.0}
        counts = {"noise": Counts(self.readings, self.readings)}
        report = LedgerReport(stage, "a", T0, self.now, counts, gauges)  # type: ignore[arg-type]
        self.watch.report(report, self.now)


@pytest.fixture
def city() -> City:
    found = City()
    assert found.watch.judge(T0).state == "starting"
    assert found.run(100).state == "live"
    assert found.state.since == T0 + SECOND
    return found


@pytest.mark.parametrize(
    ("without", "state", "words"),
    [
        ("sink", "sink not writing", "The sink does not report"),
        ("deaf sink", "sink not writing", "records wait (city.results.traffic)"),
        ("worker", "no results", "The worker does not report"),
        ("gateway", "no readings", "No gateway reports"),
        ("database", "database not answering", "The database does not answer"),
    ],
)
def test_what_stops_is_named_after_30_s_and_since_when_and_forgotten_when_it_is_back(
    city: City, without: str, state: str, words: str
) -> None:
    stopped = city.now
    assert city.run(30, without=without).state == "live"
    found = city.run(5, without=without)
    assert (found.state, found.since) == (state, stopped)
    assert words in found.detail
    later = city.run(60, without=without)
    assert (later.state, later.since) == (state, stopped)
    back = city.run(32)
    assert (back.state, back.since > stopped + 90 * SECOND) == ("live", True)


def test_a_silent_kafka_is_said_alone_because_of_the_stages_nothing_is_known(city: City) -> None:
    stopped, city.now = city.now, city.now + 31 * SECOND
    found = city.watch.judge(city.now)
    assert (found.state, found.since) == ("Kafka not answering", stopped)
    assert "sink" not in found.detail


def test_readings_without_results_are_said_but_no_readings_need_none(city: City) -> None:
    assert city.run(300, without="results", sensors=False).state == "live"
    assert city.run(30, without="results").state == "live"
    found = city.run(5, without="results")
    assert (found.state, found.detail) == (
        "no results",
        "Readings come in, but no results of them.",
    )
    assert city.run(1).state == "live"


def test_a_sink_that_falls_behind_is_delayed_not_deaf(city: City) -> None:
    found = city.run(60, without="slow sink")
    assert found.state == "delayed"
    assert "The database is behind" in found.detail
    assert found.figures["unstored_records"] >= 10


def test_frames_older_than_30_s_that_are_not_stored_are_seen_without_the_sinks_word(
    city: City,
) -> None:
    city.watch.due({FRAMES: 50, ("city.frames.air", 0): 7})  # of air the sink has stored nothing
    found = city.run(1)
    assert (found.state, found.figures["unstored_records"]) == ("delayed", 7)
    assert "7 records wait (city.frames.air)" in found.detail


def test_a_worker_is_behind_when_its_lag_grows_not_when_it_flickers(city: City) -> None:
    for second in range(60):
        city.lag = 40.0 if second % 7 else 0.0
        assert city.run(1).state == "live"
    for second in range(31):
        city.lag = 100.0 * second
        city.run(1)
    assert city.state.state == "delayed"
    assert "The worker falls behind" in city.state.detail
    city.lag = 0.0
    assert city.run(1).state == "live"


def test_a_stage_that_never_reported_is_missed_too() -> None:
    watch = StatusWatch(T0, 32_000)
    watch.read(RESULTS, 1, T0 + 29 * SECOND, result=True)
    watch.stored({}, T0 + 29 * SECOND)
    assert watch.judge(T0 + 30 * SECOND).state == "starting"
    found = watch.judge(T0 + 31 * SECOND)
    assert (found.state, found.since) == ("sink not writing", T0)
    for part in ("sink", "worker", "gateway"):
        assert part in found.detail
