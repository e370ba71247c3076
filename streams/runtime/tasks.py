"""The tasks of a worker while it has their partitions: opened, read, lost, opened again.

Here is all that tasks have in common: the one read loop, which gives each record in its turn and
stops while a partition is full; the opening of what is assigned; fencing; logs that have changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from civicstream.clock import now_ms
from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.kafka.log_gaps import Log, LogGap, go_on
from civicstream.kafka.sequences import ReadAccount
from civicstream.kafka.topic_admin import describe
from civicstream.retry import pauses
from civicstream.settings import KafkaSettings
from streams.runtime.app import make_channel
from streams.runtime.committed_consumer import CommittedConsumer, PlacedMessage
from streams.runtime.offset_gate import Turn
from streams.runtime.records import Record, make_record
from streams.runtime.task import Task
from streams.runtime.task_state import Input, TaskState

__all__ = ["Tasks", "resume"]

log = logging.getLogger(__name__)

# How often to look whether a full partition has room again; a commit takes tens of milliseconds.
_FULL_PAUSE_S = 0.005

_AnyTask = Task[Any]
_PartitionId = tuple[str, int]


class Tasks:
    """Opens what is assigned, and opens again what was lost while it still is."""

    def __init__(
        self,
        app: faust.App,
        kafka: KafkaSettings,
        tasks: Sequence[_AnyTask],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.reopened = 0
        """How often a partition was lost to somebody else and begun again, for the status view."""
        self.repeated = 0
        """Records that had been taken in already; both happen around rebalances."""
        self.sought = 0
        """How often records were missing and fetched again."""
        self._app, self._kafka = app, kafka
        self._tasks = {task.name: task for task in tasks}
        self._on_failure = on_failure
        self._states: dict[_PartitionId, TaskState] = {}
        self._opening: dict[_PartitionId, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._topic_ids: dict[str, str] = {}
        self._asking = asyncio.Lock()
        for task in tasks:
            app.agent(make_channel(app, task.topics), name=task.name)(partial(self._read, task))

    async def _read(self, task: _AnyTask, stream: faust.StreamT) -> None:
        """Give the task each record in its turn, for as long as the stream lasts."""
        async for event in stream.noack().events():
            message: PlacedMessage = event.message
            state = self._states.get((task.name, message.partition))
            if state is None:
                continue  # not open yet, or lost; it is sought when it is open
            gate = state.gates[message.topic]
            turn = gate.turn(message.follows, message.offset, time.monotonic(), message.appended_ms)
            if turn is Turn.NEXT:
                await self._give(task, state, message)
            elif turn is Turn.SEEK:
                await self.seek(message.tp)
            elif turn is Turn.REPEATED:
                self.repeated += 1

    async def _give(self, task: _AnyTask, state: TaskState, message: PlacedMessage) -> None:
        """Have a record taken in; return when there is room for another."""
        partition = task.partitions[message.partition]
        try:
            await partition.on_record(message)
        except Exception as error:
            self._ended(state, error)
            return
        while state.assigned and partition.is_full:
            await asyncio.sleep(_FULL_PAUSE_S)

    async def seek(self, tp: TP) -> None:
        """Go back to what an input must bring next."""
        expected = self.positions().get(tp)
        if expected is not None:
            self.sought += 1
            await self._consumer.seek(tp, expected)

    def tick(self, elapsed_ms: int, *, observed: bool) -> None:
        """Tell every partition that ``elapsed_ms`` of the city's time have passed.

        ``observed``: whether a record that came meanwhile would have been seen.
        """
        lags = self.lags()
        for (name, partition), state in list(self._states.items()):
            silent_ms = {
                topic: elapsed_ms
                for topic in state.gates
                if observed and lags[TP(topic, partition)] == 0
            }
            self._tasks[name].partitions[partition].on_tick(silent_ms)

    def lags(self) -> dict[TP, int | None]:
        """Return the records not yet read of every input; None where Kafka has not said."""
        return {tp: self._consumer.lag(tp, expected) for tp, expected in self.positions().items()}

    def _ended(self, state: TaskState, error: BaseException) -> None:
        """Begin a partition again that somebody else has had; stop for every other reason."""
        if not state.assigned:
            return  # what it still had to do is its next owner's
        if isinstance(error, OwnershipLost):
            self._lost(state, error)
        else:
            self._on_failure(error)

    @property
    def _consumer(self) -> CommittedConsumer:
        return self._app.consumer  # type: ignore[no-any-return]

    def positions(self) -> dict[TP, int]:
        """Return the next offset of every input of what is open."""
        return {
            TP(topic, partition): gate.expected
            for (_, partition), state in self._states.items()
            for topic, gate in state.gates.items()
        }

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
            TP(topic, partition): state.inputs[topic].resume_at
            for (_, partition), state in self._states.items()
            for topic in state.gates
        }

    async def assigned(self, assigned: set[TP]) -> None:
        """Open everything that comes with ``assigned``; return when it is open or taken away."""
        self._topic_ids.clear()
        for task in self._tasks.values():
            for partition in sorted(_partitions(task, assigned)):
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

    def _lost(self, state: TaskState, error: OwnershipLost) -> None:
        """Drop a partition that somebody else has, and begin again if it is still assigned."""
        log.warning("beginning again from what is on Kafka: %s", error)
        self.reopened += 1
        # Whoever was away for so long that another took over learns of it with the next heartbeat,
        # a third of a session; until then it would only take the partition from its new owner.
        self._begin_again(state, self._kafka.session_timeout_ms / 2000)

    def log_changed(self, tp: TP) -> None:
        """Begin again where the log of an input is not as it was."""
        self._topic_ids.clear()
        for state in list(self._states.values()):
            if tp.topic in state.gates and tp.partition == state.partition:
                log.warning("%s/%d does not have the next offset any more", tp.topic, tp.partition)
                self._begin_again(state, 0.0)

    def _begin_again(self, state: TaskState, pause_s: float) -> None:
        self._drop((state.task, state.partition))
        self._open_soon(self._tasks[state.task], state.partition, pause_s)

    def _drop(self, place: _PartitionId) -> None:
        state, partition = self._states.pop(place), self._tasks[place[0]].partitions.pop(place[1])
        state.assigned = False
        partition.on_revoked()
        closing = asyncio.create_task(state.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _open_soon(self, task: _AnyTask, partition: int, pause_s: float) -> None:
        place = (task.name, partition)
        opening = asyncio.create_task(self._open(task, partition, pause_s))
        self._opening[place] = opening

        def done(opening: asyncio.Task[None]) -> None:
            if self._opening.get(place) is opening:
                del self._opening[place]
            if not opening.cancelled() and (error := opening.exception()):
                self._on_failure(error)

        opening.add_done_callback(done)

    async def _open(self, task: _AnyTask, partition: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        for attempt_s in pauses(first_s=0.2):
            state = TaskState(self._kafka, task.name, partition)
            try:
                items = await state.open()
                await self._judge_inputs(task, state)
                work = task.on_assigned(state, items, partial(self._ended, state))
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
            except BaseException:
                await state.close()
                raise
            else:
                break
        task.partitions[partition] = work
        self._states[task.name, partition] = state
        positions = {TP(topic, partition): gate.expected for topic, gate in state.gates.items()}
        await self._consumer.seek_to(positions)

    async def _judge_inputs(self, task: _AnyTask, state: TaskState) -> None:
        """Put right what the state remembers of logs that are not as they were; record the gaps."""
        inputs = [TP(topic, state.partition) for topic in task.topics]
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
                assigned = {tp.topic for tp in self._consumer.assignment()}
                everything = {
                    topic for task in self._tasks.values() for topic in assigned & {*task.topics}
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


def _partitions(task: _AnyTask, assigned: set[TP]) -> set[int]:
    return {tp.partition for tp in assigned if tp.topic in task.topics}


def _gap_record(gap: LogGap) -> Record:
    """Return the record of the topic ``gaps``."""
    now = now_ms()
    return make_record("gaps", gap.reason, gap.event(now), gap.id, now)
