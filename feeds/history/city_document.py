"""The city model as one GeoJSON document, made once and kept ready to be sent."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any

import msgspec

from civicstream.city import City
from civicstream.geojson import to_geojson
from feeds.history.encodings import items
from feeds.history.history_store import HistoryStore
from feeds.history.road_lists import AREAS, SEGMENTS, SENSORS
from feeds.history.statements import Page, page_statement
from feeds.problems import Problem

__all__ = ["CityDocument", "Document"]

_EVERYTHING = 10_000_000


@dataclass(frozen=True)
class Document:
    """The bytes, and the same with gzip."""

    plain: bytes
    packed: bytes


class CityDocument:
    """From the model of the settings; without one from the database."""

    def __init__(self, city: City | None, store: HistoryStore) -> None:
        self._city = city
        self._store = store
        self._document: Document | None = None
        self._making = asyncio.Lock()

    async def get(self) -> Document:
        """Return the document; raise Problem 404 while no model was ever loaded."""
        async with self._making:
            if self._document is None:
                self._document = await self._make()
        return self._document

    async def _make(self) -> Document:
        if self._city is not None:
            return await asyncio.to_thread(_from_model, self._city)
        found = {
            feature: await self._store.fetch(*page_statement(listing, Page(_EVERYTHING)))
            for feature, listing in (("area", AREAS), ("segment", SEGMENTS), ("sensor", SENSORS))
        }
        if not found["area"]:
            raise Problem(
                404,
                "there is no city model; set CIVICSTREAM_CITY__FILE and run `civicstream init`",
            )
        return await asyncio.to_thread(_from_rows, found)


def _from_model(city: City) -> Document:
    return _packed(to_geojson(city))


def _packed(plain: bytes) -> Document:
    return Document(plain, gzip.compress(plain, 6, mtime=0))


def _from_rows(found: dict[str, Any]) -> Document:
    features = [
        *(_feature("area", row, ("id", "name")) for row in items(AREAS.columns, found["area"])),
        *(
            _feature("segment", row, tuple(n for n in row if n != "geometry"))
            for row in items(SEGMENTS.columns, found["segment"])
        ),
        *(
            _sensor(row)
            for row in items(SENSORS.columns, found["sensor"])
            if row["lon"] is not None
        ),
    ]
    return _packed(msgspec.json.encode({"type": "FeatureCollection", "features": features}))


def _feature(feature: str, row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": f"{feature}/{row['id']}",
        "geometry": row["geometry"],
        "properties": {"feature": feature, **{name: row[name] for name in names}},
    }


def _sensor(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sensor as ``civicstream.geojson`` writes it: its id is that within kind and area."""
    point = {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
    named = {**row, "id": row["sensor"], "geometry": point}
    names = ("id", "kind", "area", "interval_s", "segment", "lane")
    return _feature("sensor", named, tuple(name for name in names if named[name] is not None))
