"""Frames survive the road to Kafka and back; anything else is named as corrupt."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream import frames
from civicstream.errors import CorruptFrame
from civicstream.frames import FrameHeaders
from civicstream.kinds import KINDS
from tests.kit.frame_making import make_frame

names = st.text(min_size=1, max_size=8)
rows = st.lists(
    st.tuples(
        names,
        names,
        st.integers(0, 2**45),
        st.dictionaries(
            st.sampled_from(KINDS["air"].measure_names), st.floats(allow_infinity=False)
        ),
    ),
    min_size=1,
    max_size=20,
)


@given(rows)
def test_a_frame_decodes_to_what_was_encoded(given_rows: list) -> None:  # type: ignore[type-arg]
    frame = make_frame("air", given_rows)
    decoded = frames.decode(frames.encode(frame), "air")
    assert [decoded.sensor.values[c] for c in decoded.sensor.codes] == [r[1] for r in given_rows]
    assert [decoded.area.values[c] for c in decoded.area.codes] == [r[0] for r in given_rows]
    np.testing.assert_array_equal(decoded.ts, frame.ts)
    np.testing.assert_array_equal(decoded.sensor_key, frame.sensor_key)
    for name in KINDS["air"].measure_names:
        np.testing.assert_array_equal(decoded.measures[name], frame.measures[name])


@given(st.binary(max_size=300))
def test_foreign_bytes_are_a_corrupt_frame(value: bytes) -> None:
    with pytest.raises(CorruptFrame):
        frames.decode(value, "traffic")


def test_a_frame_of_another_kind_is_named() -> None:
    value = frames.encode(make_frame("noise", [("a", "s", 1, {"LAeq": 50.0})]))
    with pytest.raises(CorruptFrame, match=r"expected .* 'air', found kind 'noise'"):
        frames.decode(value, "air")


@given(st.data())
def test_a_damaged_frame_never_raises_anything_else(data: st.DataObject) -> None:
    value = bytearray(frames.encode(make_frame("noise", [("a", "s", 1, {"LAeq": 50.0})])))
    for _ in range(data.draw(st.integers(1, 5))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptFrame):
        frames.decode(bytes(value), "noise")


def test_a_frame_without_rows_is_corrupt() -> None:
    schema = frames.arrow_schema("noise")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))
    with pytest.raises(CorruptFrame, match="no rows"):
        frames.decode(sink.getvalue().to_pybytes(), "noise")


def test_headers_survive_the_road_to_kafka() -> None:
    headers = FrameHeaders("gateway-1", 1_700_000_000_000, 7, 1000, 1_700_000_000_123)
    assert FrameHeaders.from_kafka(headers.to_kafka()) == headers


@pytest.mark.parametrize("missing", ["gateway", "epoch", "seq", "count", "ingested_at"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = [h for h in FrameHeaders("g", 1, 2, 3, 4).to_kafka() if h[0] != missing]
    with pytest.raises(CorruptFrame, match=missing):
        FrameHeaders.from_kafka(headers)
