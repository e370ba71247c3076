"""The records of the topic ``levels``: the newest level of each container or car park of an area.

A record per area and window, as Arrow columns: what follows bins and car parks needs the whole
city in one order, and of each sensor only its newest reading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from civicstream.errors import CorruptFrame
from civicstream.kinds import KINDS, Kind
from streams.windows.windows import Columns

__all__ = ["LEVEL_KINDS", "Levels", "decode_levels", "encode_levels", "newest_levels"]

LEVEL_KINDS = ("waste", "parking")

_METADATA = ("kind", "area", "window_start", "window_end")
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Levels:
    """The newest reading of each sensor of an area in one final window; times in ms."""

    kind: str
    area: str
    window_start: int
    window_end: int
    readings: Columns
    """A row per sensor; ``area`` is 0 everywhere, the code of ``area`` in ``[area]``."""

    def slices(self, rows: int) -> list[Levels]:
        """Return the same levels in parts of at most ``rows`` sensors."""
        if len(self.readings) <= rows:
            return [self]
        return [
            replace(self, readings=self.readings.take(np.arange(first, min(first + rows, end))))
            for end in [len(self.readings)]
            for first in range(0, end, rows)
        ]


def newest_levels(
    readings: Columns, area_names: list[str], kind: Kind, start: int, end: int
) -> list[Levels]:
    """Return what is newest of each sensor, by area; ``readings.area`` codes ``area_names``."""
    if not len(readings):
        return []
    order = np.lexsort((readings.ts, readings.sensor_key, readings.area))
    area, key = readings.area[order], readings.sensor_key[order]
    last = np.append((area[1:] != area[:-1]) | (key[1:] != key[:-1]), True)[: len(order)]
    chosen = order[last]
    codes, first = np.unique(readings.area[chosen], return_index=True)
    return [
        Levels(kind.name, area_names[int(code)], start, end, readings.take(rows))
        for code, rows in zip(codes, np.split(chosen, first[1:]), strict=True)
    ]


def _schema(kind: Kind) -> pa.Schema:
    return pa.schema(
        [
            pa.field("sensor_key", pa.int64(), nullable=False),
            pa.field("ts", pa.int64(), nullable=False),
            *(pa.field(name, pa.float64(), nullable=False) for name in kind.measure_names),
        ]
    )


def encode_levels(levels: Levels) -> bytes:
    """Return the levels as an Arrow IPC stream; NaN is "not measured"."""
    kind, readings = KINDS[levels.kind], levels.readings
    schema = _schema(kind).with_metadata({name: str(getattr(levels, name)) for name in _METADATA})
    columns = [
        pa.array(readings.sensor_key, pa.int64()),
        pa.array(readings.ts, pa.int64()),
        *(pa.array(readings.measures[name], pa.float64()) for name in kind.measure_names),
    ]
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, schema, options=_OPTIONS) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    value: bytes = out.getvalue().to_pybytes()
    return value


def decode_levels(value: bytes) -> Levels:
    """Return the levels in ``value``; raise CorruptFrame when it holds none."""
    try:
        with pa.ipc.open_stream(value) as reader:
            metadata = reader.schema.metadata or {}
            batch = reader.read_next_batch()
            batch.validate(full=True)
            fields = {name: metadata[name.encode()].decode() for name in _METADATA}
            start, end = int(fields["window_start"]), int(fields["window_end"])
    except (pa.ArrowException, StopIteration, OSError, ValueError, KeyError) as error:
        raise CorruptFrame("not_levels", f"no levels of sensors: {error!r}") from error
    kind = KINDS.get(fields["kind"])
    if kind is None or not batch.schema.equals(_schema(kind)):
        raise CorruptFrame(
            "foreign_frame", f"no levels of kind {fields['kind']!r}: columns {batch.schema.names}"
        )
    ts = batch["ts"].to_numpy()
    readings = Columns(
        batch["sensor_key"].to_numpy(),
        ts,
        np.zeros(len(ts), np.int32),
        ts,
        {name: batch[name].to_numpy() for name in kind.measure_names},
    )
    return Levels(fields["kind"], fields["area"], start, end, readings)
