"""The published algorithms by their decision trees, the neighbours, and what is usual."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime

import numpy as np
import pytest

from civicstream.local_time import local_offset
from streams.incidents import queue_discharge
from streams.incidents.california import California8
from streams.incidents.deviate import StandardNormalDeviate
from streams.incidents.neighbours import neighbouring_detectors
from streams.incidents.usual import BIN_MS, UsualTraffic
from streams.incidents.view import Verdict, View
from tests.kit.incident_road import MINUTE, NOON, straight_road

DAY_MS = 86_400_000
NETWORK = straight_road(2)
PAIRS = neighbouring_detectors(NETWORK, np.ones(2, np.bool_))


def judged(algorithm: California8 | StandardNormalDeviate, up: float, down: float) -> Verdict:
    """Return the verdict on one pair with these occupancies [percent]."""
    occupancy = np.array([up, down]) / 100
    known = np.full(2, np.nan)
    if not len(algorithm.pair_state):
        algorithm.pair_state = np.zeros((1, 1), np.float32)
    return algorithm.judge(
        View(
            NETWORK,
            NOON,
            NOON + MINUTE,
            1.0,
            ~np.isnan(occupancy),
            flow=known,
            speed=known,
            occupancy=occupancy,
            usual_speed=known,
            usual_flow=known,
            pairs=PAIRS,
        )
    )


def states(occupancies: list[tuple[float, float]]) -> list[int]:
    algorithm = California8(2)
    found = []
    for up, down in occupancies:
        judged(algorithm, up, down)
        found.append(int(algorithm.pair_state[0, 0]))
    return found


def test_california_8_confirms_what_persists_for_a_second_minute() -> None:
    quiet, blocked = (12.0, 11.0), (40.0, 6.0)
    assert states([quiet] * 3 + [blocked] * 3 + [quiet]) == [0, 0, 0, 6, 7, 8, 0]
    assert states([quiet] * 3 + [blocked] + [quiet] * 2) == [0, 0, 0, 6, 0, 0]


def test_california_8_waits_five_minutes_after_a_compression_wave() -> None:
    wave = [(15.0, 20.0), (15.0, 20.0), (20.0, 40.0)]
    after = [(40.0, 18.0), (40.0, 15.0), (40.0, 10.0), (40.0, 6.0), (40.0, 3.0), (40.0, 2.0)]
    assert states(wave + after) == [0, 0, 1, 2, 3, 4, 5, 0, 6]


def test_california_8_needs_the_occupancy_downstream_to_fall() -> None:
    assert states([(40.0, 10.0)] * 6) == [0] * 6


def test_california_8_keeps_its_state_while_a_detector_is_silent() -> None:
    blocked, silent = (40.0, 6.0), (40.0, float("nan"))
    assert states([(12.0, 11.0)] * 3 + [blocked, silent, silent]) == [0, 0, 0, 6, 6, 6]


def test_a_deviate_alarms_in_the_second_minute_above_the_critical_value() -> None:
    algorithm = StandardNormalDeviate(2)
    for up in (10.0, 11.0, 10.5, 9.5, 10.0):
        assert not judged(algorithm, up, 10.0).judged.any()
    assert not judged(algorithm, 12.0, 10.0).suspected[0]
    first = judged(algorithm, 30.0, 10.0)
    assert first.suspected[0]
    assert not first.confirmed[0]
    assert judged(algorithm, 30.0, 10.0).confirmed[0]
    assert judged(algorithm, 30.0, 10.0).confirmed[0]
    assert not judged(algorithm, 11.0, 10.0).suspected[0]


def test_neighbours_are_the_next_segments_that_report() -> None:
    network = straight_road(10)
    reporting = np.ones(10, np.bool_)
    reporting[[2, 3, 7]] = False
    pairs = neighbouring_detectors(network, reporting)
    found = list(zip(pairs.upstream.tolist(), pairs.downstream.tolist(), strict=True))
    assert found == [(0, 1), (1, 4), (4, 5), (5, 6), (6, 8), (8, 9)]
    assert pairs.distance_m.tolist() == [500, 1500, 500, 500, 1000, 500]
    assert pairs.next_pair.tolist() == [1, 2, 3, 4, 5, -1]
    assert pairs.previous_pair.tolist() == [-1, 0, 1, 2, 3, 4]
    assert pairs.reach([8], upstream=True, limit=3) == [8, 6, 5, 4]
    assert pairs.reach([1], upstream=False, limit=9, through=reporting) == [1, 4, 5, 6, 8, 9]


def test_no_pair_reaches_over_more_than_four_silent_segments() -> None:
    network = straight_road(12)
    for silent, pairs in ((4, 7), (5, 5)):
        reporting = np.ones(12, np.bool_)
        reporting[3 : 3 + silent] = False
        assert len(neighbouring_detectors(network, reporting)) == pairs


def ms(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def learned(days: int, speed: float = 80.0) -> UsualTraffic:
    usual = UsualTraffic(len(NETWORK))
    monday = NOON - 4 * DAY_MS
    for day in range(days):
        for minute in range(31):
            usual.learn(
                monday + day * DAY_MS + minute * MINUTE,
                np.full(2, speed + 10 * day),
                np.full(2, 3_000.0),
                np.array([True, minute < 3]),
            )
    return usual


def test_usual_is_the_mean_over_days_once_three_were_seen() -> None:
    assert np.isnan(learned(2).at(NOON)[0]).all()
    speed, flow = learned(3).at(NOON)
    assert speed[0] == pytest.approx(90.0)
    assert flow[0] == pytest.approx(3_000.0)
    assert np.isnan(speed[1])  # three minutes make no half hour


def test_weekends_and_other_hours_are_usual_by_themselves() -> None:
    usual = learned(3)
    assert np.isnan(usual.at(NOON + DAY_MS)[0]).all()
    assert np.isnan(usual.at(NOON + BIN_MS * 2)[0]).all()


def test_what_is_usual_at_eight_stays_at_eight_when_clocks_change() -> None:
    usual = UsualTraffic(len(NETWORK), local_offset("Europe/Berlin"))
    for day in (19, 20, 21, 22, 23):  # the clocks went back on Sunday 25 October 2026
        eight = ms(2026, 10, day, 6)
        for minute in range(30):
            at = eight + minute * MINUTE
            usual.learn(at, np.full(2, 30.0), np.full(2, 900.0), np.ones(2, np.bool_))
    usual.learn(ms(2026, 10, 23, 7), np.full(2, 80.0), np.full(2, 900.0), np.ones(2, np.bool_))
    assert usual.at(ms(2026, 10, 26, 7))[0] == pytest.approx([30.0, 30.0])
    assert np.isnan(usual.at(ms(2026, 10, 26, 6))[0]).all()


def test_usual_traffic_is_dumped_by_half_hours_that_changed_and_comes_back() -> None:
    usual = learned(3)
    dumped = usual.dump()
    assert list(dumped) == ["0/24"]
    assert [len(content) for content in dumped.values()] == [2 * 5]
    assert usual.dump() == {}
    other = UsualTraffic(len(NETWORK))
    other.restore(dumped)
    assert np.array_equal(other.at(NOON), usual.at(NOON), equal_nan=True)
    with pytest.raises(ValueError, match="3 segments need 15"):
        UsualTraffic(len(straight_road(3))).restore(dumped)


def test_the_worked_example_of_queue_discharge_comes_out_as_written() -> None:
    done = doctest.testmod(queue_discharge)
    assert done.attempted > 10
    assert not done.failed
