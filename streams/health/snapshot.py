"""The state of an area's sensors as bytes, and back.

A byte matrix [bytes per sensor, sensors], compressed: equal bytes of neighbouring sensors lie
side by side, so what is zero for most costs next to nothing. The header names the columns, so
that a state written by another version restores what both versions know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["Arrays", "pack", "unpack"]

Arrays = dict[str, NDArray[Any]]
"""Columns with one leading axis: [sensors] or [sensors, ...]."""

_CODEC = pa.Codec("zstd", compression_level=1)


class _Snapshot(msgspec.Struct, array_like=True):
    sensors: int
    columns: list[tuple[str, str, list[int]]]
    """Name, dtype and the shape behind the leading axis."""
    size: int
    body: bytes


def pack(columns: Mapping[str, NDArray[Any]], groups: list[NDArray[np.intp]]) -> list[bytes]:
    """Return one snapshot for each group of rows; all columns have the same leading axis."""
    order = np.concatenate(groups) if groups else np.zeros(0, np.intp)
    about = [(name, a.dtype.str, list(a.shape[1:])) for name, a in columns.items()]
    planes = [_planes(a[order]) for a in columns.values()]
    matrix = np.concatenate(planes)
    packed, at = [], 0
    for group in groups:
        body = np.ascontiguousarray(matrix[:, at : at + len(group)]).tobytes()
        at += len(group)
        squeezed = _CODEC.compress(body, asbytes=True) if body else b""
        snapshot = _Snapshot(len(group), about, len(body), squeezed)
        packed.append(msgspec.msgpack.encode(snapshot))
    return packed


def _planes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8[bytes per sensor, sensors]."""
    width = values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.intp))
    flat = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    return flat.reshape(len(values), width).T


def unpack(data: bytes) -> Arrays:
    """Return the columns of a snapshot; raise ValueError for bytes that are none."""
    try:
        snapshot = msgspec.msgpack.decode(data, type=_Snapshot)
        body = (
            _CODEC.decompress(snapshot.body, snapshot.size, asbytes=True) if snapshot.size else b""
        )
    except (msgspec.MsgspecError, pa.ArrowException, OSError) as error:
        raise ValueError(f"{len(data)} bytes are not a state of sensors: {error}") from error
    n, at, columns = snapshot.sensors, 0, {}
    for name, dtype_text, shape in snapshot.columns:
        dtype = np.dtype(dtype_text)
        width = dtype.itemsize * int(np.prod(shape, dtype=np.intp))
        plane = np.frombuffer(body, np.uint8, width * n, at).reshape(width, n)
        flat = np.frombuffer(np.ascontiguousarray(plane.T).tobytes(), dtype)
        columns[name] = flat.reshape(n, *shape)
        at += width * n
    return columns
