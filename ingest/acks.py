"""Which MQTT messages may be acknowledged: in receipt order, and only what Kafka confirmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["NO_ACK", "AckWindow"]

NO_ACK = 0
"""Packet id of a message that needs no acknowledgement (QoS 0); real ones start at 1."""


class AckWindow:
    """Messages received and not yet acknowledged, oldest first.

    A message gets a receipt, a number that only grows. It may be held by several records (the
    frames of a long array, a dead letter); it is done when each of them is confirmed, and is
    acknowledged when everything received before it is done too (MQTT 5 section 4.6 demands
    acknowledgements in the order of receipt).
    """

    def __init__(self) -> None:
        self._packet_ids: deque[int] = deque()
        self._first = 0
        self._done: set[int] = set()
        self._holders: dict[int, int] = {}

    def __len__(self) -> int:
        """Messages in flight."""
        return len(self._packet_ids)

    def receive(self, packet_id: int, holders: int = 1) -> int:
        """Note a message held by so many records and return its receipt."""
        receipt = self._first + len(self._packet_ids)
        self._packet_ids.append(packet_id)
        if holders != 1:
            self._holders[receipt] = holders
        return receipt

    def confirm(self, receipts: Iterable[int]) -> list[int]:
        """Note that one record holding each of ``receipts`` is on Kafka.

        Return the packet ids to acknowledge now, in receipt order.
        """
        if self._holders:
            receipts = [receipt for receipt in receipts if self._is_last_holder(receipt)]
        done, packet_ids = self._done, self._packet_ids
        done.update(receipts)
        due: list[int] = []
        first = self._first
        while first in done:
            done.remove(first)
            first += 1
            due.append(packet_ids.popleft())
        self._first = first
        return [packet_id for packet_id in due if packet_id != NO_ACK]

    def _is_last_holder(self, receipt: int) -> bool:
        left = self._holders.get(receipt, 1) - 1
        if left:
            self._holders[receipt] = left
            return False
        self._holders.pop(receipt, None)
        return True

    def forget_packet_ids(self) -> None:
        """The connection is lost: its packet ids mean nothing on the next one.

        The broker sends what was not acknowledged again, as new messages; what is on its way to
        Kafka still gets there.
        """
        self._packet_ids = deque([NO_ACK]) * len(self._packet_ids)
