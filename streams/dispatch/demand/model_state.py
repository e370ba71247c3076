"""The arrival model as items: one per service, of what was learned and of the present hour."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.arrivals import HOURS_AHEAD, ArrivalModel
from streams.runtime.state_items import dump, foreign_item, load

__all__ = ["dump_learned", "put_learned"]

_AREA_ARRAYS = ("came", "exposed", "lately", "usually")


def dump_learned(model: ArrivalModel, service: int) -> bytes:
    """Return what the model learned of a service until the end of the last hour."""
    arrays: dict[str, NDArray[Any]] = {
        **{name: getattr(model, name)[:, service] for name in _AREA_ARRAYS},
        "shape_came": model.shape.came[service],
        "shape_flat": model.shape.flat[service],
        "dispersion": model.dispersion[service],
        "made": np.array([made[:, service] for made in model.made]).reshape(-1, HOURS_AHEAD),
    }
    return dump({name: np.ascontiguousarray(a, "<f8").tobytes() for name, a in arrays.items()})


def put_learned(
    model: ArrivalModel, service: int, key: str, data: bytes, rows: NDArray[np.intp]
) -> None:
    """Put back what ``dump_learned`` gave; raise DataError, naming the key, for other bytes.

    ``rows`` are those of the areas then, in their order; an area that was not there then has
    seen nothing.
    """
    try:
        stored = load("demand", key, data, dict[str, bytes])
        arrays = {name: np.frombuffer(raw, "<f8") for name, raw in stored.items()}
        areas = len(arrays["came"])
        for name in _AREA_ARRAYS:
            getattr(model, name)[rows[:areas], service] = arrays[name]
        model.shape.came[service] = arrays["shape_came"]
        model.shape.flat[service] = arrays["shape_flat"]
        model.dispersion[service] = arrays["dispersion"]
        made = arrays["made"].reshape(-1, areas, HOURS_AHEAD) if areas else np.zeros((0, 0, 0))
    except (KeyError, ValueError) as error:
        problem = f"{len(data)} bytes are no learned arrivals ({error})"
        raise foreign_item("demand", key, problem) from error
    model.shape.refresh()
    _put_made(model, service, made, rows[: made.shape[1]])


def _put_made(
    model: ArrivalModel, service: int, made: NDArray[np.float64], rows: NDArray[np.intp]
) -> None:
    """Put a service's forecasts back; those that were not kept are NaN and teach nothing."""
    shape = (*model.now.shape, HOURS_AHEAD)
    before = list(model.made)
    young = [np.full(shape, np.nan) for _ in range(max(len(made) - len(before), 0))]
    kept = deque([*young, *before], maxlen=HOURS_AHEAD)
    for number in range(1, len(made) + 1):
        kept[-number][rows, service] = made[-number]
    model.made = kept
