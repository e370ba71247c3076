"""The state of a detector as bytes, to go on from after a crash as if nothing had happened."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from streams.incidents.open_incident import OpenIncident
from streams.windows.network import RoadNetwork

__all__ = ["FORMAT", "Snapshot", "array", "from_bytes", "network_digest", "to_bytes"]

FORMAT = 2


class Snapshot(msgspec.Struct, array_like=True):
    """What ``IncidentDetector.dump`` writes; arrays as their bytes, float32 unless noted."""

    format: int
    network: bytes
    algorithm: str
    last_end: int
    latest: bytes
    """Flow, speed and occupancy [3, n]."""
    age_s: bytes
    """Since each segment's latest report, uint16[n]; the highest value also means never."""
    paired: bytes
    """Which segments the pairs are made of, a bit each."""
    segment_state: bytes
    pair_key: bytes
    """int64[p]"""
    pair_state: bytes
    incidents: list[OpenIncident]
    half_hour: int
    half_hour_sums: bytes


def network_digest(network: RoadNetwork) -> bytes:
    """Return what tells one list of segments from another."""
    return hashlib.blake2b("\n".join(network.ids).encode(), digest_size=8).digest()


def to_bytes(snapshot: Snapshot) -> bytes:
    return msgspec.msgpack.encode(snapshot)


def from_bytes(content: bytes, network: RoadNetwork, algorithm: str) -> Snapshot:
    """Return the snapshot; raise ConfigurationError where it is of something else."""
    try:
        snapshot = msgspec.msgpack.decode(content, type=Snapshot)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"incident state of {len(content)} bytes cannot be read ({error}); begin without it"
        ) from error
    found = (snapshot.format, snapshot.network, snapshot.algorithm)
    wanted = (FORMAT, network_digest(network), algorithm)
    for what, a, b in zip(("format", "segments", "algorithm"), found, wanted, strict=True):
        if a != b:
            raise ConfigurationError(
                f"incident state is of {what} {a!r}, this detector of {b!r}; begin without it"
            )
    return snapshot


def array(content: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return float32 of ``shape`` that may be written to."""
    return np.frombuffer(content, np.float32).reshape(shape).copy()
