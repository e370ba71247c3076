"""A recorded city, read from its folder: streets and their 5-minute means, and car parks.

The files are those of Open Data Aarhus (CityPulse): ``*_streets.csv`` with each street's two
ends, ``*.parquet`` with its readings (``street, ts, speed_kmh, vehicles``), and, where there are
any, ``*_garages.csv`` and ``*_parking.parquet``.

Times. The stamps of the streets are universal time: by them the morning rush begins at 4:00 and
traffic is heaviest at 13:00, two hours before the city's clocks. They are taken as the end of
the five minutes, the moment at which a mean can be known. The car parks' are local time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError

__all__ = [
    "PERIOD_MS",
    "TIMEZONE",
    "CityRecording",
    "Garages",
    "ParkingReadings",
    "Street",
    "StreetReadings",
    "moved_to_present",
    "read_city_recording",
    "recorded_part",
    "recorded_span",
]

PERIOD_MS = 300_000
TIMEZONE = "Europe/Copenhagen"
_WEEK = timedelta(days=7)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Street:
    """A street from one end to the other, in the direction of travel; lon, lat in degrees."""

    id: str
    name: str
    postal_code: str
    nodes: tuple[str, str]
    ends: tuple[tuple[float, float], tuple[float, float]]
    length_m: float
    usual_kmh: float


@dataclass(frozen=True)
class Garages:
    """Car parks as columns."""

    ids: list[str]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]


@dataclass(frozen=True)
class StreetReadings:
    """Columns in order of ``ts`` [epoch ms, as recorded]; with the repeats that were recorded."""

    ts: Ints
    street: NDArray[np.intp]
    """Index into the streets."""
    speed_kmh: NDArray[np.float64]
    vehicles: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ts)

    def repeated(self) -> NDArray[np.bool_]:
        """Return which readings are of the street and time of one before them."""
        pairs = np.stack([self.ts, self.street.astype(np.int64)])
        _, first = np.unique(pairs, axis=1, return_index=True)
        again = np.ones(len(self), np.bool_)
        again[first] = False
        return again

    def gaps(self, streets: int) -> int:
        """Return how many readings are missing between the first and the last time."""
        if not len(self):
            return 0
        due = (int(self.ts[-1] - self.ts[0]) // PERIOD_MS + 1) * streets
        return due - int(len(self) - self.repeated().sum())


@dataclass(frozen=True)
class ParkingReadings:
    """Columns in order of ``ts`` [epoch ms, as recorded]."""

    ts: Ints
    garage: NDArray[np.intp]
    vehicles: NDArray[np.float64]
    spaces: NDArray[np.float64]


@dataclass(frozen=True)
class CityRecording:
    """What a folder holds of the part that was asked for."""

    streets: tuple[Street, ...]
    readings: StreetReadings
    garages: Garages
    parking: ParkingReadings


def _one_of(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigurationError(f"{folder}: {names}: one file like {pattern} is expected")
    return found[0] if found else None


def _readings_file(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigurationError(f"--replay {folder}: no such folder")
    found = [p for p in sorted(folder.glob("*.parquet")) if not p.stem.endswith("_parking")]
    if len(found) != 1:
        raise ConfigurationError(
            f"--replay {folder}: {len(found)} files *.parquet with the streets' readings; "
            "expected one, beside *_streets.csv"
        )
    return found[0]


def _table(path: Path, columns: Iterable[str]) -> dict[str, list[Any]]:
    """Return the columns of a CSV file; raise ConfigurationError where one is missing."""
    try:
        table = pv.read_csv(path)
        return {name: table[name].to_pylist() for name in columns}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def recorded_span(folder: Path) -> tuple[int, int]:
    """Return the first and the last time of the streets' readings [epoch ms, as recorded]."""
    path = _readings_file(folder)
    try:
        bounds = pc.min_max(pq.read_table(path, columns=["ts"])["ts"].cast(pa.timestamp("ms")))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    first, last = bounds["min"].cast(pa.int64()).as_py(), bounds["max"].cast(pa.int64()).as_py()
    if first is None:
        raise ConfigurationError(f"{path}: no readings")
    return int(first), int(last)


def recorded_part(folder: Path, first: str | None, last: str | None) -> tuple[int, int]:
    """Return the part between two local times like 2014-08-04T07:00 [epoch ms, as recorded].

    None: the recording's own ends. Raise ConfigurationError where nothing lies between.
    """
    begin, end = recorded_span(folder)
    wanted = (
        begin if first is None else _local("--from", first),
        end if last is None else _local("--until", last),
    )
    begin, end = max(begin, wanted[0]), min(end, wanted[1])
    if begin >= end:
        zone = ZoneInfo(TIMEZONE)
        span = " to ".join(
            datetime.fromtimestamp(t / 1000, zone).strftime("%Y-%m-%dT%H:%M")
            for t in recorded_span(folder)
        )
        raise ConfigurationError(f"--from, --until: nothing lies between; there is {span}")
    return begin, end


def _local(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r}: give the city's own time, like 2014-08-04T07:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(TIMEZONE))
    return round(moment.timestamp() * 1000)


def moved_to_present(end_ms: int, present_ms: int, timezone: str = TIMEZONE) -> int:
    """Return by how much to move recorded times so that ``end_ms`` is in the last seven days.

    By whole weeks of local time: weekday and time of day of the recording's end stay. Where
    clocks change within the moved part, times before the change are off by that hour.
    """
    zone = ZoneInfo(timezone)
    end = datetime.fromtimestamp(end_ms / 1000, zone).replace(tzinfo=None)
    present = datetime.fromtimestamp(present_ms / 1000, zone).replace(tzinfo=None)
    moved = end + (present - end) // _WEEK * _WEEK
    moved_ms = round(moved.replace(tzinfo=zone).astimezone(UTC).timestamp() * 1000)
    if moved_ms > present_ms:  # within the hour that a change of clocks repeats
        moved_ms -= int(_WEEK.total_seconds() * 1000)
    return moved_ms - end_ms


def read_city_recording(
    folder: Path, begin_ms: int | None = None, end_ms: int | None = None
) -> CityRecording:
    """Return the city and its readings with ``begin_ms`` <= ts <= ``end_ms`` (as recorded).

    Raise ConfigurationError that names the file which is missing or wrong.
    """
    path = _readings_file(folder)
    streets = _streets(folder)
    index = {street.id: i for i, street in enumerate(streets)}
    bounds = (begin_ms, end_ms)
    garages, parking = _parking(folder, bounds)
    return CityRecording(streets, _street_readings(path, index, bounds), garages, parking)


def _streets(folder: Path) -> tuple[Street, ...]:
    path = _one_of(folder, "*_streets.csv")
    if path is None:
        raise ConfigurationError(f"--replay {folder}: there is no *_streets.csv")
    columns = (
        "street",
        "from_street",
        "to_street",
        "from_postal_code",
        "from_node",
        "to_node",
        "from_lon",
        "from_lat",
        "to_lon",
        "to_lat",
        "length_m",
        "usual_speed_kmh",
    )
    found = _table(path, columns)
    return tuple(
        Street(
            id=str(street),
            name=str(a) if a == b else f"{a} / {b}",
            postal_code=str(code),
            nodes=(str(node_a), str(node_b)),
            ends=((lon_a, lat_a), (lon_b, lat_b)),
            length_m=float(length),
            usual_kmh=float(speed),
        )
        for street, a, b, code, node_a, node_b, lon_a, lat_a, lon_b, lat_b, length, speed in zip(
            *found.values(), strict=True
        )
    )


def _street_readings(
    path: Path, index: dict[str, int], bounds: tuple[int | None, int | None]
) -> StreetReadings:
    wanted = _between(pc.field("ts"), bounds, pa.timestamp("ms"))
    try:
        columns = ["street", "ts", "speed_kmh", "vehicles"]
        table = ds.dataset(path).to_table(columns=columns, filter=wanted)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    names, codes = np.unique(table["street"].to_numpy(), return_inverse=True)
    unknown = [str(name) for name in names.tolist() if str(name) not in index]
    if unknown:
        raise ConfigurationError(f"{path}: street {unknown[0]} is not in *_streets.csv")
    street = np.array([index[str(name)] for name in names.tolist()], np.intp)[codes]
    ts = table["ts"].cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
    order = np.lexsort((street, ts))
    return StreetReadings(
        ts[order],
        street[order],
        table["speed_kmh"].to_numpy().astype(np.float64)[order],
        table["vehicles"].to_numpy().astype(np.float64)[order],
    )


def _between(field: pc.Expression, bounds: tuple[int | None, int | None], type_: Any) -> Any:
    begin, end = bounds
    wanted = field.is_valid()
    if begin is not None:
        wanted &= field >= pa.scalar(begin, type_)
    if end is not None:
        wanted &= field <= pa.scalar(end, type_)
    return wanted


def _parking(
    folder: Path, bounds: tuple[int | None, int | None]
) -> tuple[Garages, ParkingReadings]:
    garages_file, readings_file = (
        _one_of(folder, "*_garages.csv"),
        _one_of(folder, "*_parking.parquet"),
    )
    if garages_file is None or readings_file is None:
        none = np.zeros(0)
        nothing = ParkingReadings(np.zeros(0, np.int64), np.zeros(0, np.intp), none, none)
        return Garages([], none, none), nothing
    found = _table(garages_file, ("garagecode", "longitude", "latitude"))
    ids = [str(code) for code in found["garagecode"]]
    garages = Garages(ids, np.array(found["longitude"]), np.array(found["latitude"]))
    try:
        table = pq.read_table(readings_file)
        times = pc.assume_timezone(
            pc.cast(table["updatetime"], pa.timestamp("ms")),
            TIMEZONE,
            ambiguous="earliest",
            nonexistent="latest",
        )
        ts = pc.cast(times, pa.int64()).to_numpy()
        names = table["garagecode"].to_pylist()
        vehicles = table["vehiclecount"].to_numpy().astype(np.float64)
        spaces = table["totalspaces"].to_numpy().astype(np.float64)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigurationError(f"{readings_file}: {error}") from error
    index = {name: i for i, name in enumerate(ids)}
    garage = np.array([index.get(name, -1) for name in names], np.intp)
    begin, end = bounds
    kept = garage >= 0
    kept &= ts >= (ts.min() if begin is None else begin)
    kept &= ts <= (ts.max() if end is None else end)
    order = np.flatnonzero(kept)[np.lexsort((garage[kept], ts[kept]))]
    return garages, ParkingReadings(ts[order], garage[order], vehicles[order], spaces[order])
