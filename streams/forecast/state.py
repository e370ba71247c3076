"""What a forecaster knows, as arrays and as bytes: its recent values, and what it has learned.

The bytes are a compressed ``npz`` archive without pickles. Segments are known by their ids, so
that a network to which segments were added takes up what was learned of the others; whatever is
not put back stays young.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import DataError
from streams.forecast.series import SeriesForecaster

__all__ = [
    "Arrays",
    "Members",
    "get_array",
    "learned_arrays",
    "pack",
    "put_learned",
    "put_recent",
    "put_shared",
    "recent_arrays",
    "shared_arrays",
    "unpack",
]

Arrays = dict[str, NDArray[Any]]

_RECENT = ("lags", "long", "level", "quantile", "usual", "seen", "age")


@dataclass(frozen=True)
class Members:
    """Where the segments of a dump are: positions in it, and the same segments' here."""

    there: NDArray[np.intp]
    here: NDArray[np.intp]

    @classmethod
    def of(cls, dumped: NDArray[np.str_], ids: list[str]) -> Members:
        """Match the ids of a dump with those of a network, in any order."""
        _, there, here = np.intersect1d(dumped, np.array(ids, np.str_), return_indices=True)
        return cls(there, here)


def pack(arrays: Arrays) -> bytes:
    """Return the arrays as bytes; equal arrays give equal bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> Arrays:
    """Return the arrays in ``data``; raise DataError if they are not of ``pack``."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            "forecast_state",
            f"forecast state of {len(data)} bytes does not decode ({error}); "
            "leave it out, and the forecaster learns anew",
        ) from error


def get_array(arrays: Arrays, name: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return an array of the dump; raise DataError where it is missing or of another shape."""
    found = arrays.get(name)
    if found is None or (shape is not None and found.shape != shape):
        raise DataError(
            "forecast_state",
            f"forecast state: {name!r} is {'missing' if found is None else found.shape}, "
            f"expected shape {shape}; it is of another version or of other settings: "
            "leave it out, and the forecaster learns anew",
        )
    return found


def recent_arrays(series: SeriesForecaster) -> Arrays:
    """Return the last values of all series, and how far past days are from this one."""
    arrays: Arrays = {name: getattr(series.recent, name) for name in _RECENT}
    arrays["step"] = np.array(-1 if series.step is None else series.step)
    arrays["distance"] = series.days.distance
    return arrays


def put_recent(series: SeriesForecaster, arrays: Arrays, members: Members) -> None:
    """Put back what ``recent_arrays`` gave."""
    distance = get_array(arrays, "distance", series.days.distance.shape)
    step = int(get_array(arrays, "step", ()))
    for name in _RECENT:
        target = getattr(series.recent, name)
        found = get_array(arrays, name)
        get_array(arrays, name, (*target.shape[:-1], found.shape[-1] if found.ndim else 0))
        target[..., members.here] = found[..., members.there]
    series.days.distance = distance
    series.resume(None if step < 0 else step)


def _shared_parts(series: SeriesForecaster) -> Arrays:
    intervals = series.intervals
    return {
        "cross": series.shared.cross,
        "weights": series.shared.weights,
        "shared_product": series.shared_trust.product,
        "shared_square": series.shared_trust.square,
        "own_product": series.own_trust.product,
        "own_square": series.own_trust.square,
        "low": intervals.low,
        "high": intervals.high,
        "size": intervals.size,
    }


def shared_arrays(series: SeriesForecaster) -> Arrays:
    """Return what all series have learned together."""
    # The sums of products are symmetric, large, and need no more than seven digits.
    gram = series.shared.gram
    half = gram[np.triu_indices_from(gram)].astype(np.float32)
    return {**_shared_parts(series), "gram": half}


def put_shared(series: SeriesForecaster, arrays: Arrays) -> None:
    """Put back what ``shared_arrays`` gave."""
    targets = _shared_parts(series)
    found = {name: get_array(arrays, name, target.shape) for name, target in targets.items()}
    gram = series.shared.gram
    upper = np.triu_indices_from(gram)
    half = get_array(arrays, "gram", upper[0].shape)
    for name, target in targets.items():
        target[...] = found[name]
    gram[upper] = half
    gram.T[upper] = half


def _own_parts(series: SeriesForecaster) -> Arrays:
    return {
        "own_gram": series.own.gram,
        "own_cross": series.own.cross,
        "own_weights": series.own.weights,
        "factor": series.intervals.factor,
    }


def learned_arrays(series: SeriesForecaster, chosen: NDArray[np.intp], ids: list[str]) -> Arrays:
    """Return what was learned of the ``chosen`` series of those called ``ids``: also past days."""
    parts = {name: part[chosen] for name, part in _own_parts(series).items()}
    index = series.neighbours.index[chosen]
    return {
        **parts,
        # Half precision: 0.05 km/h at 100 km/h, and 4 veh/h at 8,000.
        "slots": series.days.slots[:, chosen].astype(np.float16),
        "newest_slot": np.array(-1 if series.days.newest is None else series.days.newest),
        "neighbours": np.array(ids, np.str_)[index],
    }


def put_learned(series: SeriesForecaster, arrays: Arrays, members: Members, ids: list[str]) -> None:
    """Put back what ``learned_arrays`` gave; neighbours that are no more are left out."""
    count = len(get_array(arrays, "factor"))
    targets = _own_parts(series)
    found = {name: get_array(arrays, name, (count, *t.shape[1:])) for name, t in targets.items()}
    slots = get_array(arrays, "slots", (len(series.days.slots), count))
    names = get_array(arrays, "neighbours", (count, series.neighbours.index.shape[1]))
    newest = int(get_array(arrays, "newest_slot", ()))
    for name, target in targets.items():
        target[members.here] = found[name][members.there]
    if newest >= 0:
        series.days.put(newest, members.here, slots[:, members.there])
    place = {name: index for index, name in enumerate(ids)}
    for there, here in zip(members.there.tolist(), members.here.tolist(), strict=True):
        known = [place.get(str(name), here) for name in names[there]]
        series.neighbours.index[here] = known
