"""The watch over a partition's sensors, with its state in a durable table."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from streams.durable_table import DurableTable
from streams.health import SensorWatch
from streams.snapshots import Snapshots

__all__ = ["SensorSnapshot", "SensorState"]

# What was learned is written area by area, each once in so many closings.
_SLOW_EVERY = 15


@dataclass(frozen=True)
class SensorSnapshot:
    """States by area."""

    fast: dict[str, bytes]
    slow: dict[str, bytes]


class SensorState:
    """Restores the watch when a partition is assigned, and writes its state at every closing.

    The watch is touched in the executor's thread only.
    """

    def __init__(
        self,
        watch: SensorWatch,
        table: DurableTable,
        topic: str,
        partition: int,
        executor: Executor,
    ) -> None:
        self.watch = watch
        self._executor = executor
        self._snapshots = Snapshots(table, partition, topic)
        self._closings = 0

    def restore(self, closed_until: int) -> None:
        """Take up the state as of the partition's progress."""
        fast = self._snapshots.read_fast(not_after=closed_until)
        slow = self._snapshots.read_slow()
        for area in sorted({*fast, *slow}):
            self.watch.restore(area, fast.get(area), slow.get(area))

    async def take(self) -> SensorSnapshot:
        """Return the exact state now, and what was learned of the areas whose turn it is."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._take)

    def _take(self) -> SensorSnapshot:
        turn, self._closings = self._closings % _SLOW_EVERY, self._closings + 1
        due = self.watch.areas[turn::_SLOW_EVERY]
        learned = {area: self.watch.dump_profile(area) for area in due}
        return SensorSnapshot(self.watch.dump_all(), learned)

    async def write(self, as_of: int, snapshot: SensorSnapshot) -> None:
        """Write it; raise what Kafka raises, then it is to be written again."""
        for area, profile in snapshot.slow.items():
            await self._snapshots.write_slow(as_of, area, profile)
        await self._snapshots.write_fast(as_of, snapshot.fast)
