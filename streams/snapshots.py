"""State kept per area in a durable table, so that a crash between two writes cannot tear it.

*Fast* state is written whole at every closing into one of two places by turns; after a crash the
newer of the two that is not ahead of the published progress is taken. *Slow* state (what was
learned) is written now and then, an area at a time; a value some minutes old only makes it less
exact.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec

from streams.durable_table import DurableTable

__all__ = ["Snapshots"]

# An embedded or a default Kafka takes records of 1 MB; in base64 this stays below.
_PIECE_BYTES = 512 * 1024


class Snapshots:
    """The states of one partition's areas, under ``name``."""

    def __init__(self, table: DurableTable, partition: int, name: str) -> None:
        self._table = table
        self._partition = partition
        self._name = name
        self._turn = 0

    async def write_fast(self, as_of: int, states: Mapping[str, bytes]) -> None:
        """Write the exact state as of ``as_of`` [ms] of all areas; raise what Kafka raises."""
        self._turn = 1 - self._turn
        await self._write(f"fast{self._turn}", as_of, msgspec.msgpack.encode(states))

    async def write_slow(self, as_of: int, area: str, state: bytes) -> None:
        await self._write(f"slow/{area}", as_of, state)

    def read_fast(self, not_after: int) -> dict[str, bytes]:
        """Return the newest state of the areas that is not newer than ``not_after`` [ms]."""
        found = [(self._read(f"fast{turn}"), turn) for turn in (0, 1)]
        usable = [(*state, turn) for state, turn in found if state and state[0] <= not_after]
        if not usable:
            return {}
        # The next write must not go where the state lies that counts now.
        _, packed, self._turn = max(usable)
        return msgspec.msgpack.decode(packed, type=dict[str, bytes])

    def read_slow(self) -> dict[str, bytes]:
        prefix = f"{self._name}/{self._partition}/slow/"
        keys = self._table.keys(prefix)
        areas = {key.removeprefix(prefix).rsplit("#", 1)[0] for key in keys}
        states = {area: self._read(f"slow/{area}") for area in sorted(areas)}
        return {area: state[1] for area, state in states.items() if state is not None}

    async def _write(self, what: str, as_of: int, state: bytes) -> None:
        key = f"{self._name}/{self._partition}/{what}"
        pieces = [state[i : i + _PIECE_BYTES] for i in range(0, len(state), _PIECE_BYTES)] or [b""]
        for number, piece in enumerate(pieces):
            text = base64.b64encode(piece).decode()
            value = {"as_of": as_of, "pieces": len(pieces), "piece": text}
            await self._table.write(self._partition, f"{key}#{number}", as_of, value)

    def _read(self, what: str) -> tuple[int, bytes] | None:
        """Return (as of, state), None where a crash left pieces of two states."""
        key = f"{self._name}/{self._partition}/{what}"
        first = self._table.read(f"{key}#0")
        if first is None:
            return None
        pieces = [self._table.read(f"{key}#{n}") for n in range(first["pieces"])]
        if any(p is None or p["as_of"] != first["as_of"] for p in pieces):
            return None
        return first["as_of"], b"".join(base64.b64decode(p["piece"]) for p in pieces)
