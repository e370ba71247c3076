"""The arrays under the watch: rows by key, readings in order, state as bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streams.health.ordered import order_readings
from streams.health.sensor_table import KeyIndex
from streams.health.snapshot import pack, unpack

KEYS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(KEYS, unique=True, max_size=60), st.lists(KEYS, max_size=20))
def test_every_key_is_found_in_its_row_and_no_other_is(known: list[int], others: list[int]) -> None:
    index = KeyIndex()
    half = len(known) // 2
    index.append(np.array(known[:half], np.int64))
    index.append(np.array(known[half:], np.int64))
    asked = [*known, *others]
    expected = [known.index(key) if key in known else -1 for key in asked]
    assert index.rows(np.array(asked, np.int64)).tolist() == expected


def test_keys_that_share_their_low_bits_are_told_apart() -> None:
    index = KeyIndex()
    keys = np.arange(50, dtype=np.int64) << 40
    index.append(keys)
    assert index.rows(keys[::-1].copy()).tolist() == list(range(49, -1, -1))
    assert index.rows(np.array([7], np.int64)).tolist() == [-1]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**45)), unique=True, max_size=80),
)
def test_readings_are_ordered_by_sensor_and_time(rows: list[tuple[int, int]]) -> None:
    row, ts = np.array(rows, np.int64).reshape(-1, 2).T
    value = np.arange(len(rows), dtype=np.float64)
    value[::3] = np.nan
    ordered = order_readings(row, ts, ts + 5, {"level": value})
    assert list(zip(ordered.row.tolist(), ordered.ts.tolist(), strict=True)) == sorted(rows)
    assert ordered.ingested_at.tolist() == (ordered.ts + 5).tolist()
    assert ordered.rows.tolist() == sorted({r for r, _ in rows})
    assert ordered.counts.sum() == len(rows)
    series = ordered.series("level")
    measured = [r for (r, _), v in zip(rows, value, strict=True) if not np.isnan(v)]
    assert series.rows.tolist() == sorted(set(measured))
    assert series.counts.tolist() == [measured.count(r) for r in series.rows.tolist()]
    assert not np.isnan(series.value).any()
    before = series.previous(np.full(len(series.rows), -1.0))
    assert np.all(before[series.first] == -1)


@given(
    arrays.arrays(np.int64, st.integers(1, 30)),
    st.integers(0, 4),
    st.data(),
)
def test_a_state_unpacks_to_what_was_packed(
    keys: np.ndarray, measures: int, data: st.DataObject
) -> None:
    n = len(keys)
    columns = {
        "key": keys,
        "health": data.draw(arrays.arrays(np.uint8, n)),
        "stuck": data.draw(arrays.arrays(np.float16, (n, measures))),
        "usual": data.draw(arrays.arrays(np.float32, (n, measures, 2))),
    }
    split = data.draw(st.integers(0, n))
    groups = [np.arange(n)[:split], np.arange(n)[split:][::-1].copy()]
    for group, packed in zip(groups, pack(columns, groups), strict=True):
        found = unpack(packed)
        assert list(found) == list(columns)
        for name, values in columns.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values[group])


@pytest.mark.parametrize("data", [b"", b"\x93\x01\x02", b"\x94\x01\x90\x05\xc4\x01x"])
def test_what_is_no_state_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a state of sensors"):
        unpack(data)
