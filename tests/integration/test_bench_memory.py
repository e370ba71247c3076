"""``bench memory`` on small cities: a real worker, its memory read from the system."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.process_usage import peak_mb, reset_peak

pytestmark = pytest.mark.slow


def test_a_row_per_size_with_plausible_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SIZES", (500, 20_000))
    monkeypatch.setattr(memory, "READINGS_PER_SECOND_ASKED", {500: 1, 20_000: 1})
    result = memory.run(seconds=1)
    small, large = result["sizes"]  # type: ignore[misc]
    assert (small["sensors"], large["sensors"]) == (500, 20_000)
    for row in (small, large):
        # Faust, Arrow and numpy alone take tens of megabytes.
        assert 40 < row["peak_mb"] < 1_000
        assert row["readings_per_s"] > 50
        assert row["working_mb"] >= row["resident_mb"]
    assert large["peak_mb"] > small["peak_mb"]
    assert large["open_readings"] == pytest.approx(40 * small["open_readings"], rel=0.01)


def test_the_high_water_mark_of_memory_rises_and_can_be_reset() -> None:
    import os

    me = os.getpid()
    reset_peak(me)
    before = peak_mb(me)
    block = bytearray(b"x" * 80_000_000)
    assert peak_mb(me) - before > 70
    del block
    reset_peak(me)
    assert peak_mb(me) - before < 40
