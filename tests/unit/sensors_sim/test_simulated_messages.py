"""The simulation's messages: on schedule, the same for a seed, faults marked for what they are."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from sensors_sim.faults import FaultRates, Faults
from sensors_sim.messages import FAULTS, MALFORMATIONS, WHOLE_PAYLOAD, Block, Messages, fault_code
from sensors_sim.pacing import Pace, start_of_events
from sensors_sim.payloads import encode_payloads
from sensors_sim.schedule import Schedule, interval_scale
from sensors_sim.simulation import Simulation, SimulationPlan

START = 1_795_248_000_000


@given(
    interval=st.floats(0.1, 400),
    batch=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 600_000), min_size=1, max_size=6),
    n=st.integers(1, 30),
)
def test_a_schedule_is_the_same_however_time_is_cut(
    interval: float, batch: int, cuts: list[int], n: int
) -> None:
    def schedule() -> Schedule:
        return Schedule(np.arange(n), interval, START, batch, np.random.default_rng(5))

    edges = [START, *(START + c for c in sorted(cuts))]
    pieces = [schedule().due(a, b) for a, b in pairwise(edges)]
    whole = schedule().due(edges[0], edges[-1])
    cut = sorted((t, s) for p in pieces for s, ts in zip(*p, strict=True) for t in ts.tolist())
    assert cut == sorted((t, s) for s, ts in zip(*whole, strict=True) for t in ts.tolist())
    assert len(set(cut)) == len(cut)
    per_sensor = (edges[-1] - START) / (interval * 1000 * batch)
    counts = Counter(whole[0].tolist())
    assert all(abs(counts[s] - per_sensor) <= 1.001 for s in range(n))
    assert all(START <= ts[-1] < edges[-1] for ts in whole[1])


def test_a_rate_scales_the_intervals_and_an_impossible_one_is_refused() -> None:
    intervals = np.array([20.0, 20.0, 60.0, 300.0])
    scale = interval_scale(intervals, rate=2.0, speed=1.0)
    assert np.sum(1 / (intervals * scale)) == pytest.approx(2.0)
    assert interval_scale(intervals, 2.0, 10.0) == pytest.approx(scale * 10)
    assert interval_scale(intervals, None, 10.0) == 1.0
    with pytest.raises(ConfigurationError, match="4 sensors would have to report every"):
        interval_scale(intervals, 100.0, 1.0)


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(200, 3)


def run(city: City, plan: SimulationPlan, blocks: int, start: int = START) -> list[Block]:
    return list(islice(Simulation(city, plan, start).blocks(), blocks))


def bytes_of(blocks: list[Block]) -> list[list[bytes]]:
    return [encode_payloads(g) for b in blocks for g in b.groups]


def test_the_same_seed_gives_the_same_messages_and_another_seed_others(city: City) -> None:
    faults = FaultRates(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, late_by_s=5)
    plan = SimulationPlan(seed=4, rate=50, faults=faults)
    once, again = run(city, plan, 12), run(city, plan, 12)
    assert bytes_of(once) == bytes_of(again)
    assert [b.order()[0].tolist() for b in once] == [b.order()[0].tolist() for b in again]
    other = SimulationPlan(seed=5, rate=50, faults=faults)
    assert bytes_of(run(city, other, 12)) != bytes_of(once)


def test_the_rate_is_held_over_every_stretch_and_all_kinds_report(city: City) -> None:
    blocks = run(city, SimulationPlan(rate=100), 24)
    sizes = [sum(len(g) for g in b.groups) for b in blocks]
    assert sum(sizes) == pytest.approx(100 * 5 * 24, abs=10)
    assert all(abs(size - 500) <= 10 for size in sizes)
    assert {g.kind.name for b in blocks for g in b.groups if len(g)} == set(KINDS)


def test_messages_of_a_block_are_due_within_it_and_published_in_order_of_time(city: City) -> None:
    plan = SimulationPlan(rate=50, faults=FaultRates(out_of_order=0.3, late=0.2, late_by_s=7))
    for number, block in enumerate(run(city, plan, 6)):
        due, group, message = block.order()
        assert np.all(np.diff(due) >= 0)
        assert START + number * 5000 <= due[0]
        assert due[-1] < block.end_ms == START + (number + 1) * 5000
        found = [block.groups[g].due[m] for g, m in zip(group, message, strict=True)]
        assert found == due.tolist()


def test_no_reading_is_lost_or_made_up_by_the_faults_that_only_move_it(city: City) -> None:
    moving = FaultRates(late=0.2, out_of_order=0.3, late_by_s=6)
    plain = run(city, SimulationPlan(rate=50), 30)
    simulation = Simulation(city, SimulationPlan(rate=50, faults=moving), START)
    moved = list(islice(simulation.blocks(), 30))

    def readings(blocks: list[Block]) -> Counter[tuple[str, int, int]]:
        return Counter(
            (g.kind.name, int(s), int(t))
            for b in blocks
            for g in b.groups
            for s, t in zip(g.sensor, g.ts[:, 0], strict=True)
        )

    missing = readings(plain) - readings(moved)
    assert readings(moved) - readings(plain) == Counter()
    assert missing.total() == simulation.withheld > 0


def test_each_fault_comes_at_its_rate_and_does_what_it_says(city: City) -> None:
    n = 20_000
    sensor = np.arange(n) % 200
    ts = START + np.arange(n, dtype=np.int64)[:, None] * 50
    clean = Messages.good(KINDS["noise"], sensor, ts, np.full((2, n, 1), 50.0))
    rates = FaultRates(0.02, 0.03, 0.04, 0.1, 0.05, 0.06, late_by_s=100)
    spoilt, dropped = Faults(rates, 200, np.random.default_rng(1)).apply(
        clean, np.random.default_rng(2)
    )
    count = Counter(FAULTS[f] for f in spoilt.fault.tolist())
    assert count.total() == n - dropped + count["duplicate"]
    healthy = n - dropped - count["clock_skew"]
    for name, rate in (("duplicate", 0.02), ("late", 0.03), ("out_of_order", 0.04)):
        assert count[name] == pytest.approx(healthy * rate, rel=0.2)
    assert count["malformed"] == pytest.approx(healthy * 0.06, rel=0.2)

    def of(name: str) -> np.ndarray:
        return spoilt.fault == fault_code(name)

    delay = spoilt.due - spoilt.ts[:, 0]
    assert np.all(delay[of("")] == 0)
    assert np.all((delay[of("late")] >= 100_000) & (delay[of("late")] <= 200_000))
    assert np.all((delay[of("out_of_order")] >= 200) & (delay[of("out_of_order")] <= 4_000))
    assert np.all(np.abs(delay[of("clock_skew")]) >= 60_000)
    keys = Counter(zip(spoilt.sensor.tolist(), spoilt.ts[:, 0].tolist(), strict=True))
    twice = spoilt.take(of("duplicate"))
    assert all(
        keys[key] == 2 for key in zip(twice.sensor.tolist(), twice.ts[:, 0].tolist(), strict=True)
    )


def test_outages_swallow_the_asked_share_in_stretches() -> None:
    faults = Faults(FaultRates(dropouts=0.2), 500, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    present = np.zeros((400, 500), np.bool_)
    for step in range(400):
        ts = np.full((500, 1), START + step * 1000, np.int64)
        m = Messages.good(KINDS["noise"], np.arange(500), ts, np.ones((2, 500, 1)))
        present[step, faults.apply(m, rng)[0].sensor] = True
    assert 1 - present.mean() == pytest.approx(0.2, abs=0.02)
    starts = np.count_nonzero(~present[1:] & present[:-1])
    assert np.count_nonzero(~present) / starts == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize("wrong", [{"late": 1.2}, {"late": -0.1}, {"late": 0.6, "malformed": 0.6}])
def test_impossible_fault_rates_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="--late"):
        FaultRates(**wrong)


def spoilt_messages(batch: int) -> Messages:
    """One malformed message of each sort and a good one."""
    n = len(MALFORMATIONS) + 1
    ts = START + np.arange(n * batch, dtype=np.int64).reshape(n, batch)
    measures = np.arange(4.0, 4 + 5 * n * batch).reshape(5, n, batch) / 8
    good = Messages.good(KINDS["traffic"], np.arange(n), ts, measures)
    good.fault[:-1] = fault_code("malformed")
    return Messages(
        kind=good.kind,
        sensor=good.sensor,
        ts=ts,
        measures=measures,
        due=good.due,
        fault=good.fault,
        malformation=np.arange(n).astype(np.int8),
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_malformed_payloads_are_malformed_in_the_way_they_are_marked(batch: int) -> None:
    messages = spoilt_messages(batch)
    payloads = encode_payloads(messages)
    for payload in payloads[:WHOLE_PAYLOAD]:
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            msgspec.json.decode(payload)
    first = {}
    for how, payload in zip(MALFORMATIONS[2:], payloads[2:], strict=False):
        decoded = msgspec.json.decode(payload)
        members = decoded if batch > 1 else [decoded]
        first[how] = members[0]
        assert all(isinstance(m["intensity"], float) for m in members[1:])
    assert first["out_of_range"]["intensity"] > 10_000
    assert isinstance(first["wrong_type"]["intensity"], str)
    assert set(first["no_measures"]) == {"ts"}
    assert isinstance(first["ts_without_offset"]["ts"], str)
    assert first["ts_in_seconds"]["ts"] < 10**10
    faults = messages.reading_faults()
    assert np.count_nonzero(faults) == batch * WHOLE_PAYLOAD + len(MALFORMATIONS) - WHOLE_PAYLOAD


@given(
    st.lists(
        st.one_of(st.floats(-1e12, 1e12), st.just(float("nan")), st.integers(0, 99).map(float)),
        min_size=3,
        max_size=60,
    ),
    st.integers(1, 4),
)
def test_a_payload_says_exactly_what_was_measured_and_omits_what_was_not(
    numbers: list[float], batch: int
) -> None:
    n = max(1, len(numbers) // (3 * batch))
    values = np.resize(np.array(numbers), (3, n, batch))
    ts = START + np.arange(n * batch, dtype=np.int64).reshape(n, batch)
    payloads = encode_payloads(Messages.good(KINDS["water"], np.arange(n), ts, values))
    for i, payload in enumerate(payloads):
        decoded = msgspec.json.decode(payload)
        for j, reading in enumerate(decoded if batch > 1 else [decoded]):
            expected = {"ts": int(ts[i, j])}
            for name, value in zip(KINDS["water"].measure_names, values[:, i, j], strict=True):
                expected |= {} if np.isnan(value) else {name: value}
            assert reading == expected


def test_event_time_runs_faster_but_never_ahead_of_the_clock() -> None:
    pace = Pace(wall_ms=1_000_000, event_ms=900_000, speed=10)
    due = np.array([900_000, 950_000, 1_010_000, 1_012_000, 1_020_000])
    assert pace.release(due).tolist() == [1_000_000, 1_005_000, 1_011_000, 1_012_000, 1_020_000]
    everything_at_once = Pace(1_000_000, 0, float("inf")).release(np.array([0, 5, 999]))
    assert everything_at_once.tolist() == [1_000_000] * 3


@pytest.mark.parametrize(
    ("speed", "duration", "start"),
    [(1, None, 0), (1, 60, 0), (10, 60, -540_000), (2, None, -86_400_000)],
)
def test_a_run_faster_than_real_time_ends_at_the_present(
    speed: float, duration: float | None, start: int
) -> None:
    assert start_of_events(START, speed, duration) == START + start
