"""What a task is: the protocol that windows, network and dispatch follow.

A task reads some topics, partition by partition. When a partition is assigned to this worker the
runtime (`tasks.py`) takes its state over from whoever had it and calls ``on_assigned``, which
restores the work from the last checkpoint. From then on the runtime gives each record once and in
order (``on_record``), tells the time (``on_tick``) and stops reading while ``is_full``. The work
commits outputs, changed state and offsets by ``TaskState.commit``, whenever that suits it; until
then what it took in may be lost, for it is read again. ``on_revoked`` ends it.

    class CountTask:                            # a task that counts the records of a topic
        name = "count"

        def __init__(self, topic: str) -> None:
            self.topics = [topic]
            self.partitions: dict[int, CountPartition] = {}

        def on_assigned(self, state, items, failed):
            return CountPartition(state, int(items.get("count", b"0")))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.task_state import TaskState

__all__ = ["BackgroundWork", "Failed", "Task", "TaskPartition"]

Failed = Callable[[BaseException], None]


class TaskPartition(Protocol):
    """The work on one partition of a task, from its assignment until it is revoked.

    Nothing is to be committed once ``TaskState.assigned`` is False.
    """

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be committed that no more may be read: backpressure."""

    async def on_record(self, message: PlacedMessage) -> None:
        """Take in the next record of an input; the next one comes only when this has returned.

        A record that cannot be used is counted and passed over; what is raised ends the partition.
        """

    def on_tick(self, silent_ms: Mapping[str, int]) -> None:
        """Do what time alone makes due; called some times a second.

        ``silent_ms``: by topic, for how long since the last tick nothing came of it [ms of the
        city's time]. It has only the topics of which that is certain: all is read, Kafka answers
        and this process was not held up.
        """

    def on_revoked(self) -> None:
        """Stop at once: the partition belongs to somebody else, or begins again."""


P = TypeVar("P", bound=TaskPartition)


class Task(Protocol[P]):
    """What a worker does with some topics."""

    name: str
    """Of its state store ``state.<name>`` and its transactional ids."""
    partitions: dict[int, P]
    """Those at work here; the runtime puts them in and takes them out."""

    @property
    def topics(self) -> Collection[str]:
        """Names on Kafka. Partition p of the task reads partition p of each."""

    def on_assigned(self, state: TaskState, items: Mapping[str, bytes], failed: Failed) -> P:
        """Return the work on ``state.partition``, restored from ``items`` and ``state.inputs``.

        ``failed`` is to be called with what ended work that goes on beside ``on_record``: the
        partition must not go on past it. Raises what cannot be mended by trying again.
        """


class BackgroundWork:
    """Work beside the reading of a partition: one run at a time, and its failure is reported.

    After a failure it never runs again: nothing may go on past what was not done.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], failed: Failed) -> None:
        self._work = work
        self._failed = failed
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the work; nothing where it is running already."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception as error:
            self._failed(error)
        else:
            self._running = None

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
