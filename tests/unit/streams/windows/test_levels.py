"""Levels: of each sensor of an area the newest reading of a window, there and back as Arrow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.errors import CorruptFrame
from civicstream.kinds import KINDS
from streams.windows.levels import Levels, decode_levels, encode_levels, newest_levels
from streams.windows.windows import Columns

NAMES = ["north", "south", "east"]

READING = st.tuples(st.integers(0, 2), st.integers(-3, 3), st.integers(0, 5))
"""Area, sensor, time; a sensor's readings at one time have been told apart before."""


def columns(rows: list[tuple[int, int, int]]) -> Columns:
    area, key, ts = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    level = np.arange(len(rows)) / 100
    measures = {"fillingLevel": level, "temperature": np.full(len(rows), np.nan)}
    return Columns(key, ts, area.astype(np.int32), ts, measures)


@given(st.lists(READING, unique=True))
def test_each_sensor_of_an_area_has_its_newest_reading(rows: list[tuple[int, int, int]]) -> None:
    expected: dict[tuple[str, int], tuple[int, float]] = {}
    for number, (area, key, ts) in enumerate(rows):
        known = expected.get((NAMES[area], key))
        if known is None or ts > known[0]:
            expected[NAMES[area], key] = (ts, number / 100)
    found = {}
    for levels in newest_levels(columns(rows), NAMES, KINDS["waste"], 0, 60_000):
        again = decode_levels(encode_levels(levels))
        assert (again.kind, again.window_start, again.window_end) == ("waste", 0, 60_000)
        r = again.readings
        assert np.isnan(r.measures["temperature"]).all()
        for key, ts, level in zip(
            r.sensor_key.tolist(), r.ts.tolist(), r.measures["fillingLevel"].tolist(), strict=True
        ):
            assert (again.area, key) not in found
            found[again.area, key] = (ts, level)
    assert found == expected


def test_what_is_no_record_of_levels_is_refused_with_the_reason() -> None:
    with pytest.raises(CorruptFrame, match="no levels"):
        decode_levels(b"{}")
    whole = encode_levels(Levels("waste", "north", 0, 1, columns([(0, 1, 1)])))
    with pytest.raises(CorruptFrame, match="no levels"):
        decode_levels(whole[: len(whole) // 2])
