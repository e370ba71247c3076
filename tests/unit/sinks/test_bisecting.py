"""Halving a batch finds exactly the bad rows, and writes every other row once."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sinks.bisecting import write_around_bad_rows


@given(
    st.integers(0, 300).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1)), max_size=8))
    )
)
def test_all_rows_but_the_bad_ones_are_written_once(case: tuple[int, set[int]]) -> None:
    count, bad = case[0], {b for b in case[1] if b < case[0]}
    written: list[int] = []
    attempts = 0

    def attempt(start: int, stop: int) -> Exception | None:
        nonlocal attempts
        attempts += 1
        found = [row for row in range(start, stop) if row in bad]
        if found:
            return ValueError(f"row {found[0]}")
        written.extend(range(start, stop))
        return None

    refused = write_around_bad_rows(count, attempt)
    assert [row for row, _ in refused] == sorted(bad)
    assert [str(error) for _, error in refused] == [f"row {row}" for row in sorted(bad)]
    assert written == [row for row in range(count) if row not in bad]
    assert attempts <= 1 + 2 * len(bad) * (1 + math.ceil(math.log2(max(count, 2))))
