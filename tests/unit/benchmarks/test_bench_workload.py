"""The prepared input: every reading in exactly one frame, in order of arrival, repeats counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.workload import START_MS, Load, frames, rounds, traffic_city
from civicstream.frames import decode, encode
from civicstream.partitioning import partition_of

CITY = traffic_city(500)


def pairs(key: np.ndarray, ts: np.ndarray) -> Counter[tuple[int, int]]:
    return Counter(zip(key.tolist(), ts.tolist(), strict=True))


@pytest.mark.parametrize("sensors", [1, 6, 7, 240, 241, 5_000])
def test_a_city_has_the_sensors_asked_for_on_segments_in_their_own_area(sensors: int) -> None:
    city = traffic_city(sensors)
    assert len(city.sensors) == sensors
    of_segment = [city.area_index[s.area] for s in city.segments]
    assert [of_segment[s] for s in city.sensors.segment.tolist()] == city.sensors.area.tolist()


@settings(max_examples=25)
@given(
    readings=st.integers(1, 4_000),
    frame_size=st.integers(1, 700),
    partitions=st.integers(1, 9),
    duplicates=st.floats(0, 0.5),
    interval_s=st.sampled_from([1.0, 5.0, 20.0, 60.0]),
)
def test_frames_hold_every_reading_once_in_its_areas_partition(
    readings: int, frame_size: int, partitions: int, duplicates: float, interval_s: float
) -> None:
    load = Load(CITY, interval_s=interval_s, duplicates=duplicates, seed=readings)
    batches = list(rounds(load, readings))
    sent: Counter[tuple[int, int]] = Counter()
    for batch in batches:
        sent += pairs(CITY.sensor_keys[batch.sensor], batch.ts)
    framed: Counter[tuple[int, int]] = Counter()
    for partition, frame in frames(
        load, iter(batches), partitions=partitions, frame_size=frame_size
    ):
        assert 0 < len(frame) <= frame_size
        assert {partition_of(a, partitions) for a in frame.area.values} == {partition}
        framed += pairs(frame.sensor_key, frame.ts)
    assert framed == sent
    assert sent.total() >= readings
    assert sent.total() - len(sent) == sum(batch.repeats for batch in batches)


def test_readings_of_a_partition_are_at_most_five_seconds_out_of_order() -> None:
    newest: dict[int, int] = {}
    for p, frame in frames(Load(CITY), rounds(Load(CITY), 20_000), partitions=4, frame_size=100):
        reached = np.maximum.accumulate(np.append(newest.get(p, 0), frame.ts))[1:]
        assert (reached - frame.ts < 5_000).all()
        newest[p] = int(reached[-1])
    assert len(newest) > 1


def test_a_frame_survives_the_codec_and_its_measures_are_possible() -> None:
    _, frame = next(frames(Load(CITY), rounds(Load(CITY), 1), partitions=1, frame_size=300))
    again = decode(encode(frame), "traffic")
    for measure in frame.kind.measures:
        values = again.measures[measure.name]
        assert ((values >= measure.minimum) & (values <= measure.maximum)).all()
    names = [again.sensor.values[code] for code in again.sensor.codes.tolist()]
    index = CITY.find_sensors(again.sensor_key)
    assert names == [CITY.sensors.ids[i] for i in index.tolist()]


def test_the_same_load_is_the_same_readings() -> None:
    one, other = Load(CITY, seed=3).round(5), Load(CITY, seed=3).round(5)
    assert (one.ts == other.ts).all()
    assert (one.speed == other.speed).all()
    assert one.ts.min() >= START_MS
