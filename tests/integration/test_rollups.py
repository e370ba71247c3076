"""The roll-up views equal what a plain loop over the rows computes."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest

from civicstream.events import EnvironmentResult, EnvironmentRow, TrafficResult, TrafficRow
from sinks.database.rollups import SPANS, rollups
from sinks.database.timescale import continuous_aggregate, refresh_policy
from tests.kit.sink_input import frame_of, sensors
from tests.kit.sink_rows import Loader, loader

START = 1_780_009_140_000  # 22:59 UTC: the load crosses buckets of every span
WIDTH_MS = {"5min": 300_000, "1h": 3_600_000, "1d": 86_400_000}
MINUTE = 60_000


def traffic_results(rng: np.random.Generator) -> list[TrafficResult]:
    """Windows of two segments over two hours; some without speed, some without vehicles."""
    made = []
    for minute in range(120):
        rows = []
        for segment in ("s1", "s2"):
            vehicles = float(rng.integers(0, 40))
            seen = vehicles > 0 and rng.random() > 0.1
            space = float(rng.uniform(20, 90)) if seen else None
            rows.append(
                TrafficRow(
                    segment=segment,
                    readings=int(rng.integers(1, 9)),
                    vehicles=vehicles,
                    flow_veh_h=vehicles * 60,
                    time_mean_speed_kmh=space + 3 if space else None,
                    space_mean_speed_kmh=space,
                    p85_speed_kmh=None,
                    occupancy=float(rng.uniform(0, 1)) if rng.random() > 0.2 else None,
                    density_veh_km_lane=float(rng.uniform(0, 60)) if seen else None,
                    level_of_service="ABCDEF"[int(rng.integers(0, 6))],
                    travel_time_index=80 / space if space else None,
                    coverage=0.5,
                )
            )
        at = START + minute * MINUTE
        made.append(TrafficResult("a", at, at + MINUTE, "final", at + 99_000, rows))
    return made


def weighted(pairs: list[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in pairs if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def traffic_oracle(results: list[TrafficResult], width: int) -> dict[tuple[str, int], list[Any]]:
    grouped: dict[tuple[str, int], list[TrafficRow]] = defaultdict(list)
    for result in results:
        for row in result.segments:
            grouped[row.segment, result.window_start // width * width].append(row)
    found = {}
    for key, rows in grouped.items():
        moving = [r for r in rows if r.space_mean_speed_kmh]
        hours = sum(r.vehicles / r.space_mean_speed_kmh for r in moving if r.space_mean_speed_kmh)
        found[key] = [
            sum(r.readings for r in rows),
            sum(r.vehicles for r in rows),
            weighted([(r.flow_veh_h, 1) for r in rows]),
            weighted([(r.time_mean_speed_kmh, r.vehicles) for r in rows]),
            sum(r.vehicles for r in moving) / hours if hours else None,
            weighted([(r.occupancy, 1) for r in rows]),
            max(str(r.level_of_service) for r in rows),
            weighted([(r.travel_time_index, r.vehicles) for r in rows]),
        ]
    return found


def assert_close(found: list[Any], wanted: list[Any]) -> None:
    for a, b in zip(found, wanted, strict=True):
        if isinstance(b, float) and a is not None:
            assert math.isclose(a, b, rel_tol=1e-9)
        else:
            assert a == b


@pytest.fixture
def filled(database: str) -> Any:
    results = traffic_results(np.random.default_rng(4))
    with loader(database) as loaded:
        loaded.write(
            *(
                loaded.record("city.results.traffic", msgspec.json.encode(result), [])
                for result in results
            )
        )
        yield loaded, results


def test_traffic_equals_the_oracle_at_every_span(
    filled: tuple[Loader, list[TrafficResult]],
) -> None:
    loaded, results = filled
    for span in SPANS:
        rows = loaded.seen_by_reader(
            "SELECT segment, (extract(epoch FROM bucket) * 1000)::bigint, readings, vehicles, "
            "flow_veh_h, time_mean_speed_kmh, space_mean_speed_kmh, occupancy, "
            f"worst_level_of_service, travel_time_index FROM traffic_{span.suffix}"
        )
        wanted = traffic_oracle(results, WIDTH_MS[span.suffix])
        assert {(row[0], row[1]) for row in rows} == set(wanted)
        for row in rows:
            assert_close(list(row[2:]), wanted[row[0], row[1]])


def test_the_mean_of_an_environment_rollup_weighs_windows_by_their_readings(database: str) -> None:
    rows = [(3, 10.0, 5.0, 20.0), (1, 50.0, 50.0, 50.0)]
    with loader(database) as loaded:
        for i, (readings, mean, low, high) in enumerate(rows):
            at = START + i * MINUTE
            measure = EnvironmentRow(
                measure="pm10",
                readings=readings,
                sensors=readings,
                mean=mean,
                min=low,
                max=high,
                p95=high,
            )
            result = EnvironmentResult(
                kind="air",
                area="a",
                window_start=at,
                window_end=at + MINUTE,
                status="final",
                computed_at=at,
                readings=readings,
                sensors=readings,
                measures=[measure],
            )
            value = msgspec.json.encode(result)
            loaded.write(loaded.record("city.results.environment", value, []))
        found = loaded.seen_by_reader(
            "SELECT windows, readings, mean, min, max, largest_p95 FROM environment_1d"
        )
    assert found == [(2, 4, 20.0, 5.0, 50.0, 50.0)]


def test_readings_equal_the_oracle(database: str) -> None:
    rng = np.random.default_rng(8)
    names, keys = sensors("traffic", "a", 3)
    count = 90
    ts = START + np.arange(count) * 20_000
    sensor = np.arange(count) % 3
    frame = frame_of("traffic", "a", names, keys, sensor, ts, rng)
    with loader(database) as loaded:
        loaded.write(loaded.frame(frame, ingested_at=START))
        rows = loaded.seen_by_reader(
            "SELECT sensor_key, (extract(epoch FROM bucket) * 1000)::bigint, readings, "
            "average_vehicle_speed_mean, average_vehicle_speed_max, vehicles, flow_veh_h, "
            "time_mean_speed_kmh FROM readings_traffic_5min"
        )
    m = frame.measures
    bucket = ts // 300_000 * 300_000
    for row in rows:
        chosen = (frame.sensor_key == row[0]) & (bucket == row[1])
        speed, n = m["averageVehicleSpeed"][chosen], m["intensity"][chosen]
        known = ~np.isnan(speed)
        wanted = [
            int(chosen.sum()),
            float(speed[known].mean()) if known.any() else None,
            float(speed[known].max()) if known.any() else None,
            float(n.sum()),
            float(n.sum() * 3600 / m["period"][chosen].sum()),
            float((speed * n)[known].sum() / n[known].sum()) if known.any() else None,
        ]
        assert_close(list(row[2:]), wanted)
    assert sum(row[2] for row in rows) == count


def test_a_continuous_aggregate_differs_from_the_view_in_its_bucket_only() -> None:
    for rollup in rollups():
        plain, continuous = rollup.select(continuous=False), rollup.select(continuous=True)
        assert "date_bin" not in continuous
        assert plain.split(" AS bucket")[1] == continuous.split(" AS bucket")[1]
        (create,) = continuous_aggregate(rollup, continuous)
        assert create.startswith(f"CREATE MATERIALIZED VIEW {rollup.name} WITH (timescaledb.conti")
        assert all(f"'{rollup.name}'" in statement for statement in refresh_policy(rollup))
