"""MQTT payloads: JSON built from templates, because a reading is only a row of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.clock import rfc3339
from civicstream.kinds import Kind
from sensors_sim.messages import MALFORMATIONS, Messages, fault_code

__all__ = ["encode_payloads"]


def encode_payloads(messages: Messages) -> list[bytes]:
    """Return each message's payload: an object, or an array where a message holds several."""
    n, batch = messages.ts.shape
    flat = messages.measures.reshape(len(messages.kind.measures), n * batch)
    readings = _encode_readings(messages.kind, messages.ts.reshape(-1), flat)
    for i in np.flatnonzero(messages.fault == fault_code("malformed")).tolist():
        how = MALFORMATIONS[messages.malformation[i]]
        if how not in {"truncated", "not_utf8"}:
            readings[i * batch] = _spoil_reading(readings[i * batch], how, messages.kind)
    payloads = readings if batch == 1 else _arrays(readings, batch)
    for i in np.flatnonzero(messages.fault == fault_code("malformed")).tolist():
        how = MALFORMATIONS[messages.malformation[i]]
        if how == "truncated":
            payloads[i] = payloads[i][: len(payloads[i]) // 2]
        elif how == "not_utf8":
            payloads[i] = payloads[i].replace(b'"ts"', b'"t\xff"')
    return payloads


def _arrays(readings: Sequence[bytes], batch: int) -> list[bytes]:
    return [
        b"[" + b",".join(readings[i : i + batch]) + b"]" for i in range(0, len(readings), batch)
    ]


def _encode_readings(
    kind: Kind, ts: NDArray[np.int64], measures: NDArray[np.float64]
) -> list[bytes]:
    """Return one JSON object per reading; measures that are NaN are left out."""
    readings: list[bytes] = [b""] * len(ts)
    absent = np.isnan(measures)
    # Readings that lack the same measures share a template; there are two or three such sets.
    pattern = (1 << np.arange(len(measures))) @ absent
    for found in np.unique(pattern).tolist():
        rows = np.flatnonzero(pattern == found)
        present = [i for i in range(len(measures)) if not found >> i & 1]
        template = b'{"ts":%d' + b"".join(
            b',"%b":%%a' % kind.measure_names[i].encode() for i in present
        )
        columns = [ts[rows].tolist(), *(_numbers(measures[i][rows]) for i in present)]
        made = [(template % row) + b"}" for row in zip(*columns, strict=True)]
        if len(rows) == len(readings):
            return made
        for row, reading in zip(rows.tolist(), made, strict=True):
            readings[row] = reading
    return readings


def _numbers(column: NDArray[np.float64]) -> list[float] | list[int]:
    """Return whole columns as integers, others as floats that print in full (shortest repr)."""
    if np.all(column == np.floor(column)):
        whole: list[int] = column.astype(np.int64).tolist()
        return whole
    fractions: list[float] = column.tolist()
    return fractions


def _spoil_reading(reading: bytes, how: str, kind: Kind) -> bytes:
    fields = msgspec.json.decode(reading)
    measure = kind.measures[0]
    if how == "out_of_range":
        fields[measure.name] = 2 * measure.maximum + 1
    elif how == "wrong_type":
        fields[measure.name] = "n/a"
    elif how == "no_measures":
        fields = {"ts": fields["ts"]}
    elif how == "ts_without_offset":
        fields["ts"] = rfc3339(fields["ts"]).removesuffix("Z")
    else:
        fields["ts"] //= 1000
    return msgspec.json.encode(fields)
