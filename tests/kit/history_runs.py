"""The history API over a real database, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import psycopg
from starlette.applications import Starlette
from starlette.routing import Mount

from civicstream.city import Area, City, Segment, Sensors
from civicstream.events import EnvironmentResult, EnvironmentRow, TrafficResult, TrafficRow
from civicstream.settings import CitySettings, FeedsSettings, Settings
from feeds.api import API_PATH, make_api
from feeds.history.routes import History
from sinks.database.reference import load_city
from tests.kit.sink_rows import Loader, as_role

CITY = City(
    (
        Area("north", "North End", ((13.0, 52.0), (13.5, 52.0), (13.5, 52.6), (13.0, 52.0))),
        Area("south", "South End", ((13.0, 51.0), (13.5, 51.0), (13.5, 52.0), (13.0, 51.0))),
    ),
    tuple(
        Segment(
            id=name,
            area=area,
            corridor="A1",
            position=position,
            road_class="freeway",
            lanes=lanes,
            length_m=length,
            free_flow_kmh=100.0,
            line=((13.0 + position, 52.0), (13.2 + position, 52.2)),
        )
        for position, (name, area, lanes, length) in enumerate(
            [("s1", "north", 2, 500.0), ("s2", "north", 3, 1500.0), ("s3", "south", 2, 800.0)]
        )
    ),
    Sensors.from_rows(
        [
            ("q1", list(Sensors.kind_names).index("noise"), 0, -1, 0, 60.0, 13.41, 52.51),
            ("t1", list(Sensors.kind_names).index("traffic"), 0, 0, 1, 20.0, 13.1, 52.1),
        ]
    ),
)


class Api:
    """Asks the application; ``now`` is a clock that stands still, or the real one while None."""

    def __init__(self, settings: Settings, city: City | None, now: int | None) -> None:
        self._history = History(settings, city, **({} if now is None else {"now": lambda: now}))
        mounts = [Mount(API_PATH, app=make_api([self._history.router()]))]
        app = Starlette(routes=[*mounts, *self._history.open_data()])
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 1))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://city.test")
        self._runner = asyncio.Runner()

    def __enter__(self) -> Api:
        self._runner.run(self._history.open())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._history.close())
        self._runner.close()

    def get(
        self, path: str, headers: dict[str, str] | None = None, **query: object
    ) -> httpx.Response:
        """GET below /api/v1, or an absolute path; ``from_`` stands for ``from``."""
        target = path if path.startswith("/") else f"{API_PATH}/{path}"
        asked = {name.rstrip("_"): str(value) for name, value in query.items()}
        return self._runner.run(
            self._client.get(target, params=asked or None, headers=headers or {})
        )

    def items(self, path: str, **query: object) -> list[dict[str, Any]]:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


@contextmanager
def history(
    url: str, *, now: int | None = None, city: City | None = None, **feeds: Any
) -> Iterator[Api]:
    """The API as the reader of the database at ``url`` (the superuser's)."""
    reader = as_role(url, "civicstream_reader")
    settings = Settings(
        feeds=FeedsSettings(database_url=reader, **feeds),
        city=CitySettings(timezone="Europe/Berlin"),
    )
    with Api(settings, city, now) as api:
        yield api


def put_city(url: str, city: City = CITY) -> None:
    with psycopg.connect(url) as connection:
        load_city(connection, city)


def put(loaded: Loader, topic: str, *events: msgspec.Struct) -> None:
    """Write events as the sink does."""
    records = [loaded.record(f"city.{topic}", msgspec.json.encode(e), []) for e in events]
    loaded.write(*records)
    assert not loaded.dead_letters, loaded.dead_letters


def traffic(
    start: int, *rows: TrafficRow, area: str = "north", width: int = 60_000
) -> TrafficResult:
    """Return the final result of one window."""
    return TrafficResult(area, start, start + width, "final", start + width + 30_000, list(rows))


def row(segment: str, vehicles: float, speed: float | None, level: str | None = "C") -> TrafficRow:
    """Return a segment's row of a window of one minute."""
    return TrafficRow(
        segment=segment,
        readings=3,
        vehicles=vehicles,
        flow_veh_h=vehicles * 60,
        time_mean_speed_kmh=speed and speed + 2,
        space_mean_speed_kmh=speed,
        p85_speed_kmh=None,
        occupancy=0.1,
        density_veh_km_lane=vehicles * 60 / speed / 2 if speed else None,
        level_of_service=level,
        travel_time_index=speed and 100 / speed,
        coverage=1.0,
    )


def noise_result(start: int, mean: float, readings: int, area: str = "north") -> EnvironmentResult:
    measured = EnvironmentRow(
        measure="LAeq",
        readings=readings,
        sensors=2,
        mean=mean,
        min=mean - 5,
        max=mean + 5,
        p95=mean + 4,
    )
    end = start + 60_000
    return EnvironmentResult(
        kind="noise",
        area=area,
        window_start=start,
        window_end=end,
        status="final",
        computed_at=end + 30_000,
        readings=readings,
        sensors=2,
        measures=[measured],
    )
