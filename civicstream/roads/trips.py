"""Travel times between many places at once, at speeds that change while driving.

Shortest paths by Dijkstra's algorithm (scipy.sparse.csgraph) from the origins or from the
destinations, whichever is less work. From the origins the search is exact for speeds that are
piecewise constant over quarters of an hour: the nodes reached within the first quarter are
settled at its speeds, then the search goes on from their edge at those of the next (an edge is
driven at the speed of the quarter in which it is entered). From the destinations the paths are
the shortest at present speeds, and their times are then added up at the speeds of the quarter
in which each edge is entered.
"""

from __future__ import annotations

from civicstream.roads.backward import BackwardTrips
from civicstream.roads.forward import ForwardTrips
from civicstream.roads.graph import Places
from civicstream.roads.routes import Trips
from civicstream.roads.speeds import RoadSpeeds

__all__ = ["find_trips"]


def find_trips(speeds: RoadSpeeds, origins: Places, destinations: Places) -> Trips:
    """Return travel times and routes, setting off now."""
    # Adding up the times edge by edge makes a search from a destination dearer.
    if 3 * len(destinations) < len(origins):
        return BackwardTrips(speeds, origins, destinations)
    return ForwardTrips(speeds, origins, destinations)
