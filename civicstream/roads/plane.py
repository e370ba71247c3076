"""Geometry of roads on the local tangent plane, metres; vectorised over pieces of road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from civicstream.city import Segment
from civicstream.geo import METRES_PER_DEGREE

__all__ = ["Crossings", "NearestPiece", "Pieces", "Plane", "find_crossings"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_LONGEST_PIECE_M = 500.0
"""Neighbours are looked for within the longest piece's length, so no piece may be long."""

_SAMPLE_EVERY_M = 100.0
_SAMPLES_TRIED = 6


class Plane:
    """Equirectangular projection around a middle; below 0.1 % wrong within 50 km of it."""

    def __init__(self, lon: float, lat: float) -> None:
        self._middle = np.array([lon, lat])
        self._scale = METRES_PER_DEGREE * np.array([np.cos(np.radians(lat)), 1.0])

    @classmethod
    def around(cls, lonlat: Floats) -> Plane:
        """Return the plane around the middle of points [n, 2]."""
        lon, lat = lonlat.mean(axis=0) if len(lonlat) else (0.0, 0.0)
        return cls(float(lon), float(lat))

    def to_metres(self, lonlat: Floats) -> Floats:
        """Return x east, y north [n, 2] of lon, lat [n, 2]."""
        metres: Floats = (lonlat - self._middle) * self._scale
        return metres

    def to_degrees(self, metres: Floats) -> Floats:
        degrees: Floats = metres / self._scale + self._middle
        return degrees


@dataclass(frozen=True)
class Pieces:
    """Columns of p straight pieces of the segments; each a share ``from_..to`` of its segment."""

    segment: Indices
    start: Floats
    """[p, 2] metres."""
    end: Floats
    from_share: Floats
    to_share: Floats

    @classmethod
    def of(cls, segments: tuple[Segment, ...], plane: Plane) -> Pieces:
        """Cut the segments' lines at their vertices and into pieces of at most 500 m."""
        which: list[Indices] = []
        points: list[Floats] = []
        shares: list[Floats] = []
        for index, segment in enumerate(segments):
            line = plane.to_metres(np.array(segment.line, np.float64).reshape(-1, 2))
            along = np.append(0.0, np.cumsum(np.hypot(*np.diff(line, axis=0).T)))
            total = max(float(along[-1]), 1e-9)
            extra = np.arange(1, int(total // _LONGEST_PIECE_M) + 1) * _LONGEST_PIECE_M
            at = np.unique(np.concatenate([along, extra[extra < total]]))
            at = np.array([0.0, total]) if len(at) < 2 else at
            points.append(np.stack([np.interp(at, along, line[:, i]) for i in (0, 1)], axis=1))
            shares.append(at / total)
            which.append(np.full(len(at) - 1, index, np.intp))
        if not segments:
            none = np.zeros((0, 2))
            return cls(np.zeros(0, np.intp), none, none, np.zeros(0), np.zeros(0))
        return cls(
            np.concatenate(which),
            np.concatenate([p[:-1] for p in points]),
            np.concatenate([p[1:] for p in points]),
            np.concatenate([s[:-1] for s in shares]),
            np.concatenate([s[1:] for s in shares]),
        )

    def __len__(self) -> int:
        return len(self.segment)


@dataclass(frozen=True)
class Crossings:
    """Columns: segment ``first`` at ``first_share`` meets ``second`` at ``second_share``."""

    first: Indices
    second: Indices
    first_share: Floats
    second_share: Floats
    point: Floats
    """[c, 2] metres."""


def find_crossings(pieces: Pieces, corridor: Indices) -> Crossings:
    """Return where pieces of different corridors cross; ``corridor`` is by segment."""
    length = np.hypot(*(pieces.end - pieces.start).T)
    if len(pieces) > 1:
        tree = cKDTree((pieces.start + pieces.end) / 2)
        pairs = tree.query_pairs(float(length.max()) + 1.0, output_type="ndarray")
    else:
        pairs = np.zeros((0, 2), np.intp)
    a, b = pairs[:, 0], pairs[:, 1]
    different = corridor[pieces.segment[a]] != corridor[pieces.segment[b]]
    a, b = a[different], b[different]
    along_a = pieces.end[a] - pieces.start[a]
    along_b = pieces.end[b] - pieces.start[b]
    between = pieces.start[b] - pieces.start[a]
    turn = _cross(along_a, along_b)
    crossing = np.abs(turn) > 1e-9
    safe = np.where(crossing, turn, 1.0)
    on_a, on_b = _cross(between, along_b) / safe, _cross(between, along_a) / safe
    hit = crossing & (on_a >= 0) & (on_a <= 1) & (on_b >= 0) & (on_b <= 1)
    a, b, on_a, on_b = a[hit], b[hit], on_a[hit], on_b[hit]
    share_a, share_b = _share(pieces, a, on_a), _share(pieces, b, on_b)
    # A crossing where one piece ends and the next begins is found with both.
    names = np.stack([pieces.segment[a], pieces.segment[b], np.round(share_a * 1e5)], axis=1)
    _, once = np.unique(names, axis=0, return_index=True)
    return Crossings(
        pieces.segment[a][once],
        pieces.segment[b][once],
        share_a[once],
        share_b[once],
        (pieces.start[a] + on_a[:, None] * along_a[hit])[once],
    )


def _cross(a: Floats, b: Floats) -> Floats:
    product: Floats = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return product


def _share(pieces: Pieces, piece: Indices, on: Floats) -> Floats:
    first, last = pieces.from_share[piece], pieces.to_share[piece]
    share: Floats = first + on * (last - first)
    return share


class NearestPiece:
    """Finds the nearest piece of road to each of many points."""

    def __init__(self, pieces: Pieces) -> None:
        length = np.hypot(*(pieces.end - pieces.start).T)
        count = np.maximum(np.ceil(length / _SAMPLE_EVERY_M).astype(np.intp), 1) + 1
        self._pieces = pieces
        self._of = np.repeat(np.arange(len(pieces)), count)
        first = np.repeat(np.cumsum(count) - count, count)
        on = (np.arange(len(self._of)) - first) / (np.repeat(count, count) - 1)
        along = pieces.end[self._of] - pieces.start[self._of]
        self._tree = cKDTree(pieces.start[self._of] + on[:, None] * along)

    def find(self, points: Floats) -> tuple[Indices, Floats, Floats]:
        """Return segment, share of it and distance [m] for points [n, 2] in metres."""
        tried = min(_SAMPLES_TRIED, len(self._of))
        _, sample = self._tree.query(points, k=np.arange(1, tried + 1))
        piece = self._of[sample]
        start, along = self._pieces.start[piece], (self._pieces.end - self._pieces.start)[piece]
        square = np.maximum((along**2).sum(axis=-1), 1e-9)
        on = np.clip(((points[:, None] - start) * along).sum(axis=-1) / square, 0.0, 1.0)
        apart = points[:, None] - start - on[..., None] * along
        distance = np.hypot(apart[..., 0], apart[..., 1])
        rows, best = np.arange(len(points)), distance.argmin(axis=1)
        chosen = piece[rows, best]
        return (
            self._pieces.segment[chosen],
            _share(self._pieces, chosen, on[rows, best]),
            distance[rows, best],
        )
