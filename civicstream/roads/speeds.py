"""How fast the edges of the graph are driven, now and in each quarter of an hour ahead."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from civicstream.roads.graph import LOCAL_KMH, RoadGraph

__all__ = ["SLICES", "SLICE_S", "RoadSpeeds"]

Floats = NDArray[np.float64]

SLICE_S = 900.0
SLICES = 5
"""Four quarters of an hour with a forecast, and what comes after them."""

_SLOWEST_KMH = 4.0
"""A segment whose detectors see nothing move is still passed by a crew at walking pace."""


class RoadSpeeds:
    """``seconds`` [5, e]: time to drive each edge when entered in each quarter of an hour ahead."""

    def __init__(self, graph: RoadGraph, slices_kmh: Floats) -> None:
        """``slices_kmh`` [5, segments]; not a number is free flow."""
        free = np.array([s.free_flow_kmh for s in graph.city.segments], np.float64)
        known = np.where(np.isnan(slices_kmh), free, slices_kmh)
        self.slices_kmh = np.maximum(known, _SLOWEST_KMH)
        self.graph = graph
        local = graph.segment < 0
        speed = np.where(local, LOCAL_KMH, self.slices_kmh[:, graph.segment])
        self.seconds: Floats = graph.length_m / (speed / 3.6)

    @classmethod
    def free_flow(cls, graph: RoadGraph) -> RoadSpeeds:
        return cls(graph, np.full((SLICES, len(graph.city.segments)), np.nan))

    @classmethod
    def of(cls, graph: RoadGraph, now_kmh: Floats, ahead_kmh: Mapping[int, Floats]) -> RoadSpeeds:
        """Return speeds from the present ones and forecasts {minutes ahead: [segments]}.

        A slice is driven at the mean of the speeds at its two ends; what is unknown is taken
        from the nearest earlier time that is known.
        """
        at = [now_kmh]
        for minutes in (15, 30, 45, 60):
            forecast = ahead_kmh.get(minutes, at[-1])
            at.append(np.where(np.isnan(forecast), at[-1], forecast))
        first_known = np.where(np.isnan(at[0]), at[1], at[0])
        ends = np.stack([first_known, *at[1:], at[-1]])
        return cls(graph, (ends[:-1] + ends[1:]) / 2)
