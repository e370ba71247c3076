"""The records of the topic ``network``: final traffic windows of one partition as Arrow columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from civicstream.errors import CorruptFrame
from streams.windows.network import MEASURES

__all__ = ["NetworkFrame", "decode", "encode"]

_SCHEMA = pa.schema(
    [
        pa.field("window_start", pa.int64(), nullable=False),
        pa.field("segment", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in MEASURES),
    ]
)
_METADATA = ("partition", "closed_until", "published_at")
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class NetworkFrame:
    """What one partition published at one closing; columns [r], NaN where unknown.

    ``closed_until``: windows of the partition that end at or before it never change again;
    ``published_at``: the clock then [ms].
    """

    partition: int
    closed_until: int
    published_at: int
    window_start: NDArray[np.int64]
    segment: NDArray[np.int32]
    """Codes into ``segments``."""
    segments: list[str]
    measures: dict[str, NDArray[np.float64]]


def encode(frame: NetworkFrame) -> bytes:
    """Return the frame as an Arrow IPC stream."""
    schema = _SCHEMA.with_metadata({name: str(getattr(frame, name)) for name in _METADATA})
    names = pa.array(frame.segments, pa.utf8())
    columns = [
        pa.array(frame.window_start, pa.int64()),
        pa.DictionaryArray.from_arrays(pa.array(frame.segment, pa.int32()), names),
        *(pa.array(frame.measures[name], pa.float64()) for name in MEASURES),
    ]
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, schema, options=_OPTIONS) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    value: bytes = out.getvalue().to_pybytes()
    return value


def decode(value: bytes) -> NetworkFrame:
    """Return the frame in ``value``; raise CorruptFrame when it is none."""
    try:
        with pa.ipc.open_stream(value) as reader:
            metadata = reader.schema.metadata or {}
            batch = reader.read_next_batch()
            batch.validate(full=True)
            times = {name: int(metadata[name.encode()]) for name in _METADATA}
    except (pa.ArrowException, StopIteration, OSError, ValueError, KeyError) as error:
        raise CorruptFrame("not_a_network_frame", f"not traffic windows: {error!r}") from error
    if not batch.schema.equals(_SCHEMA):
        raise CorruptFrame("foreign_frame", f"not traffic windows: columns {batch.schema.names}")
    return NetworkFrame(
        **times,
        window_start=batch["window_start"].to_numpy(),
        segment=batch["segment"].indices.to_numpy(zero_copy_only=False),
        segments=batch["segment"].dictionary.to_pylist(),
        measures={name: batch[name].to_numpy() for name in MEASURES},
    )
