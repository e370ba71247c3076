"""State is never torn: a crash between two writes leaves the one that counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import snapshots
from streams.snapshots import Snapshots


class Table:
    """A durable table in memory that can die in the middle of a write of several keys."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.writes_left: int | None = None

    def read(self, key: str) -> Any:
        return self.values.get(key)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.values if key.startswith(prefix))

    async def write(self, _partition: int, key: str, _order: int, value: Any) -> None:
        if self.writes_left is not None:
            if not self.writes_left:
                raise ConnectionError("killed")
            self.writes_left -= 1
        self.values[key] = value


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_PIECE_BYTES", 16)


def state_at(as_of: int) -> dict[str, bytes]:
    return {area: f"{area} as of {as_of}".encode() * 3 for area in ("north", "south")}


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=12))
def test_the_state_that_belongs_to_the_progress_is_always_there(
    crashes: list[tuple[int, bool]],
) -> None:
    """Each life writes one state and dies after some writes, or before or after its progress."""
    table, progress = Table(), 0
    for as_of, (survives, recorded) in enumerate(crashes, 1):
        kept = Snapshots(table, 0, "x")  # type: ignore[arg-type]
        found = kept.read_fast(not_after=progress)
        assert found == (state_at(progress) if progress else {})
        table.writes_left = survives
        try:
            asyncio.run(kept.write_fast(as_of, state_at(as_of)))
        except ConnectionError:
            continue
        finally:
            table.writes_left = None
        if recorded:
            progress = as_of
    last = Snapshots(table, 0, "x")  # type: ignore[arg-type]
    assert last.read_fast(not_after=progress) == (state_at(progress) if progress else {})


def test_what_was_learned_comes_back_area_by_area_and_never_in_pieces_of_two() -> None:
    table = Table()
    kept = Snapshots(table, 1, "x")  # type: ignore[arg-type]
    asyncio.run(kept.write_slow(1, "a/b#c", b"1" * 40))
    asyncio.run(kept.write_slow(1, "south", b"2" * 40))
    table.writes_left = 1
    with pytest.raises(ConnectionError):
        asyncio.run(kept.write_slow(2, "south", b"3" * 40))
    assert Snapshots(table, 1, "x").read_slow() == {"a/b#c": b"1" * 40}  # type: ignore[arg-type]
    assert Snapshots(table, 2, "x").read_slow() == {}  # type: ignore[arg-type]
