"""What a road can carry, as far as its class and lanes say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.windows.network import RoadNetwork

__all__ = ["nominal_capacity_veh_h"]

_FREEWAY_VEH_H_LANE, _STREET_VEH_H_LANE = 2_200.0, 850.0
"""HCM 2010: a freeway lane less some lorries; a street lane through a signal that is green for
45 % of the time at 1,900 veh/h."""


def nominal_capacity_veh_h(network: RoadNetwork) -> NDArray[np.float64]:
    """Return each segment's capacity [n, veh/h] over all lanes."""
    lane = np.where(network.is_freeway, _FREEWAY_VEH_H_LANE, _STREET_VEH_H_LANE)
    return lane * network.lanes
