"""The roads of a city as a graph to drive on: built from its segments, searched by travel time.

Pure: the allocation of crews and the simulated crews both drive on it. Methods:
docs/allocation.md.
"""

from civicstream.roads.graph import Places, RoadGraph
from civicstream.roads.routes import Route, Trips
from civicstream.roads.speeds import SLICE_S, RoadSpeeds
from civicstream.roads.trips import find_trips

__all__ = ["SLICE_S", "Places", "RoadGraph", "RoadSpeeds", "Route", "Trips", "find_trips"]
