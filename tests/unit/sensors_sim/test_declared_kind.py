"""A kind that is declared, and nothing else, is simulated, breaks and is judged."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.kinds import KINDS, Kind
from civicstream.measures import Contradiction, Expected, Measure
from sensors_sim.channels import CHANNELS, TRAITS, measure_channel
from sensors_sim.city_plan import sensors_per_kind
from sensors_sim.sensor_faults import _can, _contradict, _drift_per_hour
from streams.health.contradictions import what_contradicts
from streams.health.expectations import expected_measures, needed_measures

DAY_MS = 86_400_000
START_MS = 1_795_219_200_000
PUMP = Kind(
    "pump",
    "Pumping station",
    (
        Measure("inflow", "m³/h", 0, 1_000, usual=(20.0, 60.0)),
        Measure("outflow", "m³/h", 0, 1_000, expected=Expected(noise="relative")),
        Measure("starts", "starts", 0, 100, integer=True, expected=None),
    ),
    share=0.05,
    contradictions=(Contradiction("more outflow than a pump gives", "outflow", "inflow", 3.0),),
)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "pump", PUMP)


def test_its_days_lie_within_what_is_usual_and_differ_by_sensor_and_hour() -> None:
    assert "pump" not in CHANNELS
    rng = np.random.default_rng(1)
    ts = np.tile(np.arange(START_MS, START_MS + DAY_MS, 300_000), 2)
    traits = np.repeat(rng.random((TRAITS, 2)), len(ts) // 2, axis=1)
    inflow, outflow, starts = measure_channel("pump", traits, ts, rng)
    assert np.all((inflow >= 20) & (inflow <= 60))
    assert np.ptp(inflow[: len(ts) // 2]) > 10
    first, second = np.split(inflow, 2)
    assert abs(first.mean() - second.mean()) > 0.5
    assert np.all((outflow >= 400) & (outflow <= 600)), "the middle of the range, undeclared"
    assert np.all(starts == np.round(starts))


def test_it_has_its_share_of_the_sensors_and_takes_it_from_traffic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as without:
        without.delitem(KINDS, "pump")
        before = sensors_per_kind(1000)
    counts = sensors_per_kind(1000)
    assert (counts["pump"], counts["air"]) == (50, 30)
    assert counts["traffic"] == before["traffic"] - 50
    assert sum(counts.values()) == 1000


def test_shares_that_leave_nothing_for_traffic_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "pump", Kind("pump", "", PUMP.measures, share=0.9))
    with pytest.raises(Exception, match="leave none for traffic"):
        sensors_per_kind(1000)


def test_it_can_break_in_every_way() -> None:
    assert _drift_per_hour(PUMP) == ("inflow", pytest.approx(4.0))
    assert all(_can("pump", fault) for fault in ("stuck", "impossible", "drifting", "biased"))
    broken = _contradict(PUMP, np.array([[30.0], [40.0], [2.0]]), np.array([START_MS]))
    assert broken[1, 0] > 3.0 * broken[0, 0]


def test_its_health_is_judged_by_what_it_declares() -> None:
    inflow, outflow = expected_measures("pump")
    assert (inflow.name, inflow.still_s, inflow.trivial) == ("inflow", 86_400.0, (0.0,))
    assert (outflow.name, outflow.noise) == ("outflow", "relative")
    assert needed_measures("pump") == ("inflow", "outflow")
    assert what_contradicts("pump", 0) == "more outflow than a pump gives"
