"""Load the city model into areas, segments and sensors, replacing what was loaded before.

What the model no longer has stays: its readings are still there.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from civicstream.city import City, Sensors
from sinks.database.copy_binary import ColumnType, copy_buffer

__all__ = ["load_city"]

Connection = psycopg.Connection[tuple[Any, ...]]

_CHUNK = 50_000
"""Sensors per COPY message: some megabytes."""

_COLUMNS = ("sensor_key", "kind", "area", "sensor", "segment", "lane", "interval_s", "lon", "lat")
_TYPES: tuple[ColumnType, ...] = (
    "int8",
    "text",
    "text",
    "text",
    "text",
    "int4",
    "float8",
    "float8",
    "float8",
)


def load_city(connection: Connection, city: City) -> int:
    """Upsert the whole model in the caller's transaction; return the number of sensors."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True
    ) as progress:
        task = progress.add_task("areas and segments")
        _load_areas(connection, city)
        _load_segments(connection, city)
        progress.update(task, description=f"{len(city.sensors):,} sensors")
        _load_sensors(connection, city)
    return len(city.sensors)


def _geometry(shape: str, coordinates: Any) -> str:
    return json.dumps({"type": shape, "coordinates": coordinates})


def _load_areas(connection: Connection, city: City) -> None:
    connection.cursor().executemany(
        "INSERT INTO areas VALUES (%s, %s, %s) ON CONFLICT (id) "
        "DO UPDATE SET name = excluded.name, outline = excluded.outline",
        [(a.id, a.name, _geometry("Polygon", [a.outline])) for a in city.areas],
    )


def _load_segments(connection: Connection, city: City) -> None:
    names = (
        "area",
        "corridor",
        "position",
        "road_class",
        "lanes",
        "length_m",
        "free_flow_kmh",
        "line",
        "upstream",
        "downstream",
    )
    updates = ", ".join(f"{name} = excluded.{name}" for name in names)
    statement = (
        f"INSERT INTO segments (id, {', '.join(names)}) "  # noqa: S608 names from above
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        f"ON CONFLICT (id) DO UPDATE SET {updates}"
    )
    connection.cursor().executemany(
        statement.encode(),
        [
            (
                s.id,
                s.area,
                s.corridor,
                s.position,
                s.road_class,
                s.lanes,
                s.length_m,
                s.free_flow_kmh,
                _geometry("LineString", s.line),
                list(s.upstream),
                list(s.downstream),
            )
            for s in city.segments
        ],
    )


def _load_sensors(connection: Connection, city: City) -> None:
    listed = ", ".join(_COLUMNS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
    connection.execute(
        "CREATE TEMPORARY TABLE incoming_sensors (LIKE sensors INCLUDING DEFAULTS) ON COMMIT DROP"
    )
    with connection.cursor() as cursor:
        for start in range(0, len(city.sensors), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(city.sensors)))
            with cursor.copy(
                f"COPY incoming_sensors ({listed}) FROM STDIN (FORMAT BINARY)".encode()
            ) as copy:
                copy.write(copy_buffer(_TYPES, _sensor_columns(city, rows)))
        # Rows that are as they should be are left alone: running init again must not rewrite
        # a million rows under a running sink.
        changed = ", ".join(f"sensors.{name}" for name in _COLUMNS[1:])
        wanted = ", ".join(f"excluded.{name}" for name in _COLUMNS[1:])
        cursor.execute(
            f"INSERT INTO sensors ({listed}) SELECT {listed} FROM incoming_sensors "  # noqa: S608 names from above
            f"ON CONFLICT (sensor_key) DO UPDATE SET {updates} "
            f"WHERE ({changed}) IS DISTINCT FROM ({wanted})".encode()
        )


def _sensor_columns(city: City, rows: NDArray[np.intp]) -> list[Any]:
    s = city.sensors
    areas = [area.id for area in city.areas]
    segments: list[str | None] = [*(segment.id for segment in city.segments), None]
    on_segment = s.segment[rows]  # -1 takes the None at the end
    return [
        city.sensor_keys[rows],
        [Sensors.kind_names[k] for k in s.kind[rows].tolist()],
        [areas[a] for a in s.area[rows].tolist()],
        [s.ids[i] for i in rows.tolist()],
        [segments[i] for i in on_segment.tolist()],
        np.where(on_segment >= 0, s.lane[rows], np.nan),
        s.interval_s[rows],
        s.lon[rows],
        s.lat[rows],
    ]
