"""Statistics per area against numpy on one area at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.kinds import KINDS
from streams.windows.environment import area_statistics
from streams.windows.windows import Columns

row = st.tuples(
    st.integers(0, 3),
    st.integers(1, 5),
    st.one_of(st.just(np.nan), st.floats(-50, 50)),
    st.one_of(st.just(np.nan), st.floats(0, 1)),
)


@given(st.lists(row, min_size=1, max_size=60))
def test_statistics_equal_those_of_each_area_alone(rows) -> None:  # type: ignore[no-untyped-def]
    area, sensor, temperature, humidity = (np.array(c) for c in zip(*rows, strict=True))
    nothing = np.full(len(rows), np.nan)
    kind = KINDS["weather"]
    measures = dict.fromkeys(kind.measure_names, nothing)
    measures |= {"temperature": temperature, "relativeHumidity": humidity}
    stamps = np.arange(len(rows), dtype=np.int64)
    columns = Columns(sensor.astype(np.int64), stamps, area.astype(np.int32), stamps, measures)
    found = {s.area: s for s in area_statistics(columns, kind)}
    assert set(found) == set(area.tolist())
    for code, statistics in found.items():
        of_area = area == code
        assert statistics.readings == of_area.sum()
        assert statistics.sensors == len(set(sensor[of_area].tolist()))
        by_name = {m.measure: m for m in statistics.measures}
        for name, values in (("temperature", temperature), ("relativeHumidity", humidity)):
            present = values[of_area & ~np.isnan(values)]
            if not len(present):
                assert name not in by_name
                continue
            m = by_name[name]
            assert m.readings == len(present)
            assert m.sensors == len(set(sensor[of_area & ~np.isnan(values)].tolist()))
            assert (m.min, m.max) == (present.min(), present.max())
            assert m.mean == pytest.approx(present.mean(), abs=1e-9)
            assert m.p95 == pytest.approx(np.percentile(present, 95), abs=1e-9)
        assert set(by_name) <= {"temperature", "relativeHumidity"}
