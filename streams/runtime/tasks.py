"""The tasks of a worker while it has their partitions: opened, driven, lost, opened again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from civicstream.clock import now_ms
from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.kafka.log_gaps import Log, LogGap, go_on
from civicstream.kafka.sequences import ReadAccount
from civicstream.kafka.topic_admin import describe
from civicstream.settings import KafkaSettings
from streams.runtime.committed_consumer import CommittedConsumer
from streams.runtime.records import Record, make_record
from streams.runtime.task_state import Input, TaskState

__all__ = ["Task", "Tasks", "resume"]

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 5.0


class Task(Protocol):
    """What a worker does with some topics, partition by partition."""

    name: str
    """Of its state store and its transactional ids."""

    def inputs(self, partition: int) -> list[TP]:
        """Return the partitions of topics that partition ``partition`` of the task reads."""

    def partitions(self, assigned: Iterable[TP]) -> set[int]:
        """Return the partitions of the task that come with ``assigned``."""

    def begin(self, state: TaskState, items: Mapping[str, bytes]) -> None:
        """Go on from ``items`` and ``state.inputs``; may raise what cannot be mended by trying."""

    def drop(self, partition: int) -> None:
        """Forget a partition at once: it belongs to somebody else, or begins again."""

    def positions(self) -> dict[TP, int]:
        """Return the next offset that each input of the partitions begun must bring."""


_Place = tuple[str, int]


class Tasks:
    """Opens what is assigned, and opens again what was lost while it still is."""

    def __init__(
        self,
        app: faust.App,
        kafka: KafkaSettings,
        tasks: list[Task],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.reopened = 0
        """How often a partition was lost to somebody else and begun again, for the status view."""
        self._app, self._kafka = app, kafka
        self._tasks = {task.name: task for task in tasks}
        self._on_failure = on_failure
        self._states: dict[_Place, TaskState] = {}
        self._opening: dict[_Place, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._topic_ids: dict[str, str] = {}
        self._asking = asyncio.Lock()

    @property
    def _consumer(self) -> CommittedConsumer:
        return self._app.consumer  # type: ignore[no-any-return]

    def positions(self) -> dict[TP, int]:
        """Return the next offset of every input of what is open."""
        found: dict[TP, int] = {}
        for task in self._tasks.values():
            found |= task.positions()
        return found

    def accounts(self) -> dict[TP, ReadAccount]:
        """Return what has come of the numbers on every input of what is open."""
        return {
            TP(topic, partition): account
            for (_, partition), state in self._states.items()
            for topic, account in state.accounts.items()
        }

    def committed(self) -> dict[TP, int]:
        """Return the first offset of every input that a new life would read."""
        return {
            tp: state.inputs[tp.topic].resume_at
            for (name, partition), state in self._states.items()
            for tp in self._tasks[name].inputs(partition)
        }

    async def assigned(self, assigned: set[TP]) -> None:
        """Open everything that comes with ``assigned``; return when it is open or taken away."""
        self._topic_ids.clear()
        for task in self._tasks.values():
            for partition in sorted(task.partitions(assigned)):
                self._open_soon(task, partition, 0.0)
        if self._opening:
            await asyncio.wait(list(self._opening.values()))

    def revoked(self) -> None:
        """Drop everything: every rebalance takes all partitions away and gives some back."""
        for opening in self._opening.values():
            opening.cancel()
        self._opening.clear()
        for place in list(self._states):
            self._drop(place)

    def lost(self, task: str, partition: int, error: OwnershipLost) -> None:
        """Drop a partition that somebody else has, and begin again if it is still assigned."""
        if (task, partition) not in self._states:
            return
        log.warning("beginning again from what is on Kafka: %s", error)
        self.reopened += 1
        self._drop((task, partition))
        # Whoever was away for so long that another took over learns of it with the next heartbeat,
        # a third of a session; until then it would only take the partition from its new owner.
        pause_s = self._kafka.session_timeout_ms / 2000
        self._open_soon(self._tasks[task], partition, pause_s)

    def begin_again(self, tp: TP) -> None:
        """Judge anew where to go on in a topic whose log is not as it was."""
        self._topic_ids.clear()
        for (name, partition), state in list(self._states.items()):
            if tp in self._tasks[name].inputs(partition):
                log.warning("%s/%d does not have the next offset any more", tp.topic, tp.partition)
                self._drop((name, state.partition))
                self._open_soon(self._tasks[name], partition, 0.0)

    def _drop(self, place: _Place) -> None:
        state = self._states.pop(place)
        self._tasks[place[0]].drop(place[1])
        closing = asyncio.create_task(state.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _open_soon(self, task: Task, partition: int, pause_s: float) -> None:
        place = (task.name, partition)
        opening = asyncio.create_task(self._open(task, partition, pause_s))
        self._opening[place] = opening

        def done(opening: asyncio.Task[None]) -> None:
            if self._opening.get(place) is opening:
                del self._opening[place]
            if not opening.cancelled() and (error := opening.exception()):
                self._on_failure(error)

        opening.add_done_callback(done)

    async def _open(self, task: Task, partition: int, pause_s: float) -> None:
        attempt_s = _FIRST_PAUSE_S
        await asyncio.sleep(pause_s)
        while True:
            state = TaskState(self._kafka, task.name, partition)
            try:
                items = await state.open()
                await self._judge_inputs(task, state)
            except (KafkaError, OwnershipLost, ServerUnavailable) as error:
                log.warning(
                    "opening partition %d of task %s, trying again in %.1f s: %r",
                    partition,
                    task.name,
                    attempt_s,
                    error,
                )
                await state.close()
                await asyncio.sleep(attempt_s)
                attempt_s = min(attempt_s * 2, _MAX_PAUSE_S)
            except BaseException:
                await state.close()
                raise
            else:
                break
        self._states[task.name, partition] = state
        task.begin(state, items)
        mine = set(task.inputs(partition))
        await self._consumer.seek_to({tp: o for tp, o in task.positions().items() if tp in mine})

    async def _judge_inputs(self, task: Task, state: TaskState) -> None:
        """Put right what the state remembers of logs that are not as they were; record the gaps."""
        inputs = task.inputs(state.partition)
        stored = {tp: state.inputs.get(tp.topic) for tp in inputs}
        ids = await self._ids({tp.topic for tp in inputs})
        logs = await self._consumer.logs(
            {tp: None if found is None else found.position for tp, found in stored.items()}, ids
        )
        right: dict[str, Input] = {}
        gaps: list[LogGap] = []
        for tp in inputs:
            right[tp.topic], gap = resume(tp, stored[tp], logs[tp])
            if gap is not None:
                log.error("%s", gap)
                gaps.append(gap)
        state.begin_inputs(right, gaps)
        # At a task's first start too: what is lost from now on is lost to it.
        await state.commit([_gap_record(gap) for gap in gaps], inputs=right)

    async def _ids(self, topics: set[str]) -> dict[str, str]:
        """Return Kafka's id of every topic; asked for all partitions at once."""
        async with self._asking:
            if not topics <= self._topic_ids.keys():
                everything = {
                    tp.topic
                    for task in self._tasks.values()
                    for partition in task.partitions(self._consumer.assignment())
                    for tp in task.inputs(partition)
                }
                found = await asyncio.to_thread(describe, self._kafka, topics | everything)
                self._topic_ids |= {name: str(t["topic_id"]) for name, t in found.items()}
            return self._topic_ids

    async def close(self) -> None:
        """End everything; what was not committed never happened."""
        self.revoked()
        if self._closing:
            await asyncio.wait(self._closing)


def resume(tp: TP, stored: Input | None, log: Log) -> tuple[Input, LogGap | None]:
    """Return where a task goes on in an input, and what is gone.

    What was cleaned before the task's first start is no gap in what it read.
    """
    if stored is None:
        return Input(log.begin, log.begin, log.topic_id), None
    at, gap = go_on(tp.topic, tp.partition, stored.position, log, needed_from=stored.resume_at)
    resume_at = max(log.begin, min(stored.resume_at, at.next_offset))
    return Input(resume_at, at.next_offset, at.topic_id, at.newest_ms), gap


def _gap_record(gap: LogGap) -> Record:
    """Return the record of the topic ``gaps``."""
    now = now_ms()
    return make_record("gaps", gap.reason, gap.event(now), gap.id, now)
