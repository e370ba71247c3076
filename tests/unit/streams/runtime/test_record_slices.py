"""No record passes what its topic takes, whatever the size of the city."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from civicstream.city import Area, City, Segment
from civicstream.events import TrafficResult, TrafficRow
from civicstream.kinds import KINDS
from streams.frames.results import WindowResult, network_records
from streams.network.network_assembly import NetworkAssembly
from streams.runtime.kafka_connection import record_limit
from streams.runtime.records import sliced_records
from streams.runtime.task_state import PIECE_BYTES, join_pieces, pieces_of
from streams.windows.levels import Levels, decode_levels, encode_levels
from streams.windows.network import MEASURES, RoadNetwork
from streams.windows.network_frames import decode
from streams.windows.traffic import SegmentMeasures, SegmentTable
from streams.windows.windows import Columns

RING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
LINE = ((0.0, 0.0), (0.0, 1.0))
WINDOW = 60_000


def big_city(segments: int) -> City:
    return City(
        (Area("north", "North", RING),),
        tuple(
            Segment(
                id=f"segment-{i:06d}",
                area="north",
                corridor="c",
                position=i,
                road_class="street",
                lanes=1,
                length_m=100.0,
                free_flow_kmh=50.0,
                line=LINE,
            )
            for i in range(segments)
        ),
    )


def test_an_area_of_ten_thousand_segments_is_published_in_slices() -> None:
    numbers = (
        7,
        21.0,
        1260.0,
        48.123456789,
        47.987654321,
        55.5,
        0.1234567,
        26.25,
        "B",
        1.0417,
        1.0,
    )
    rows = [TrafficRow(f"segment-{i:06d}", *numbers) for i in range(10_000)]
    result = TrafficResult("north", 0, WINDOW, "final", WINDOW, rows)
    records = sliced_records("results.traffic", "north", result, "traffic/north/0/final", 1)
    assert len(records) > 1
    assert all(len(r.value) < record_limit("results.traffic") * 0.6 for r in records)
    found = [msgspec.json.decode(r.value, type=TrafficResult) for r in records]
    assert [row for part in found for row in part.segments] == rows
    ids = [dict(r.headers)["ce_id"] for r in records]
    assert ids[0] == b"traffic/north/0/final"
    assert len(set(ids)) == len(ids)


def test_half_a_million_segments_reach_the_network_in_slices_and_whole() -> None:
    city = big_city(500_000)
    values = np.random.default_rng(1).random(len(city.segments)) * 100
    measures = SegmentMeasures(
        **dict.fromkeys(SegmentMeasures.__dataclass_fields__, values)
        | {"table": SegmentTable(city), "segment": np.arange(len(values))}  # type: ignore[arg-type]
    )
    none = Columns(*[np.zeros(0)] * 4, {})  # type: ignore[arg-type]
    windows = [WindowResult(start, [], none, 0, measures) for start in (0, WINDOW)]
    records = network_records(3, 0, 2 * WINDOW, windows, 5)
    assert max(len(r.value) for r in records) < record_limit("network") * 0.6
    frames = [decode(record.value) for record in records]
    assert [f.closed_until for f in frames] == [0] * (len(frames) - 1) + [2 * WINDOW]
    assembly = NetworkAssembly(RoadNetwork(city), WINDOW, [3])
    found = [w for offset, frame in enumerate(frames) for w in assembly.add(frame, offset)]
    assert [w.start for w in found] == [0, WINDOW]
    assert assembly.missed == 0
    for window in found:
        for name in MEASURES:
            np.testing.assert_array_equal(getattr(window, name), values)


def test_the_levels_of_a_large_area_come_in_slices() -> None:
    n = 50_000
    kind = KINDS["waste"]
    measures = {name: np.random.default_rng(1).random(n) for name in kind.measure_names}
    keys = np.arange(n, dtype=np.int64) * 2**40
    columns = Columns(keys, keys % 9973, np.zeros(n, np.int32), keys % 9973, measures)
    slices = Levels("waste", "north", 0, WINDOW, columns).slices(10_000)
    encoded = [encode_levels(part) for part in slices]
    assert max(len(value) for value in encoded) < record_limit("levels") * 0.6
    found = np.concatenate([decode_levels(value).readings.sensor_key for value in encoded])
    np.testing.assert_array_equal(found, keys)


@given(st.dictionaries(st.text(max_size=8), st.integers(0, 3 * PIECE_BYTES), max_size=5))
def test_an_item_of_state_is_whole_again_from_its_pieces(sizes) -> None:  # type: ignore[no-untyped-def]
    items = {name: bytes(i % 251 for i in range(3)) * (n // 3) for name, n in sizes.items()}
    records = {
        f"{name}#{number}": piece
        for name, item in items.items()
        for number, piece in enumerate(pieces_of(item))
    }
    assert all(len(piece) <= PIECE_BYTES for piece in records.values())
    assert join_pieces(records) == items
