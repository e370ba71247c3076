"""`civicstream truth` on a real database: the figures, the tables, the rights it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from civicstream.city import Area, City, Segment, Sensors
from civicstream.errors import ConfigurationError
from civicstream.geojson import write_city
from civicstream.settings import CitySettings, Settings
from sensors_sim.incidents import Incident
from sensors_sim.truth import Truth
from sinks.admin.init import init_database
from sinks.truth.comparison import compare
from tests.kit.sink_events import AT, MINUTE, health, incident, result
from tests.kit.sink_rows import loader, settings_for

LANE_CAPACITY = 2_200


def freeway(segments: int = 8) -> City:
    """Return a freeway of two lanes with a detector on every segment but the last but one."""
    line = ((4.0, 52.0), (4.01, 52.0))
    areas = (Area("north", "Noord", ((4.0, 52.0), (4.1, 52.0), (4.1, 52.1), (4.0, 52.0))),)
    made = tuple(
        Segment(
            id=f"s{n}",
            area="north",
            corridor="A1",
            position=n,
            road_class="freeway",
            lanes=2,
            length_m=500.0,
            free_flow_kmh=100.0,
            line=line,
        )
        for n in range(segments)
    )
    traffic = Sensors.kind_names.index("traffic")
    detectors = [
        (f"d{n}", traffic, 0, n, 0, 20.0, 4.0, 52.0) for n in range(segments) if n != segments - 2
    ]
    return City(areas, made, Sensors.from_rows(detectors))


@pytest.fixture
def simulated(database: str, tmp_path: Path) -> tuple[str, Settings, Path]:
    """A database with the freeway; a truth folder as the simulator writes it."""
    city = freeway()
    write_city(city, tmp_path / "city.geojson")
    settings = settings_for(database, city=CitySettings(file=tmp_path / "city.geojson"))
    init_database(settings)
    folder = tmp_path / "truth"
    truth = Truth(city, folder)
    far = AT + 200 * MINUTE
    truth.happened(
        AT - 60 * MINUTE,
        far,
        [
            Incident("heavy", 2, AT, AT + 20 * MINUTE, 0.6),
            Incident("unseen", 6, AT + 60 * MINUTE, AT + 80 * MINUTE, 0.5),
            Incident("young", 1, far - 2 * MINUTE, far + 30 * MINUTE, 0.9),
        ],
    )
    return database, settings, folder


def load(url: str) -> None:
    """Write what the system would have found by the newest window, 200 minutes in."""
    events: list[tuple[str, msgspec.Struct]] = [
        ("incidents", incident(id="i1", state="suspected", window_end=AT + 2 * MINUTE)),
        *(
            (
                "incidents",
                incident(id="i1", version=v, state="confirmed", window_end=AT + v * MINUTE),
            )
            for v in (3, 4)
        ),
        ("incidents", incident(id="i2", state="suspected", window_end=AT + 9 * MINUTE)),
        (
            "incidents",
            incident(
                id="wrong",
                version=2,
                state="confirmed",
                window_end=AT + 40 * MINUTE,
            ),
        ),
        *(
            ("results.traffic", result("s2", AT - n * MINUTE, 90.0, 0.7 * 2 * LANE_CAPACITY))
            for n in range(5)
        ),
        ("results.traffic", result("s6", AT + 60 * MINUTE, 90.0, 100.0)),
        ("results.traffic", result("s0", AT + 200 * MINUTE, 90.0, 100.0)),
        ("health", health(sensor_key=11, window_end=AT + 10 * MINUTE)),
        ("health", health(sensor_key=13, window_end=AT + 10 * MINUTE)),
    ]
    with loader(url) as loaded:
        loaded.write(*(loaded.record(f"city.{t}", msgspec.json.encode(e), []) for t, e in events))


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def command(settings: Settings, folder: Path, *options: str) -> tuple[int, str, str]:
    """Run `civicstream truth` as the writer, and as the owner where tables are made."""
    owner = settings.database.owner_url
    variables = {
        "CIVICSTREAM_DATABASE__URL": settings.database.url.get_secret_value(),
        **({"CIVICSTREAM_DATABASE__OWNER_URL": owner.get_secret_value()} if owner else {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "truth", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | variables,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


TABLE = (
    "SELECT outcome, truth, incident, segment, severity, round(demand_share::numeric, 3)::text, "
    "delay_s FROM simulation_incidents ORDER BY 1, 2"
)
WANTED = [
    ("detected", "heavy", "i1", "s2", 0.6, "0.700", 180.0),
    ("false_alarm", None, "wrong", "s2", None, None, None),
    ("missed", "unseen", None, "s6", 0.5, "0.023", None),
    ("pending", "young", None, "s1", 0.9, None, None),
]


def test_the_command_prints_the_figures_and_keeps_the_comparison(
    simulated: tuple[str, Settings, Path],
) -> None:
    url, settings, folder = simulated
    load(url)
    assert ask(url, "SELECT to_regclass('simulation_incidents')") == [(None,)]
    for _ in range(2):  # the second replaces the first
        code, out, _ = command(settings, folder, "--json")
        assert code == 0
        assert ask(url, TABLE) == WANTED
    found = json.loads(out)
    figures = found["incidents"]
    assert {k: figures[k] for k in ("incidents", "detected", "missed", "pending")} == {
        "incidents": 3,
        "detected": 1,
        "missed": 1,
        "pending": 1,
    }
    assert (figures["detection_rate"], figures["heavy_detection_rate"]) == (0.5, 1.0)
    assert (figures["false_alarms"], figures["mttd_s"]) == (1, 180.0)
    assert found["sensor_health"] is None
    assert found["until_ms"] == AT + 200 * MINUTE
    code, out, _ = command(settings, folder)
    assert code == 0
    assert "detected" in out
    assert "mean 180 s" in out


def test_the_reader_sees_the_comparison(simulated: tuple[str, Settings, Path]) -> None:
    url, settings, folder = simulated
    load(url)
    compare(settings, folder)
    with loader(url) as loaded:
        assert loaded.seen_by_reader(TABLE) == WANTED


def test_broken_sensors_are_held_against_their_health(
    simulated: tuple[str, Settings, Path],
) -> None:
    url, settings, folder = simulated
    load(url)
    broken = [
        {"sensor_key": key, "kind": "noise", "area": "north", "sensor": f"q{key}", "fault": fault}
        | {"start_ms": AT, "end_ms": None}
        for key, fault in ((11, "stuck"), (12, "drifting"))
    ]
    (folder / "sensor_faults.json").write_text(json.dumps(broken))
    found = compare(settings, folder).sensor_health
    assert found is not None
    assert (found.broken, found.detected, found.missed, found.false_alarms) == (2, 1, 1, 1)
    assert found.named_as == {"stuck": {"stuck": 1}}
    assert ask(
        url,
        "SELECT outcome, sensor_key, sensor, fault, health, delay_s "
        "FROM simulation_sensor_faults ORDER BY 1",
    ) == [
        ("detected", 11, "q11", "stuck", "stuck", 600.0),
        ("false_alarm", 13, "q1", None, "stuck", None),
        ("missed", 12, "q12", "drifting", None, None),
    ]


def test_the_writer_may_only_print(simulated: tuple[str, Settings, Path]) -> None:
    url, settings, folder = simulated
    load(url)
    database = settings.database.model_copy(update={"owner_url": None})
    settings = settings.model_copy(update={"database": database})
    code, _, said = command(settings, folder)
    assert code == 2
    assert "OWNER_URL" in said
    assert "--print-only" in said
    code, out, _ = command(settings, folder, "--print-only", "--json")
    assert code == 0
    assert json.loads(out)["incidents"]["detected"] == 1
    assert ask(url, "SELECT to_regclass('simulation_incidents')") == [(None,)]


def test_before_the_first_window_everything_is_pending(
    simulated: tuple[str, Settings, Path],
) -> None:
    _, settings, folder = simulated
    figures = compare(settings, folder, write=False).incidents
    assert (figures.pending, figures.detection_rate) == (3, None)


def test_a_folder_that_is_not_the_simulators_is_named(
    simulated: tuple[str, Settings, Path], tmp_path: Path
) -> None:
    _, settings, folder = simulated
    with pytest.raises(ConfigurationError, match=r"span\.json: No such file.*simulate --truth"):
        compare(settings, tmp_path / "nowhere")
    (folder / "incidents.json").write_text('[{"id": 7}]')
    with pytest.raises(ConfigurationError, match=r"incidents\.json is not what the simulator"):
        compare(settings, folder)


def test_the_truth_of_another_city_is_refused(simulated: tuple[str, Settings, Path]) -> None:
    _, settings, folder = simulated
    found = msgspec.json.decode((folder / "incidents.json").read_bytes())
    found[0]["segment"] = "elsewhere-1"
    (folder / "incidents.json").write_bytes(msgspec.json.encode(found))
    with pytest.raises(ConfigurationError, match=r"no segment elsewhere-1; set CIVICSTREAM_CITY"):
        compare(settings, folder)
