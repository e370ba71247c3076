"""From what the intake has ready to records on Kafka, and from their outcomes back to it."""

from __future__ import annotations

from collections.abc import Callable

from civicstream.kafka.dead_letter import dead_letter_record
from civicstream.partitioning import partition_of_key
from civicstream.settings import Settings
from civicstream.topics import TOPICS, frames_topic
from ingest.delivery import Attempt, Delivered, Delivery, Done, Reader
from ingest.intake import Intake, PendingDeadLetter, PendingEvent
from ingest.kafka_output import KafkaOutput
from ingest.lanes import SealedFrame
from ingest.parking import PARKED, Record, TopicPartition

__all__ = ["Item", "Outgoing", "Report"]


class Report:
    """Marks a ledger report among the records sent."""


Item = SealedFrame | PendingDeadLetter | PendingEvent


class Outgoing:
    """The records of one gateway on their way to Kafka, and again when its producer is gone."""

    def __init__(
        self,
        settings: Settings,
        epoch: int,
        intake: Intake,
        kafka: KafkaOutput[Attempt[Item] | Report],
        parked: Reader,
        ack: Callable[[list[int]], None],
    ) -> None:
        """``ack`` is called with the packet ids that may be acknowledged, in order of receipt."""
        self._partitions = settings.kafka.partitions
        self._intake, self._kafka, self._ack = intake, kafka, ack
        self.delivery: Delivery[Item] = Delivery(
            self._hand_over,
            parked,
            gateway=settings.gateway.id,
            epoch=epoch,
            park_after_s=settings.gateway.park_after_s,
            parked_partitions=self._partitions_of(PARKED),
        )

    def send(self, now: float) -> None:
        """Hand over what is ready; nothing before it is known what earlier starts have left."""
        self.delivery.tend(now)
        self.settle()
        if not self.delivery.ready:
            return
        intake = self._intake
        while intake.lanes.ready:
            frame = intake.lanes.ready.popleft()
            self.delivery.send(_frame_record(frame), frame, now)
        while intake.dead_letters:
            refused = intake.dead_letters.popleft()
            self.delivery.send(self._dead_letter_record(refused), refused, now)
        while intake.events:
            pending = intake.events.popleft()
            event = pending.event
            record = self._keyed(event.topic, event.key, event.value, event.headers)
            self.delivery.send(record, pending, now)

    def settle(self) -> None:
        """Acknowledge what Kafka has, and count what has come to its own partition."""
        for event in self.delivery.take_events():
            if isinstance(event, Done):
                self._ack(self._confirmed(event.item, parked=event.parked))
            elif isinstance(event, Delivered):
                if headers := event.record.frame_headers():
                    self._intake.lanes.delivered(event.record.place, headers)
            else:
                self._intake.lanes.none_parked(event.place)

    def _confirmed(self, item: Item, *, parked: bool) -> list[int]:
        if isinstance(item, SealedFrame):
            return self._intake.frame_confirmed(item, parked=parked)
        if isinstance(item, PendingEvent):
            return self._intake.event_confirmed(item)
        return self._intake.dead_letter_confirmed(item)

    def _dead_letter_record(self, pending: PendingDeadLetter) -> Record:
        dead_letter, event_id = pending.dead_letter, self._intake.dead_letter_id(pending)
        made = dead_letter_record(dead_letter, f"gateway/{dead_letter.instance}", event_id)
        return self._keyed("deadletter", made.key, made.value, made.headers)

    def _keyed(
        self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Record:
        partition = partition_of_key(key, self._partitions_of(topic))
        return Record(TopicPartition(topic, partition), value, headers, key)

    def _partitions_of(self, topic: str) -> int:
        return TOPICS[topic].partitions or self._partitions

    def _hand_over(self, attempt: Attempt[Item]) -> None:
        record = attempt.record
        self._kafka.send(
            record.place.topic,
            record.value,
            attempt,
            headers=record.headers,
            key=record.key,
            partition=record.place.partition,
        )


def _frame_record(frame: SealedFrame) -> Record:
    place = TopicPartition(frames_topic(frame.lane.kind.name), frame.lane.partition)
    return Record(place, frame.value, frame.headers.to_kafka(), count=frame.headers.count)
