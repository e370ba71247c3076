"""Faust's consumer, made to read what is committed and to go on where the tasks' states say.

What Faust's own does otherwise: it seeks from another thread than the one that fetches, which takes
records from under the fetch (aiokafka then ends with KeyError); around rebalances it passes on
records from before a seek and leaves others out, which a reader can only notice when it knows which
offset a record follows on; and it goes on from the group's offsets, which no transaction covers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import aiokafka
import faust
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from civicstream.kafka.log_gaps import Log, LogWatch, Position, Times, append_time

__all__ = ["CommittedTransport", "PlacedMessage", "Reached"]

log = logging.getLogger(__name__)

_LOOK_S = 2.0


class Reached(NamedTuple):
    """How far a partition has been fetched."""

    handed: int | None
    """Offset after the last record handed to Faust since the last seek, None before any."""
    position: int
    end: int | None
    """Of what is committed; None before Kafka has said."""


class PlacedMessage(ConsumerMessage):  # type: ignore[misc]
    """A record that knows where it stands."""

    __slots__ = ("appended_ms", "follows")

    follows: int
    """Offset at which the reading stood before: whatever lies between is no record for a reader."""
    appended_ms: int
    """When Kafka appended it [epoch ms]; 0: not known."""


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Owns the client; everything that moves a position happens in it."""

    logger = driver.logger

    def __post_init__(self) -> None:
        super().__post_init__()
        self._handed: dict[TP, int] = {}
        self._position: dict[TP, int] = {}
        self._watch = LogWatch()
        self._out_of_range: set[TP] = set()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = self.app.assignor  # the same partition of all kinds at one worker
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            # A worker that comes back gets its partitions at once, before its session is over.
            group_instance_id=conf.broker_client_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    async def on_start(self) -> None:
        await super().on_start()
        # Every partition is sought to where its task stands. An offset that Kafka does not have
        # any more is for the task to judge; the client would go elsewhere without a word.
        self._ensure_consumer()._fetcher._default_reset_strategy = OffsetResetStrategy.NONE

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: Any = None,
        max_records: Any = None,
    ) -> Any:
        try:
            found = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except OffsetOutOfRangeError as error:
            self._out_of_range |= {TP(*tp) for tp in error.args[0]}
            return {}
        except NoOffsetForPartitionError:
            return {}  # assigned, and not sought yet
        placed = {tp: list(self._placed(tp, records)) for tp, records in found.items()}
        for tp in active_partitions:
            position = self._state(tp, "position")
            if position is not None:
                self._position[tp] = position
        return placed

    def _placed(
        self, tp: TopicPartition, records: list[ConsumerRecord]
    ) -> Iterable[tuple[int, ConsumerRecord]]:
        place = TP(*tp)
        for record in records:
            # Not sought since the assignment: then it follows on nothing that is known.
            yield self._position.get(place, record.offset), record
            self._position[place] = self._handed[place] = record.offset + 1
            self._watch.took(place, record.offset + 1, append_time(record))

    def _state(self, tp: TP, name: str) -> Any:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        if not assignment or not assignment.active or tp not in assignment.tps:
            return None
        state = assignment.state_value(tp)
        if name == "position" and not state.has_valid_position:
            return None
        return getattr(state, name)

    def reached(self, tp: TP) -> Reached | None:
        position = self._position.get(tp)
        if position is None:
            return None
        return Reached(self._handed.get(tp), position, self._state(tp, "lso"))

    async def seek_to(self, positions: Mapping[TP, int]) -> None:
        await self.call_thread(self._seek_to, positions)

    async def _seek_to(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            try:
                consumer.seek(TopicPartition(tp.topic, tp.partition), offset)
            except IllegalStateError:
                continue  # taken away meanwhile; its next owner seeks
            self.forget([tp])
            self._position[tp] = offset

    def forget(self, partitions: Iterable[TP]) -> None:
        for tp in partitions:
            self._handed.pop(tp, None)
            self._position.pop(tp, None)
            self._out_of_range.discard(tp)
        self._watch.forget(partitions)

    def changed_logs(self) -> set[TP]:
        return self._out_of_range | self._watch.parted.keys()

    async def look_at_logs(self) -> None:
        await self.call_thread(self._look_at_logs)

    async def _look_at_logs(self) -> None:
        try:
            asked = self._watch.times()
            found = await asyncio.wait_for(self._first_since(asked), _LOOK_S)
            self._watch.look(asked, found)
        except (KafkaError, TimeoutError) as error:
            log.debug("Kafka did not say what its logs hold: %r", error)

    async def logs(
        self, known: Mapping[TP, Position | None], topic_ids: Mapping[str, str]
    ) -> dict[TP, Log]:
        found: dict[TP, Log] = await self.call_thread(self._logs, known, topic_ids)
        return found

    async def _logs(
        self, known: Mapping[TP, Position | None], topic_ids: Mapping[str, str]
    ) -> dict[TP, Log]:
        consumer, times = self._ensure_consumer(), Times.of(known)
        places = [TopicPartition(*tp) for tp in known]
        begin, end, later, proof = await asyncio.gather(
            consumer.beginning_offsets(places),
            consumer.end_offsets(places),
            self._first_since(times.later),
            self._first_since(times.proof),
        )
        ends = {TP(*place): (begin[place], end[place]) for place in places}
        return {
            tp: Log(
                topic_ids[tp.topic],
                *ends[tp],
                later=later.get(tp),
                proof=proof.get(tp),
                parted=self._watch.parted.get(tp),
            )
            for tp in known
        }

    async def _first_since(self, times_ms: Mapping[TP, int]) -> dict[TP, int]:
        """Return the first offset of each partition at that time or later, where there is one."""
        if not times_ms:
            return {}
        asked = {TopicPartition(*tp): at_ms for tp, at_ms in times_ms.items()}
        found = await self._ensure_consumer().offsets_for_times(asked)
        return {TP(*p): at.offset for p, at in found.items() if at is not None}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        committed = {TopicPartition(*tp): OffsetAndMetadata(o, "") for tp, o in offsets.items()}
        try:
            await self._ensure_consumer().commit(committed)
        except (KafkaError, IllegalStateError) as error:
            log.debug("the group's offsets were not committed: %r", error)
            return False
        return True


class CommittedConsumer(driver.Consumer):  # type: ignore[misc]
    """``transport.positions`` says where each partition goes on."""

    logger = driver.logger

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: Any, record: Any) -> PlacedMessage:
        follows, found = record
        message = PlacedMessage(
            topic=found.topic,
            partition=found.partition,
            offset=found.offset,
            timestamp=found.timestamp / 1000.0,
            timestamp_type=found.timestamp_type,
            headers=found.headers,
            key=found.key,
            value=found.value,
            checksum=found.checksum,
            serialized_key_size=found.serialized_key_size,
            serialized_value_size=found.serialized_value_size,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.follows = follows
        message.appended_ms = append_time(found)
        return message

    async def perform_seek(self) -> None:
        """Go on with every partition where its task stands."""
        await self.seek_to(self.transport.positions())

    async def _seek(self, partition: TP, offset: int) -> None:
        await self.seek_to({partition: offset})

    async def seek_to(self, positions: Mapping[TP, int]) -> None:
        """Read on from these offsets; partitions that were taken away meanwhile are left out."""
        await self._thread.seek_to(positions)
        self._read_offset.update(dict.fromkeys(positions, None))

    def reached(self, tp: TP) -> Reached | None:
        """Return how far a partition has been fetched; None before it was sought."""
        found: Reached | None = self._thread.reached(tp)
        return found

    def lag(self, tp: TP, expected: int) -> int | None:
        """Return about how many committed records come from ``expected`` on, None if unknown."""
        found = self.reached(tp)
        if found is None or found.end is None:
            return None
        missing = found.handed is not None and expected < found.handed
        return max(0, found.end - (expected if missing else max(expected, found.position)))

    def changed_logs(self) -> set[TP]:
        """Return the partitions whose next offset Kafka does not have, or whose log was cut."""
        found: set[TP] = self._thread.changed_logs()
        return found

    async def look_at_logs(self) -> None:
        """Find the logs that were cut and have grown again since the last look."""
        await self._thread.look_at_logs()

    def forget(self, partitions: Iterable[TP]) -> None:
        """Forget how far partitions were fetched: they belong to somebody else."""
        self._thread.forget(partitions)

    async def commit_to_group(self, offsets: Mapping[TP, int]) -> None:
        """Commit offsets to the group, for those who watch its lag; nothing here reads them."""
        await self._thread.commit(offsets)

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust's own check breaks on a partition that is being taken away."""

    async def logs(
        self, known: Mapping[TP, Position | None], topic_ids: Mapping[str, str]
    ) -> dict[TP, Log]:
        """Return each partition as Kafka has it now, as `log_gaps.go_on` needs it."""
        found: dict[TP, Log] = await self._thread.logs(known, topic_ids)
        return found


class CommittedTransport(driver.Transport):  # type: ignore[misc]
    """To be set as the app's transport before anything else of the app is used."""

    Consumer = CommittedConsumer

    def __init__(self, app: faust.App, positions: Callable[[], Mapping[TP, int]]) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.positions = positions
