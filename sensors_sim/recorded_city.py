"""The city model of a recorded city: streets joined where their nodes meet, in districts.

The districts are made, as the recording has none but postal codes, of which some hold a fifth of
all streets and some one: centres among the streets, and each street in the district of the
nearest. So they are of bounded size, convex, and tile the map.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Area, City, Point, Segment, Sensors
from sensors_sim.city_recording import PERIOD_MS, CityRecording, Street

__all__ = ["recorded_city"]

Floats = NDArray[np.float64]

_STREETS_PER_DISTRICT = 32
"""About this many; what one district publishes for a window stays a small record."""

_ROUNDS = 3
"""Of moving the centres: districts become compact, and stay about as large as they began."""

_MARGIN = 0.02
"""Of the whole map, around the outermost streets."""

_FASTEST_KMH = 130.0
"""One usual speed of the Aarhus recording is 195 km/h."""

_PARKING_INTERVAL_S = 1_800.0


def recorded_city(recording: CityRecording) -> City:
    """Return the city, its sensors the streets (in their order), then the car parks.

    Every street is one segment with one detector. Of lanes the recording says nothing: one each,
    so that flow is what was counted. None is a freeway: density cannot be known from the part of
    the vehicles that Bluetooth sees, so the level of service is that of streets, by speed.
    """
    streets, garages = recording.streets, recording.garages
    where = _middles(streets)
    shrink = np.cos(np.radians(where[:, 1].mean()))
    scale = np.array([shrink, 1.0])
    centres = _centres(where * scale)
    district = _nearest(where * scale, centres)
    parks = np.stack([garages.lon, garages.lat], axis=1)
    park_district = _nearest(parks * scale, centres)
    ends = np.array([end for street in streets for end in street.ends])
    corners = _corners(np.concatenate([ends, parks]) * scale)
    names = _district_names(streets, district, len(centres))
    areas = tuple(
        Area(f"aarhus-{i + 1:02d}", name, _ring(_cell(i, centres, corners) / scale))
        for i, name in enumerate(names)
    )
    segments = _segments(streets, [areas[i].id for i in district.tolist()])
    traffic, parking = Sensors.kind_names.index("traffic"), Sensors.kind_names.index("parking")
    rows = [
        (s.id, traffic, int(district[i]), i, 0, PERIOD_MS / 1000, *_point(where[i]))
        for i, s in enumerate(streets)
    ]
    rows += [
        (name, parking, int(park_district[i]), -1, 0, _PARKING_INTERVAL_S, *_point(parks[i]))
        for i, name in enumerate(garages.ids)
    ]
    return City(areas, segments, Sensors.from_rows(rows))


def _middles(streets: Sequence[Street]) -> Floats:
    middles: Floats = np.array([street.ends for street in streets]).mean(axis=1)
    return middles


def _point(place: Floats) -> Point:
    return round(float(place[0]), 6), round(float(place[1]), 6)


def _centres(places: Floats) -> Floats:
    """Return the districts' centres [k, 2]: of halves of halves, then moved amidst their own."""
    parts = [places]
    while max(map(len, parts)) > _STREETS_PER_DISTRICT:
        largest = max(range(len(parts)), key=lambda i: len(parts[i]))
        parts[largest : largest + 1] = _halves(parts[largest])
    centres = np.array([part.mean(axis=0) for part in parts])
    for _ in range(_ROUNDS):
        own = _nearest(places, centres)
        centres = np.array([places[own == i].mean(axis=0) for i in range(len(centres))])
    return centres


def _halves(places: Floats) -> list[Floats]:
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = np.argsort(places[:, axis], kind="stable")
    return [places[order[: len(order) // 2]], places[order[len(order) // 2 :]]]


def _nearest(places: Floats, centres: Floats) -> NDArray[np.intp]:
    distance = np.linalg.norm(places[:, None, :] - centres[None, :, :], axis=2)
    nearest: NDArray[np.intp] = np.argmin(distance, axis=1)
    return nearest


def _corners(places: Floats) -> Floats:
    """Return the corners of the map, counter-clockwise, a margin around all places."""
    low, high = places.min(axis=0), places.max(axis=0)
    margin = _MARGIN * (high - low)
    (west, south), (east, north) = low - margin, high + margin
    return np.array([(west, south), (east, south), (east, north), (west, north)])


def _cell(i: int, centres: Floats, corners: Floats) -> Floats:
    """Return the corners [n, 2] of what is nearer to centre ``i`` than to the others (Voronoi)."""
    ring = corners
    for j, other in enumerate(centres):
        if j != i:
            towards = other - centres[i]
            ring = _cut(ring, towards, float(towards @ (centres[i] + other) / 2))
    return ring


def _cut(ring: Floats, normal: Floats, limit: float) -> Floats:
    """Return the part of a convex ring where ``normal`` · place <= ``limit``."""
    beyond = ring @ normal - limit
    kept = []
    for a, b, over_a, over_b in zip(
        ring, np.roll(ring, -1, axis=0), beyond, np.roll(beyond, -1), strict=True
    ):
        if over_a <= 0:
            kept.append(a)
        if (over_a < 0) != (over_b < 0) and over_a != over_b:
            kept.append(a + (b - a) * over_a / (over_a - over_b))
    return np.array(kept).reshape(-1, 2)


def _ring(corners: Floats) -> tuple[Point, ...]:
    points = [_point(corner) for corner in corners]
    return (*points, points[0])


def _district_names(
    streets: Sequence[Street], district: NDArray[np.intp], districts: int
) -> list[str]:
    """Return names such as ``8200 Randersvej``: postal code and the street with most sections.

    A street gives its name to one district only: to that with most of it.
    """
    names: dict[int, str] = {}
    sections: list[Counter[str]] = [Counter() for _ in range(districts)]
    codes: list[Counter[str]] = [Counter() for _ in range(districts)]
    for street, i in zip(streets, district.tolist(), strict=True):
        sections[i].update(street.name.split(" / "))
        codes[i][street.postal_code] += 1
    offers = sorted(
        ((-n, name, i) for i, found in enumerate(sections) for name, n in found.items())
    )
    taken: set[str] = set()
    for _, name, i in offers:
        # Numbers are those of main roads; people do not call a district so.
        if i not in names and name not in taken and not name.isdigit():
            names[i] = name
            taken.add(name)
    return [
        f"{codes[i].most_common(1)[0][0]} {names.get(i, f'district {i + 1}')}"
        for i in range(districts)
    ]


def _segments(streets: Sequence[Street], areas: Sequence[str]) -> tuple[Segment, ...]:
    leaving: dict[str, list[Street]] = defaultdict(list)
    arriving: dict[str, list[Street]] = defaultdict(list)
    for street in streets:
        leaving[street.nodes[0]].append(street)
        arriving[street.nodes[1]].append(street)
    nodes = _node_places(streets)
    sections: Counter[str] = Counter()
    found = []
    for street, area in zip(streets, areas, strict=True):
        back = street.nodes[::-1]
        found.append(
            Segment(
                id=street.id,
                area=area,
                corridor=street.name,
                position=sections[street.name],
                road_class="street",
                lanes=1,
                length_m=street.length_m,
                free_flow_kmh=min(street.usual_kmh, _FASTEST_KMH),
                line=(nodes[street.nodes[0]], nodes[street.nodes[1]]),
                upstream=tuple(s.id for s in arriving[street.nodes[0]] if s.nodes != back),
                downstream=tuple(s.id for s in leaving[street.nodes[1]] if s.nodes != back),
            )
        )
        sections[street.name] += 1
    return tuple(found)


def _node_places(streets: Sequence[Street]) -> dict[str, Point]:
    """Return where the nodes are: the streets that meet there say so to within 20 m."""
    ends: dict[str, list[Point]] = defaultdict(list)
    for street in streets:
        for node, end in zip(street.nodes, street.ends, strict=True):
            ends[node].append(end)
    return {node: _point(np.array(places).mean(axis=0)) for node, places in ends.items()}
