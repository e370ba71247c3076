"""Of readings with the same sensor and time the one ingested last stays, in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sinks.dedupe import count_different, last_of_each, newest_per_reading

readings = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 4), st.integers(0, 3)), max_size=40
)


@given(readings)
def test_kept_rows_are_those_of_a_dictionary_filled_in_order_of_ingestion(
    rows: list[tuple[int, int, int]],
) -> None:
    wanted: dict[tuple[int, int], tuple[int, int]] = {}
    for index, (key, ts, ingested) in enumerate(rows):
        if (key, ts) not in wanted or ingested >= wanted[key, ts][0]:
            wanted[key, ts] = (ingested, index)
    columns = np.array(rows, np.int64).reshape(-1, 3)
    kept, others, instead = newest_per_reading(columns[:, 0], columns[:, 1], columns[:, 2])
    assert kept.tolist() == [wanted[pair][1] for pair in sorted(wanted)]
    assert sorted([*kept.tolist(), *others.tolist()]) == list(range(len(rows)))
    for other, stays in zip(others.tolist(), instead.tolist(), strict=True):
        assert wanted[rows[other][:2]][1] == stays


def test_rows_with_other_values_than_what_stays_are_counted_and_missing_equals_missing() -> None:
    nan = float("nan")
    columns = [np.array([1.0, 1.0, 2.0, nan]), np.array([nan, nan, 5.0, 5.0])]
    rows, others = np.array([0, 0, 2]), np.array([1, 2, 3])
    assert count_different(columns, rows, others) == 2


@given(st.lists(st.integers(0, 5)))
def test_last_of_each_is_the_end_of_every_run(keys: list[int]) -> None:
    ordered = sorted(keys)
    wanted = [i for i, key in enumerate(ordered) if i + 1 == len(ordered) or ordered[i + 1] != key]
    assert last_of_each(np.array(ordered, np.int64)).tolist() == wanted
