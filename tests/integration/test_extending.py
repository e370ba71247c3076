"""docs/extending.md: its changes are made to a copy of the checkout, word by word, and work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from playwright.sync_api import Route

from tests.kit.browser import chromium
from tests.kit.servers import Cluster
from tests.kit.sink_rows import as_role

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PARTS = (
    "civicstream",
    "stack",
    "ingest",
    "streams",
    "alerts",
    "sinks",
    "feeds",
    "sensors_sim",
    "benchmarks",
)
CHANGES = (
    "a kind of sensor",
    "a window statistic",
    "a delivery channel",
    "a field for rules",
    "a box of the page",
    "a command-line option",
    "a topic",
    "a migration",
    "a setting",
    "a bench",
)
STEP = re.compile(
    r"^(?:New file \*\*(?P<new>\S+)\*\*"
    r"|In `(?P<file>\S+)`, (?P<where>after|before|instead of) `(?P<line>[^\n]+)`):\n\n"
    r"```\w+\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """One file to touch; ``line`` is the one that the code goes to, None: the file is new."""

    file: str
    where: str
    line: str | None
    code: str

    def apply(self, root: Path) -> None:
        """Make the change below ``root``; fail where the page and the file have parted."""
        path = root / self.file
        if self.line is None:
            assert not path.exists(), f"docs/extending.md makes {self.file}, which is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.code, encoding="utf-8")
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (at,) = [n for n, line in enumerate(lines) if line.strip() == self.line] or [None]
        assert at is not None, f"docs/extending.md: {self.file} has no line {self.line!r}"
        first = at + (self.where == "after")
        lines[first : first + (self.where == "instead of")] = [self.code]
        path.write_text("".join(lines), encoding="utf-8")


def changes() -> dict[str, list[Step]]:
    """Return the steps of each change of the page, by its heading."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        steps = [
            Step(m["new"] or m["file"], m["where"] or "", m["line"], m["code"])
            for m in STEP.finditer(text)
        ]
        blocks = re.findall(r"^```(?!toml)\w+$", text, re.MULTILINE)
        assert len(steps) == len(blocks), f"{heading}: a block without its place"
        found[heading.partition(" ")[2].lower()] = steps
    return found


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the parts with all ten changes."""
    root = tmp_path_factory.mktemp("extended")
    for part in PARTS:
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for steps in changes().values():
        for step in steps:
            step.apply(root)
    return root


@pytest.fixture(scope="module")
def database(extended: Path, postgres_cluster: Cluster) -> Iterator[str]:
    """URL of a database that the extended `init` has brought up."""
    with postgres_cluster.database() as url:
        first, second = run(extended, INIT, database=url)
        assert "0100_roadworks" in first
        assert second == [], "a second run changes nothing"
        yield url


def environment(extended: Path, database: str | None = None) -> dict[str, str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(extended)}
    if database is not None:
        writer = as_role(database, "civicstream_writer").get_secret_value()
        variables |= {
            "CIVICSTREAM_DATABASE__URL": writer,
            "CIVICSTREAM_DATABASE__OWNER_URL": database,
            "CIVICSTREAM_DATABASE__WRITER_PASSWORD": "civicstream_writer",
            "CIVICSTREAM_DATABASE__RESULTS_RETENTION_DAYS": "36500",
        }
    return variables


def run(extended: Path, script: str, *arguments: str, database: str | None = None) -> Any:
    """Return what the script prints as JSON, run with the copy's modules."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(
        command,
        cwd=extended,
        env=environment(extended, database),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def civicstream(extended: Path, *arguments: str) -> str:
    """Return what the copy's command line prints."""
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", *arguments],
        cwd=extended,
        env=environment(extended),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), values or None).fetchall()


def columns_of(url: str, table: str) -> set[str]:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    return {name for (name,) in ask(url, query, table)}


INIT = """
import json
from civicstream.settings import load_settings
from sinks.admin.init import init_database
settings = load_settings()
print(json.dumps([init_database(settings)[0], init_database(settings)[0]]))
"""


def test_the_page_has_the_ten_changes_and_says_how_much_each_costs() -> None:
    found = changes()
    assert tuple(found) == CHANGES
    files = {name: {step.file for step in steps} for name, steps in found.items()}
    assert files["a kind of sensor"] == {"civicstream/kinds.py"}
    assert len(files["a window statistic"]) == 3
    new, imported = found["a delivery channel"]
    assert new.line is None
    assert imported.code.count("\n") == 1
    said = dict(re.findall(r"^\| \[(.+?)\]\(#.*?\) \| (\d+)", PAGE, re.MULTILINE))
    for name in ("a box of the page", "a command-line option", "a bench"):
        assert int(said[name]) == len(files[name]), name


@pytest.mark.parametrize("change", CHANGES)
def test_the_readme_of_a_part_says_where_the_change_begins(change: str) -> None:
    (row,) = re.findall(rf"^\| \[{change}\].*$", PAGE, re.MULTILINE)
    for link in re.findall(r"\]\((\.\./[^)]+)\)", row):
        readme = (ROOT / "docs" / link).read_text(encoding="utf-8")
        _, _, begins = readme.partition("\nWhere a change begins: ")
        begins = " ".join(begins.partition("\n\n")[0].split())
        assert change.removeprefix("a ") in begins, link
        assert "docs/extending.md" in begins, link


def test_the_code_of_the_page_passes_the_linter(extended: Path) -> None:
    touched = {step.file for steps in changes().values() for step in steps}
    python = sorted(file for file in touched if file.endswith(".py"))
    shutil.copy(ROOT / "pyproject.toml", extended)
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", *python]
    done = subprocess.run(ruff, cwd=extended, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


KIND = """
import json
from itertools import islice
import numpy as np
from civicstream.asyncapi import document
from civicstream.city import Sensors
from civicstream.kinds import KINDS
from civicstream.reading_age import MaxAge
from civicstream.settings import Settings
from ingest.readings import ReadingDecoder
from sensors_sim.city_plan import plan_city
from sensors_sim.payloads import encode_payloads
from sensors_sim.sensor_faults import SensorFaultPlan
from sensors_sim.simulation import Simulation, SimulationPlan
from streams.health.watch import SensorWatch
from streams.windows.windows import Columns, LateReadings
START = 1_795_219_200_000
kind, city = KINDS["light"], plan_city(300, 1)
broken = SensorFaultPlan(share=0.2, within_h=0.01)
blocks = Simulation(city, SimulationPlan(sensor_faults=broken), START).blocks()
decoder = ReadingDecoder(kind, max_age=MaxAge(3650, ""), max_future_skew_ms=10**9)
decoded = [
    decoder.decode(payload, "x", START)
    for block in islice(blocks, 60)
    for messages in block.groups
    if messages.kind is kind
    for payload in encode_payloads(messages)
]
made = document(Settings())
print(json.dumps({
    "sensors": int(np.sum(city.sensors.kind == Sensors.kind_names.index("light"))),
    "rows": [row for d in decoded for row in d.rows],
    "bad": sum(len(d.bad) for d in decoded),
    "judged": SensorWatch(kind, city).areas is not None,
    "channels": sorted(name for name in made["channels"] if "light" in name),
}))
"""


def test_a_kind_is_simulated_decoded_judged_published_and_stored(
    extended: Path, database: str
) -> None:
    found = run(extended, KIND)
    assert found["sensors"] == 6, "two in a hundred"
    assert len(found["rows"]) >= 6
    assert found["bad"] == 0
    assert all(0 <= power <= 2_000 for _, power, _ in found["rows"])
    assert 40 <= np.median([power for _, power, _ in found["rows"]]) <= 120
    assert found["channels"] == ["kafka.frames.light", "mqtt.light"]
    wanted = {"sensor_key", "ts", "power_consumption", "illuminance", "ingested_at"}
    assert columns_of(database, "readings_light") == wanted
    assert columns_of(database, "latest_light") == wanted
    assert {"power_consumption_mean", "bucket"} <= columns_of(database, "readings_light_1h")
    granted = "SELECT has_table_privilege('civicstream_writer', 'readings_light', 'INSERT')"
    assert ask(database, granted) == [(True,)]


STATISTIC = """
import json
import numpy as np
from civicstream.events import EnvironmentResult
from civicstream.kinds import KINDS
from civicstream.postgres import connect
from civicstream.settings import load_settings
from feeds.history.windows import STEPS, environment
from sinks.result_rows import RESULTS_ENVIRONMENT, environment_rows
from sinks.writer import merge_rows
from streams.windows.environment import area_statistics
from streams.windows.windows import Columns
START = 1_795_219_200_000
kind = KINDS["noise"]
results = []
for minute, values in enumerate(([50, 60, 61, 90], [40, 42])):
    n = np.arange(len(values), dtype=np.int64)
    readings = {"LAeq": np.array(values, float), "LAmax": np.full(len(values), np.nan)}
    (found,) = area_statistics(Columns(n, n, np.zeros(len(n), np.int32), n, readings), kind)
    start = START + minute * 60_000
    results.append(EnvironmentResult(
        "noise", "north", start, start + 60_000, "final", start, found.readings, found.sensors,
        found.measures,
    ))
with connect(load_settings().database.url, "test") as connection:
    new = merge_rows(connection, RESULTS_ENVIRONMENT, environment_rows(results)).new
    steps = {}
    for step in ("1m", "5m"):
        listing = environment(STEPS[step])
        query = f"SELECT median FROM {listing.relation} ORDER BY window_start"
        span = {"from": "2026-01-01T00:00Z", "to": "2027-01-01T00:00Z"}
        steps[step] = [m for (m,) in connection.execute(query, span).fetchall()]
    shown = [c.description for c in listing.columns if c.name == "median"]
print(json.dumps({"medians": [r.measures[0].median for r in results], "new": new, **steps,
    "shown": shown}))
"""


def test_a_statistic_is_calculated_stored_joined_and_shown(extended: Path, database: str) -> None:
    found = run(extended, STATISTIC, database=database)
    assert found["medians"] == [60.5, 41.0]
    assert found["new"] == 2
    assert found["1m"] == [60.5, 41.0]
    joined = (60.5 * 4 + 41.0 * 2) / 6
    assert found["5m"] == [pytest.approx(joined)]
    assert found["shown"][0].startswith("Half are below")
    query = "SELECT mean_median, largest_p95 FROM environment_1d"
    assert ask(database, query)[0][0] == pytest.approx(joined)


CHANNEL = """
import json, sys
from pathlib import Path
from alerts.deliveries.receivers import Context
from alerts.deliveries.receivers_file import read_plan
from civicstream.settings import Settings
from tests_alert import ALERT
(receiver,) = read_plan(Path(sys.argv[1])).receivers
sender = receiver.open(Context(Settings(), None, lambda: 0))
sender.send(ALERT)
sender.close()
print(json.dumps(type(receiver).__name__))
"""
ALERT = """
import msgspec
from typing import get_args
from civicstream.events import Alert
def value(field):
    hint = str(field.type)
    return "severe" if "minor" in hint else "active" if "active" in hint else (
        "raised" if "raised" in hint else "x" if "str" in hint else {} if "dict" in hint
        else [] if "list" in hint else 1)
ALERT = Alert(**{f.name: value(f) for f in msgspec.structs.fields(Alert) if f.required})
"""


def test_a_channel_is_read_from_the_receivers_file_and_sends(
    extended: Path, tmp_path: Path
) -> None:
    posted: list[bytes] = []

    class Room(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    (extended / "tests_alert.py").write_text(ALERT)
    receivers = tmp_path / "receivers.toml"
    with HTTPServer(("127.0.0.1", 0), Room) as room:
        url = f"http://127.0.0.1:{room.server_port}/room"
        receivers.write_text(f'[[receiver]]\nname = "ops"\ntype = "chat"\nurl = "{url}"\n')
        serving = threading.Thread(target=room.serve_forever)
        serving.start()
        assert run(extended, CHANNEL, str(receivers)) == "ChatReceiver"
        room.shutdown()
        serving.join()
    assert [json.loads(body) for body in posted] == [{"text": "severe: x"}]


SPREAD = """
import json
import numpy as np
from sensors_sim.city_plan import plan_city
from streams.windows.traffic import SegmentTable, segment_measures
from streams.windows.windows import Columns
city = plan_city(60, 1)
keys = np.repeat(city.sensor_keys[city.sensors.segment == 0][:1], 3)
n, full = np.arange(3, dtype=np.int64), lambda x: np.full(3, float(x))
readings = {"intensity": np.array([1.0, 1.0, 2.0]), "averageVehicleSpeed":
    np.array([30.0, 50.0, 80.0]), "period": full(20), "occupancy": full(np.nan), "lane": full(0)}
made = segment_measures(Columns(keys, n, np.zeros(3, np.int32), n, readings), SegmentTable(city))
((row,),) = made.rows_by_area().values()
print(json.dumps(row.speed_spread_kmh))
"""


def test_rules_can_look_at_a_new_field_of_the_results(extended: Path, tmp_path: Path) -> None:
    assert run(extended, SPREAD) == pytest.approx(np.std([30, 50, 80, 80]), abs=1e-5)
    rules = tmp_path / "rules.toml"
    rules.write_text("".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)))
    assert "1 rules on results.traffic" in civicstream(extended, "rules", "check", str(rules))


def test_a_box_of_the_page_shows_what_the_feed_says(
    extended: Path, request: pytest.FixtureRequest
) -> None:
    static = extended / "feeds" / "page" / "static"
    types = {".js": "text/javascript", ".html": "text/html"}

    def serve(route: Route) -> None:
        file = static / route.request.url.removeprefix("http://page.test/")
        if file.is_file():
            route.fulfill(body=file.read_text("utf-8"), content_type=types[file.suffix])
        else:
            route.fulfill(body="<!doctype html><div id=root></div>", content_type="text/html")

    script = """async () => {
        const { DemandPanel } = await import("/code/demand_panel.js");
        const root = document.getElementById("root");
        const panel = new DemandPanel(root, { model: { areaName: (a) => a } });
        const item = { id: "1", area: "North", service: "waste", open_tasks: 3, weighted: 5,
            arrivals_per_h: 2, pressure: 1.5 };
        const city = { list: () => [item, { ...item, id: "2", pressure: null, open_tasks: 0 }] };
        panel.show(city, 0);
        return [panel.count(city), root.innerText];
    }"""
    with chromium(request.config) as browser:
        page = browser.new_page()
        page.route("**/*", serve)
        page.goto("http://page.test/")
        count, text = page.evaluate(script)
    assert count == 1
    assert "North" in text
    assert "3 waiting · 2.0 more an hour" in text
    index = (static / "index.html").read_text("utf-8")
    named = re.findall(r"(\w+): \w+Panel", (static / "code" / "main.js").read_text("utf-8"))
    assert sorted(re.findall(r'id="panel-(\w+)"', index)) == sorted(named)


def test_an_option_of_the_command_line_is_taken(extended: Path) -> None:
    said = civicstream(extended, "version", "--python").splitlines()
    assert said[0] == f"Python {sys.version.split()[0]}"
    assert len(said) == 2
    assert len(civicstream(extended, "version").splitlines()) == 1


TOPIC = """
import json
from civicstream.asyncapi import document
from civicstream.kafka.rights import topics_of
from civicstream.postgres import connect
from civicstream.service_events import Roadwork
from civicstream.settings import load_settings
from sinks.batching import Routes
from sinks.event_tables import HISTORIES
from sinks.histories import event_columns
from sinks.writer import merge_rows
settings = load_settings()
works = [Roadwork("r1", version, "north", "n-1", 0, 3_600_000, version) for version in (1, 2, 2)]
table = HISTORIES[Roadwork]
with connect(settings.database.url, "test") as connection:
    new = merge_rows(connection, table, event_columns(works, table)).new
made = document(settings)
print(json.dumps({
    "parts": [p for p in ("gateway", "sink", "feeds") if "roadworks" in topics_of(p)],
    "read": "city.roadworks" in Routes("city").topics,
    "channel": "kafka.roadworks" in made["channels"],
    "new": new,
}))
"""


def test_a_topic_is_declared_granted_and_its_events_are_stored_in_the_migrated_table(
    extended: Path, database: str
) -> None:
    found = run(extended, TOPIC, database=database)
    assert found == {"parts": ["sink", "feeds"], "read": True, "channel": True, "new": 2}
    query = "SELECT keep_days FROM retention WHERE table_name = 'roadworks'"
    assert ask(database, query) == [(36_500,)]


SETTING = """
import json
from civicstream.errors import ConfigurationError
from civicstream.settings import load_settings
found = [load_settings(environ={}).deliver.report_s]
for text in ("5", "0"):
    try:
        variables = {"CIVICSTREAM_DELIVER__REPORT_S": text}
        found.append(load_settings(environ=variables).deliver.report_s)
    except ConfigurationError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def test_a_setting_has_a_default_a_name_in_the_environment_and_limits(extended: Path) -> None:
    usual, given, refused = run(extended, SETTING)
    assert (usual, given) == (1.0, 5.0)
    assert "deliver.report_s: Input should be greater than 0" in refused


def test_a_bench_is_found_and_measures(extended: Path) -> None:
    said = civicstream(extended, "bench", "decoding", "--seconds", "1", "--json").splitlines()
    assert json.loads(said[-1])["readings_per_s"] > 1_000
