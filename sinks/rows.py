"""The readings of several frames of one kind as columns, checked for what a table can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.clock import rfc3339
from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from civicstream.kinds import KINDS, Kind
from sinks.batching import RawFrame
from sinks.database.copy_binary import representable

__all__ = ["Rows", "collect", "reading_dead_letters", "sensor_names", "unfit"]

_DEAD_LETTER_READINGS = 1_000
"""A dead letter is a record, which may not be of any size: some hundred bytes a reading."""
_NAMED_MEMBERS = 20


@dataclass(frozen=True)
class Rows:
    """n readings of one kind; ``frame`` is the index of each one's frame in ``frames``."""

    kind: Kind
    frames: Sequence[RawFrame]
    key: NDArray[np.int64]
    ts: NDArray[np.int64]
    ingested_at: NDArray[np.int64]
    measures: tuple[NDArray[np.float64], ...]
    frame: NDArray[np.int32]
    row: NDArray[np.int32]
    """Index of each reading in its frame."""

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: NDArray[Any] | slice) -> Rows:
        """Return the rows of ``index`` (numbers, mask or slice)."""
        return Rows(
            kind=self.kind,
            frames=self.frames,
            key=self.key[index],
            ts=self.ts[index],
            ingested_at=self.ingested_at[index],
            measures=tuple(m[index] for m in self.measures),
            frame=self.frame[index],
            row=self.row[index],
        )

    @property
    def columns(self) -> list[NDArray[Any]]:
        """In the order of ``schema.reading_columns``."""
        return [self.key, self.ts, *self.measures, self.ingested_at]


def collect(kind_name: str, frames: Sequence[RawFrame]) -> Rows:
    """Return the readings of the frames, in order of arrival."""
    kind = KINDS[kind_name]
    counts = [len(f.frame) for f in frames]
    return Rows(
        kind=kind,
        frames=frames,
        key=np.concatenate([f.frame.sensor_key for f in frames]),
        ts=np.concatenate([f.frame.ts for f in frames]),
        ingested_at=np.repeat(np.array([f.headers.ingested_at for f in frames], np.int64), counts),
        measures=tuple(
            np.concatenate([f.frame.measures[name] for f in frames]) for name in kind.measure_names
        ),
        frame=np.repeat(np.arange(len(frames), dtype=np.int32), counts),
        row=np.concatenate([np.arange(n, dtype=np.int32) for n in counts]),
    )


def unfit(rows: Rows) -> NDArray[np.bool_]:
    """Return bool[n]: readings that no row can hold.

    A required measure is missing, an integer is not whole or too large, or a time is beyond the
    years a timestamp has.
    """
    bad = ~representable("timestamptz", rows.ts) | ~representable("timestamptz", rows.ingested_at)
    for measure, values in zip(rows.kind.measures, rows.measures, strict=True):
        if measure.required:
            bad |= np.isnan(values)
        if measure.integer:
            bad |= ~representable("int4", values)
    return bad


def sensor_names(rows: Rows, index: int) -> tuple[str, str]:
    """Return area and sensor of one reading."""
    frame, row = rows.frames[rows.frame[index]].frame, rows.row[index]
    return (
        frame.area.values[frame.area.codes[row]],
        frame.sensor.values[frame.sensor.codes[row]],
    )


def reading_dead_letters(
    rows: Rows, indices: list[int], reason: str, detail: str, instance: str, now_ms: int
) -> Iterator[DeadLetter]:
    """Yield the dead letters for readings that are bad for one reason, some hundred in each."""
    by_frame: dict[int, list[int]] = {}
    for index in indices:
        by_frame.setdefault(int(rows.frame[index]), []).append(index)
    for found in by_frame.values():
        for start in range(0, len(found), _DEAD_LETTER_READINGS):
            some = found[start : start + _DEAD_LETTER_READINGS]
            yield _dead_letter(rows, some, reason, detail, instance, now_ms)


def _dead_letter(
    rows: Rows, indices: list[int], reason: str, detail: str, instance: str, now_ms: int
) -> DeadLetter:
    """Return a dead letter for readings of one frame; its payload is the readings as JSON."""
    raw = rows.frames[rows.frame[indices[0]]]
    readings = [_reading(rows, index) for index in indices]
    payload = msgspec.json.encode(readings if len(readings) > 1 else readings[0])
    first = readings[0]
    others = f" and {len(readings) - 1} more readings of its frame" if len(readings) > 1 else ""
    return make_dead_letter(
        "sink",
        instance,
        Origin(raw.topic_partition.topic, raw.topic_partition.partition, raw.offset),
        payload,
        reason,
        f"sensor {first['sensor']!r} at {_time(first['ts'])}{others}: {detail}",
        at_ms=now_ms,
        kind=rows.kind.name,
        count=len(indices),
        members=[(int(rows.row[index]), detail) for index in indices[:_NAMED_MEMBERS]],
    )


def _reading(rows: Rows, index: int) -> dict[str, Any]:
    area, sensor = sensor_names(rows, index)
    values = {
        m.name: float(column[index])
        for m, column in zip(rows.kind.measures, rows.measures, strict=True)
        if not np.isnan(column[index])
    }
    return {"sensor": sensor, "area": area, "ts": int(rows.ts[index]), **values}


def _time(ts: int) -> str:
    try:
        return rfc3339(ts)
    except (ValueError, OverflowError, OSError):
        return f"{ts} ms"
