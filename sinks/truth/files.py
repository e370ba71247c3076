"""What the simulator says really happened: the files of ``civicstream simulate --truth DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from civicstream.errors import ConfigurationError

__all__ = ["RecordedTruth", "Span", "TrueFault", "TrueIncident", "read_truth"]

_Content = TypeVar("_Content")


class Span(msgspec.Struct, frozen=True):
    """How far the simulation has come, in event time [ms]."""

    start_ms: int
    end_ms: int


class TrueIncident(msgspec.Struct, frozen=True):
    """An incident that has begun; times in ms, ``severity`` is the share of capacity lost."""

    id: str
    area: str
    corridor: str
    segment: str
    start_ms: int
    end_ms: int
    severity: float


class TrueFault(msgspec.Struct, frozen=True):
    """A sensor that is broken from ``start_ms`` on; ``end_ms`` None: for good."""

    sensor_key: int
    kind: str
    area: str
    sensor: str
    fault: str
    start_ms: int
    end_ms: int | None = None


class RecordedTruth(msgspec.Struct, frozen=True):
    """Everything; ``faults`` is None where the simulator wrote none down."""

    span: Span
    incidents: list[TrueIncident]
    faults: list[TrueFault] | None


def read_truth(folder: Path) -> RecordedTruth:
    """Return the truth in ``folder``; raise ConfigurationError naming the file that is wrong."""
    faults = folder / "sensor_faults.json"
    return RecordedTruth(
        _read(folder / "span.json", Span),
        _read(folder / "incidents.json", list[TrueIncident]),
        _read(faults, list[TrueFault]) if faults.exists() else None,
    )


def _read(path: Path, of: type[_Content]) -> _Content:
    try:
        return msgspec.json.decode(path.read_bytes(), type=of)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; give the folder that `civicstream simulate --truth` "
            "writes, once the simulation has begun"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not what the simulator writes: {error}") from error
