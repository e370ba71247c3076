"""Windows of the whole city follow from the partitions' records and their order alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.city import Area, City, Segment
from civicstream.errors import CorruptFrame
from streams.network.network_assembly import AssemblyProgress, NetworkAssembly
from streams.windows.network import MEASURES, NetworkWindow, RoadNetwork
from streams.windows.network_frames import NetworkFrame, decode, encode

RING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
LINE = ((0.0, 0.0), (0.0, 1.0))
WINDOW = 60_000
SEGMENTS = 6


def network() -> RoadNetwork:
    segments = tuple(
        Segment(
            id=f"s{i}",
            area="north",
            corridor="c",
            position=i,
            road_class="freeway",
            lanes=2,
            length_m=500.0,
            free_flow_kmh=100.0,
            line=LINE,
            downstream=(f"s{i + 1}",),
        )
        for i in range(SEGMENTS - 1)
    )
    last = Segment(
        id=f"s{SEGMENTS - 1}",
        area="north",
        corridor="c",
        position=SEGMENTS - 1,
        road_class="freeway",
        lanes=2,
        length_m=500.0,
        free_flow_kmh=100.0,
        line=LINE,
    )
    return RoadNetwork(City((Area("north", "North", RING),), (*segments, last)))


def frame(
    partition: int, minute: int, rows: dict[str, float], *, at: int | None = None
) -> NetworkFrame:
    """What ``partition`` publishes as it closes the window of ``minute``: speed by segment."""
    names = list(rows)
    columns = {name: np.full(len(rows), 1.0) for name in MEASURES}
    columns["speed_kmh"] = np.array(list(rows.values()), np.float64)
    return NetworkFrame(
        partition=partition,
        closed_until=(minute + 1) * WINDOW,
        published_at=(minute + 1) * WINDOW + 40_000 if at is None else at,
        window_start=np.full(len(rows), minute * WINDOW, np.int64),
        segment=np.arange(len(rows), dtype=np.int32),
        segments=names,
        measures=columns,
    )


def speeds(window: NetworkWindow) -> dict[int, float]:
    return {i: v for i, v in enumerate(window.speed_kmh.tolist()) if not np.isnan(v)}


def test_a_frame_survives_its_encoding() -> None:
    sent = frame(3, 7, {"s1": 50.0, "s4": float("nan")})
    found = decode(encode(sent))
    assert (found.partition, found.closed_until, found.published_at) == (
        sent.partition,
        sent.closed_until,
        sent.published_at,
    )
    assert [found.segments[i] for i in found.segment] == ["s1", "s4"]
    for name in MEASURES:
        np.testing.assert_array_equal(found.measures[name], sent.measures[name])


@pytest.mark.parametrize("value", [b"", b"garbage", encode(frame(0, 0, {"s0": 1.0}))[:-40]])
def test_what_is_no_frame_is_refused(value: bytes) -> None:
    with pytest.raises(CorruptFrame):
        decode(value)


def test_a_window_waits_for_every_partition_with_roads() -> None:
    assembly = NetworkAssembly(network(), WINDOW, [0, 1])
    assert assembly.add(frame(0, 0, {"s0": 80.0}), 0) == []
    (window,) = assembly.add(frame(1, 0, {"s3": 40.0}), 1)
    assert (window.start, window.end) == (0, WINDOW)
    assert speeds(window) == {0: 80.0, 3: 40.0}
    assert window.coverage[1] == 0
    assert np.isnan(window.flow_veh_h[1])


def test_a_partition_that_tells_nothing_is_waited_for_only_so_long() -> None:
    assembly = NetworkAssembly(network(), WINDOW, [0, 1])
    ends = [assembly.add(frame(0, minute, {"s0": 80.0}), minute) for minute in range(5)]
    assert [len(windows) for windows in ends] == [0, 0, 0, 0, 5]
    assert assembly.add(frame(1, 0, {"s3": 40.0}), 5) == []
    assert assembly.missed == 1, "what came too late is counted"


def test_where_the_citys_time_is_fast_a_partition_is_waited_for_as_long_on_the_machine() -> None:
    """At 60 times real time a minute of the machine's is an hour of the records'."""
    assembly = NetworkAssembly(network(), WINDOW, [0, 1], speed=60)
    ends = [assembly.add(frame(0, minute, {"s0": 80.0}), minute) for minute in range(50)]
    assert not any(ends)
    assert len(assembly.add(frame(1, 49, {"s3": 40.0}), 50)) == 50
    assert assembly.missed == 0


def test_a_partition_that_is_behind_but_at_work_is_waited_for() -> None:
    assembly = NetworkAssembly(network(), WINDOW, [0, 1])
    handed = 0
    for minute in range(30):
        handed += len(assembly.add(frame(0, minute, {"s0": 80.0}, at=minute), 2 * minute))
        rows = {} if minute % 3 else {"s3": 40.0}
        handed += len(assembly.add(frame(1, minute // 3, rows, at=minute), 2 * minute + 1))
    assert handed == 10
    assert assembly.missed == 0


def test_a_segment_the_city_model_lacks_is_left_out() -> None:
    assembly = NetworkAssembly(network(), WINDOW, [0])
    (window,) = assembly.add(frame(0, 0, {"elsewhere": 80.0, "s2": 30.0}), 0)
    assert speeds(window) == {2: 30.0}


Log = list[tuple[int, int]]
"""(partition, windows it closes with this record) in the order of the topic."""


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=40),
    st.data(),
)
def test_after_a_crash_the_same_windows_are_made(log: Log, data: st.DataObject) -> None:
    frames, closed = [], [0, 0, 0]
    for number, (partition, step) in enumerate(log):
        minute = closed[partition] + step - 1
        closed[partition] += step
        frames.append(frame(partition, minute, {f"s{partition}": number + 1.0}, at=number * 7_000))
    whole = NetworkAssembly(network(), WINDOW, range(3))
    expected = [(w.start, speeds(w)) for n, f in enumerate(frames) for w in whole.add(f, n)]

    crash = data.draw(st.integers(0, len(frames)))
    first = NetworkAssembly(network(), WINDOW, range(3))
    made = [(w.start, speeds(w)) for n, f in enumerate(frames[:crash]) for w in first.add(f, n)]
    stored = msgspec.json.decode(msgspec.json.encode(first.progress), type=AssemblyProgress)
    second = NetworkAssembly(network(), WINDOW, range(3), stored)
    for number in range(stored.resume_at, len(frames)):
        made += [(w.start, speeds(w)) for w in second.add(frames[number], number)]
    assert made == expected
