"""Messages to publish, in columns: what was measured, when it is due, which fault it carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.kinds import Kind

__all__ = ["FAULTS", "MALFORMATIONS", "Block", "Messages", "fault_code"]

FAULTS = ("", "duplicate", "late", "out_of_order", "clock_skew", "malformed")
"""What may be wrong with a message on purpose; '' is nothing."""

MALFORMATIONS = (
    "truncated",
    "not_utf8",
    "out_of_range",
    "wrong_type",
    "no_measures",
    "ts_without_offset",
    "ts_in_seconds",
)
"""How a malformed message is wrong. The first two spoil the whole payload, the others one
reading: the first of an array, whose other members stay good."""

WHOLE_PAYLOAD = 2


def fault_code(name: str) -> int:
    return FAULTS.index(name)


@dataclass(frozen=True)
class Messages:
    """Columns over n messages of one kind, each with b readings of one sensor.

    ``measures`` float64[measures, n, b], NaN where nothing was measured. ``due`` is when the
    message is to be published [epoch ms of event time]; for most, when its last reading was taken.
    """

    kind: Kind
    sensor: NDArray[np.intp]
    """[n] index into the city's sensors."""
    ts: NDArray[np.int64]
    """[n, b] epoch ms."""
    measures: NDArray[np.float64]
    due: NDArray[np.int64]
    fault: NDArray[np.int8]
    """[n] index into FAULTS."""
    malformation: NDArray[np.int8]
    """[n] index into MALFORMATIONS, where the fault is 'malformed'."""

    def __len__(self) -> int:
        return len(self.sensor)

    @property
    def batch(self) -> int:
        return int(self.ts.shape[1])

    @classmethod
    def good(
        cls,
        kind: Kind,
        sensor: NDArray[np.intp],
        ts: NDArray[np.int64],
        measures: NDArray[np.float64],
    ) -> Messages:
        """Return messages without faults, due when their last reading was taken."""
        nothing = np.zeros(len(sensor), np.int8)
        return cls(
            kind=kind,
            sensor=sensor,
            ts=ts,
            measures=measures,
            due=ts[:, -1].copy(),
            fault=nothing,
            malformation=nothing,
        )

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Messages:
        """Return the chosen messages."""
        return Messages(
            kind=self.kind,
            sensor=self.sensor[which],
            ts=self.ts[which],
            measures=self.measures[:, which],
            due=self.due[which],
            fault=self.fault[which],
            malformation=self.malformation[which],
        )

    @staticmethod
    def join(parts: Sequence[Messages]) -> Messages:
        """Return the messages of all ``parts``, which are of one kind and batch size."""
        if len(parts) == 1:
            return parts[0]
        return Messages(
            kind=parts[0].kind,
            sensor=np.concatenate([p.sensor for p in parts]),
            ts=np.concatenate([p.ts for p in parts]),
            measures=np.concatenate([p.measures for p in parts], axis=1),
            due=np.concatenate([p.due for p in parts]),
            fault=np.concatenate([p.fault for p in parts]),
            malformation=np.concatenate([p.malformation for p in parts]),
        )

    def reading_faults(self) -> NDArray[np.int8]:
        """Return int8[n, b]: each reading's fault; a malformed member spares its neighbours."""
        faults = np.repeat(self.fault[:, None], self.batch, axis=1)
        spared = (self.fault == fault_code("malformed")) & (self.malformation >= WHOLE_PAYLOAD)
        faults[spared, 1:] = 0
        return faults


@dataclass(frozen=True)
class Block:
    """What is due in one stretch of event time, kind by kind, and what was left out of it."""

    groups: tuple[Messages, ...]
    end_ms: int
    """Where the stretch ends; every message is due before."""
    dropped: int = 0
    """Readings that a sensor's outage kept from being sent."""

    def order(self) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
        """Return the order of publication: due time, group and message index of each."""
        due = np.concatenate([g.due for g in self.groups] or [np.zeros(0, np.int64)])
        sizes = [len(g) for g in self.groups]
        group = np.repeat(np.arange(len(sizes)), sizes)
        message = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, np.intp)])
        by_due = np.argsort(due, kind="stable")
        return due[by_due], group[by_due], message[by_due]
