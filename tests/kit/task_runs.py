"""Tasks' states in this process, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from civicstream.settings import KafkaSettings
from streams.runtime.task_state import TaskState


@contextlib.asynccontextmanager
async def opened(
    kafka: KafkaSettings, task: str, partition: int = 0
) -> AsyncIterator[tuple[TaskState, dict[str, bytes]]]:
    """Yield a task's partition, taken over, and its items; closed at the end."""
    state = TaskState(kafka, task, partition)
    try:
        yield state, await state.open()
    finally:
        await state.close()


class HeldUp:
    """Stops a task's partition as it is about to commit: its transaction is open on Kafka.

    That is the moment in which a process is stopped, or cut off, with the most to lose.
    """

    def __init__(self, state: TaskState) -> None:
        self.reached = asyncio.Event()
        self._go_on = asyncio.Event()
        producer = state._producer
        assert producer is not None
        self._commit = producer.commit_transaction
        self._producer = producer
        producer.commit_transaction = self._held

    async def _held(self) -> None:
        await self._producer.flush()
        self.reached.set()
        await self._go_on.wait()
        await self._commit()

    def go_on(self) -> None:
        self._go_on.set()
