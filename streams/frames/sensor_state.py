"""The watch over the sensors of one kind in one partition, and its state as items."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor

from streams.health import SensorWatch
from streams.runtime.state_items import under

__all__ = ["SensorState"]

# What was learned is written area by area, each once in so many closings: some minutes old it is
# only less exact.
_SLOW_EVERY = 15


class SensorState:
    """Restores the watch when a partition is opened, and gives its state at every closing.

    Keys: ``<kind>/exact/<area>`` and ``<kind>/learned/<area>``. The watch is touched in the
    executor's thread only.
    """

    def __init__(self, watch: SensorWatch, kind: str, executor: Executor) -> None:
        self.watch = watch
        self._executor = executor
        self._exact = f"{kind}/exact/"
        self._learned = f"{kind}/learned/"
        self._closings = 0

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Take up the state that the last owner left."""
        exact = under(self._exact, items)
        learned = under(self._learned, items)
        for area in sorted({*exact, *learned}):
            self.watch.restore(area, exact.get(area), learned.get(area))

    async def take(self) -> dict[str, bytes]:
        """Return the exact state now, and what was learned of the areas whose turn it is."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._take)

    def _take(self) -> dict[str, bytes]:
        turn, self._closings = self._closings % _SLOW_EVERY, self._closings + 1
        due = self.watch.areas[turn::_SLOW_EVERY]
        items = {self._learned + area: self.watch.dump_profile(area) for area in due}
        return items | {self._exact + area: state for area, state in self.watch.dump_all().items()}
