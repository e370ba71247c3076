"""One partition of Kafka read in a group of its own, from where that group left off.

The offset is kept in the group, with the topic's id, the time of the newest record and the writers'
numbers that have come beside it: whoever was cut off while another member went on commits nothing,
and a log that is not the one that was read is noticed. With a topic Kafka also deletes the groups'
offsets of it, so its id is in the topic ``state.deliver`` too.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from alerts.deliveries.figures import ReadSoFar
from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.kafka.log_gaps import LogGap, Position, append_time, go_on
from civicstream.kafka.reader import GroupReader
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.sequences import ReadAccount, missing_record, received
from civicstream.kafka.transactional import Outgoing
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["LogReader", "Stopped"]

log = logging.getLogger(__name__)

_POLL_MS = 500
_POLL_RECORDS = 200
_ACCOUNT_BYTES = 3_000
"""In base64, with the topic's id, within what Kafka keeps beside an offset: 4,096 by default."""


class Stopped(Exception):
    """The process is to end."""


class LogReader:
    """Reads a topic of one partition. Of several processes of a group one has it at a time.

    Every method raises ServerUnavailable when Kafka does not answer.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, group: str, stop: threading.Event) -> None:
        self.partition = TopicPartition(topic, 0)
        self._kafka, self._group = kafka, group
        self._state = topic_name(kafka.topic_prefix, "state.deliver")
        self._known_id: str | None = None
        self._topic_id = ""
        self._newest_ms = 0
        self._account: ReadAccount | None = None
        self._stop = stop
        # A third of the time after which the group gives a silent member up.
        self._proof_s = kafka.session_timeout_ms / 3000
        self._proved_at = 0.0
        self._reader = GroupReader(
            kafka,
            [topic],
            group=group,
            max_poll_records=_POLL_RECORDS,
        )

    def wait_for_partition(self) -> tuple[int | None, LogGap | None]:
        """Return, once the partition is ours, the offset to go on from; None in a new group.

        And what is gone, where Kafka's log is not the one that the group has read.
        """
        while True:
            self._check_stop()
            self._reader.poll(_POLL_MS)
            if self._reader.take_changes():
                continue
            if self.partition in self._reader.assigned():
                break
        self._proved_at = time.monotonic()
        self._known_id = self._read_known_id()
        self._account = None
        committed = self._reader.committed(self.partition)
        read: Position | None = None
        if committed is not None and committed.offset >= 0:
            topic_id, _, kept = (committed.metadata or "").partition(" ")
            newest_ms, _, account = kept.partition(" ")
            read = Position(committed.offset, topic_id, int(newest_ms or 0))
            self._account = ReadAccount(base64.b64decode(account)) if account else None
        found = self._reader.logs({self.partition: read})[self.partition]
        self._topic_id, self._newest_ms = found.topic_id, 0
        if read is None:
            if self._known_id in {None, found.topic_id}:
                return None, None
            read = Position(0, self._known_id or "")
        at, gap = go_on(self.partition.topic, 0, read, found)
        self._newest_ms = at.newest_ms
        if gap is not None:
            log.error("%s", gap)
            if self._account is not None:
                self._account.cut(at.next_offset)
        return at.next_offset, gap

    def _read_known_id(self) -> str | None:
        found = None
        for record in read_to_end(self._kafka, self._state, stop=self._stop):
            if record.key == self._group.encode():
                found = record.value
        return None if found is None else found.decode()

    def identity(self) -> list[Outgoing]:
        """Return the record that keeps the topic's id, if it is not kept yet."""
        if self._known_id == self._topic_id:
            return []
        value, key = self._topic_id.encode(), self._group.encode()
        return [Outgoing(self._state, value, key, partition=0)]

    def ends(self) -> tuple[int, int]:
        """Return the first offset that Kafka has, and the one after the last committed record."""
        return self._reader.bounds([self.partition])[self.partition]

    def seek(self, offset: int) -> None:
        self._reader.go_on_from({self.partition: offset})

    def begin(self, offset: int) -> None:
        """Read on from ``offset``; what comes is new from there on, and is to be counted."""
        self.seek(offset)
        if self._account is None:
            other_log = self._known_id not in {None, self._topic_id}
            self._account = ReadAccount(begin=offset, other_log=other_log)

    def count(self, record: Any, *, corrupt: bool) -> None:
        """Note the record's number; every record in order."""
        place = (record.topic, record.partition)
        number = received(*place, record.headers, corrupt=corrupt)
        self._counted.take(record.offset, number)

    def missing(self, source: str) -> list[Outgoing]:
        """Return the records that tell of numbers which never came, each once."""
        prefix = self._kafka.topic_prefix
        return [missing_record(prefix, gap, source) for gap in self._counted.take_gaps()]

    def read(self, reader: str) -> ReadSoFar:
        """Return what has been counted, under the name of the receiver."""
        position = self._counted.position(self.partition.topic, 0, reader)
        return self._counted.sequences(reader), position

    @property
    def _counted(self) -> ReadAccount:
        assert self._account is not None  # noqa: S101 it has begun
        return self._account

    def poll(self) -> list[Any]:
        """Return what has come within a moment; raise OwnershipLost when somebody else has it."""
        self._check_stop()
        polled = self._reader.poll(_POLL_MS)
        if self._reader.take_changes():
            raise OwnershipLost(f"{self.partition.topic} was assigned anew")
        records = polled.get(self.partition, [])
        self._newest_ms = max([self._newest_ms, *map(append_time, records)])
        return records

    def position(self) -> int:
        """Return the offset that is read next, beyond what is no record."""
        position = self._reader.position(self.partition)
        if position is None:
            raise ServerUnavailable(f"Kafka gives no position in {self.partition.topic}")
        return position

    def idle(self, pause_s: float) -> None:
        """Stay in the group for a while without reading on; raise as ``poll`` does."""
        until = time.monotonic() + pause_s
        self._reader.pause()
        while (left_s := until - time.monotonic()) > 0:
            self._check_stop()
            self._reader.poll(min(_POLL_MS, int(left_s * 1000) + 1))
            if self._reader.take_changes():
                raise OwnershipLost(f"{self.partition.topic} was assigned anew")
        self._reader.resume()

    def offsets(self, offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what notes that everything before ``offset`` is done."""
        account = base64.b64encode(self._counted.dump(_ACCOUNT_BYTES)).decode()
        kept = f"{self._topic_id} {self._newest_ms} {account}"
        return {self.partition: OffsetAndMetadata(offset, kept, -1)}

    def commit(self, offset: int) -> None:
        """Note that everything before ``offset`` is done; raise OwnershipLost if it is not ours."""
        self._reader.commit(self.offsets(offset))
        self._proved_at = time.monotonic()

    def prove(self, offset: int) -> None:
        """Make sure that the partition is still ours, before something is sent that is ``offset``.

        Kafka is asked only when we have been silent for so long that the group may have given us
        up: after a pause of the process what is next has perhaps been sent by another one.
        """
        if time.monotonic() - self._proved_at > self._proof_s:
            self.commit(offset)

    def committed(self) -> int | None:
        found = self._reader.committed(self.partition)
        return None if found is None else int(found.offset)

    def group_metadata(self) -> ConsumerGroupMetadata:
        return self._reader.group_metadata()

    def lag(self, following: int) -> int:
        """Return how many records wait from ``following`` on, as far as the last fetch knew."""
        return self._reader.lag({self.partition: following})

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def close(self) -> None:
        self._reader.close()
