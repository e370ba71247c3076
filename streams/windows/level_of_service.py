"""Level of service A..F of road segments, after the Highway Capacity Manual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["freeway_level_of_service", "street_level_of_service"]

_KM_PER_MILE = 1.609344

# HCM 6th edition, exhibit 12-15: basic freeway segments, upper density of A..E [pc/mi/ln].
_FREEWAY_DENSITY = np.array([11, 18, 26, 35, 45]) / _KM_PER_MILE

# HCM 6th edition, exhibit 16-3: urban streets, least share of base free-flow speed of A..E.
_STREET_SHARE = np.array([0.80, 0.67, 0.50, 0.40, 0.30])

_LETTERS = np.array(list("ABCDEF"))


def freeway_level_of_service(density_veh_km_lane: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return the letter for each density [veh/km/lane]; '' where it is NaN.

    Vehicles are taken as passenger cars: detectors here do not recognise trucks.
    """
    letters = _LETTERS[np.searchsorted(_FREEWAY_DENSITY, density_veh_km_lane, side="left")]
    return np.where(np.isnan(density_veh_km_lane), "", letters)


def street_level_of_service(share_of_free_flow: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return the letter for each ratio of travel speed to free-flow speed; '' where NaN."""
    # Above 80 % is A; exactly 80 % is B, and so on down.
    letters = _LETTERS[(share_of_free_flow[:, None] <= _STREET_SHARE).sum(axis=1)]
    return np.where(np.isnan(share_of_free_flow), "", letters)
