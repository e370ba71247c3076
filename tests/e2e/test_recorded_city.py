"""Hours of Aarhus, from the recording through MQTT, Kafka, Faust and the database to the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pyarrow.csv as pv
import pyarrow.dataset as ds
import pytest
from playwright.sync_api import Browser, Page

from stack.servers.processes import wait_until
from tests.e2e.up_process import UpProcess, running_up
from tests.kit.browser import chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

# Monday before dawn, with 1,067 readings that were recorded two or three times, to the rush.
BEGIN, END = "2014-08-18T02:30", "2014-08-18T08:30"
SPEED, STREETS, PERIOD_MS = 240, 449, 300_000
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
Key = tuple[str, int]


@dataclass
class Reference:
    """What the files hold of the part, read without any of our code."""

    rows: int
    readings: dict[Key, tuple[int, int]]
    """(street, ts as recorded) -> vehicles, km/h."""
    usual_kmh: dict[str, int]
    parking: int

    @property
    def missing(self) -> int:
        times = [ts for _, ts in self.readings]
        due = ((max(times) - min(times)) // PERIOD_MS + 1) * STREETS
        return due - len(self.readings)


def local_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=COPENHAGEN).timestamp() * 1000)


@pytest.fixture(scope="module")
def aarhus(shared_data: Path) -> Path:
    folder = shared_data / "aarhus"
    if not folder.is_dir():
        pytest.skip("the recording of Aarhus is not beside the checkout (../shared/data/aarhus)")
    return folder


@pytest.fixture(scope="module")
def reference(aarhus: Path) -> Reference:
    begin, end = (datetime.fromtimestamp(local_ms(t) / 1000, UTC) for t in (BEGIN, END))
    naive = [moment.replace(tzinfo=None) for moment in (begin, end)]
    field = ds.field("ts")
    part = (field >= naive[0]) & (field <= naive[1])
    rows = ds.dataset(aarhus / "aarhus_august.parquet").to_table(filter=part).to_pylist()
    readings = {
        (str(row["street"]), int(row["ts"].replace(tzinfo=UTC).timestamp() * 1000)): (
            row["vehicles"],
            row["speed_kmh"],
        )
        for row in rows
    }
    streets = pv.read_csv(aarhus / "aarhus_streets.csv").to_pylist()
    usual = {str(street["street"]): street["usual_speed_kmh"] for street in streets}
    texts = ds.dataset(aarhus / "aarhus_parking.parquet").to_table()["updatetime"].to_pylist()
    parking = sum(local_ms(BEGIN) <= local_ms(text) <= local_ms(END) for text in texts)
    return Reference(len(rows), readings, usual, parking)


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with chromium(request.config) as found:
        yield found


def test_a_recorded_morning_is_played_whole_and_the_page_shows_it(
    aarhus: Path, reference: Reference, postgres: str, browser: Browser, tmp_path: Path
) -> None:
    assert (reference.rows, len(reference.readings)) == (33_824, 32_757)
    at = psycopg.conninfo.conninfo_to_dict(postgres)
    database = f"postgresql://{at['user']}@/{at['dbname']}?host={at['host']}"
    options = ("--replay", aarhus, "--speed", str(SPEED), "--from", BEGIN, "--until", END)
    with running_up(tmp_path, *options, "--database", database) as up:
        up.wait_for("open      http", 150)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(up.url)
        shows_the_replays_clock(page, up)
        wait_until(lambda: coloured(page) > 200, "200 coloured streets", timeout_s=90)
        page.close()
        up.wait_for("everything has stopped", 200)
        assert up.process.wait(30) == 0, up.output
        output = up.output
    read = reference.rows + reference.parking
    told = re.search(r"^replay {2,}(.*)", output, re.MULTILINE)
    assert told
    assert told[1] == (
        f"{read:,} readings read, {read:,} sent, {read:,} acknowledged; "
        f"{reference.rows - len(reference.readings):,} were recorded more than once, "
        f"{reference.missing:,} are missing in the recording"
    )
    assert "balanced: nothing lost, nothing counted twice, nothing in flight" in output
    with psycopg.connect(postgres) as connection:
        rows_are_the_recording(connection, reference)
        windows_are_the_recording(connection, reference)
        nothing_was_missed(connection)


def shows_the_replays_clock(page: Page, up: UpProcess) -> None:
    """The time of day is the recording's, the weekday too; both clocks go 240 times too fast."""
    page.wait_for_selector("#clock-mode:not([hidden])", timeout=30_000)
    assert page.inner_text("#clock-mode") == f"time runs {SPEED}\N{MULTIPLICATION SIGN}"
    clock = page.evaluate("() => fetch('/api/v1/clock').then((answer) => answer.json())")
    shown = page.evaluate("() => window.civicstream.desk.now()")
    assert abs(shown - clock["city_now_ms"]) < 5_000 * SPEED
    local = datetime.fromtimestamp(clock["city_now_ms"] / 1000, COPENHAGEN)
    assert local.strftime("%a") == "Mon"
    assert "02:20" <= local.strftime("%H:%M") <= "08:40", up.output
    assert clock["server_ms"] - 8 * 86_400_000 < clock["city_now_ms"] < clock["server_ms"]


def nothing_was_missed(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """No alert says that results, parts or readings are absent: the replay was whole."""
    missed = connection.execute(
        "SELECT rule, area, headline FROM alerts WHERE rule IN ('no-results', 'no-fresh-results',"
        " 'part-silent', 'nothing-stored', 'frames-missing', 'readings-lost')"
    ).fetchall()
    assert missed == []


def coloured(page: Page) -> int:
    """Return how many streets have a colour now."""
    shown: int = page.evaluate(
        "() => window.civicstream.desk.live.list('segments')"
        ".filter((row) => row.level_of_service).length"
    )
    return shown


def rows_are_the_recording(connection: psycopg.Connection[Any], reference: Reference) -> None:
    stored = connection.execute(
        "SELECT s.sensor, (extract(epoch FROM r.ts) * 1000)::bigint, r.intensity, "
        "r.average_vehicle_speed, r.period "
        "FROM readings_traffic r JOIN sensors s USING (sensor_key)"
    ).fetchall()
    shift = {ts for _, ts, *_ in stored}
    first = min(ts for _, ts in reference.readings)
    moved = min(shift) + 1 - first
    found = {(sensor, ts + 1 - moved): tuple(values) for sensor, ts, *values in stored}
    assert found == {
        key: (float(vehicles), float(kmh) if vehicles else None, 300.0)
        for key, (vehicles, kmh) in reference.readings.items()
    }
    [repeats] = connection.execute(
        "SELECT sum(duplicate + corrected) FROM sink_counts WHERE kind = 'traffic'"
    ).fetchone() or [None]
    assert repeats == reference.rows - len(reference.readings)
    [garages] = connection.execute("SELECT count(*) FROM readings_parking").fetchone() or [None]
    assert garages == reference.parking
    [dead] = connection.execute("SELECT count(*) FROM dead_letters").fetchone() or [None]
    assert dead == 0


def windows_are_the_recording(connection: psycopg.Connection[Any], reference: Reference) -> None:
    """Every five minutes of every street are one final window, those of the recording."""
    stored = connection.execute(
        "SELECT segment, (extract(epoch FROM window_start) * 1000)::bigint, readings, vehicles, "
        "flow_veh_h, space_mean_speed_kmh, level_of_service, coverage FROM results_traffic"
    ).fetchall()
    first = min(ts for _, ts in reference.readings) - PERIOD_MS
    moved = min(start for _, start, *_ in stored) - first
    found = {(segment, start - moved + PERIOD_MS): values for segment, start, *values in stored}
    assert found.keys() == reference.readings.keys()
    for key, (vehicles, kmh) in reference.readings.items():
        readings, counted, flow, speed, letter, coverage = found[key]
        assert (readings, counted, flow, coverage) == (1, vehicles, vehicles * 12, 1), key
        expected = max(kmh, 1) if vehicles else None
        assert speed == pytest.approx(expected), key
        assert letter == level(expected, reference.usual_kmh[key[0]]), key


def level(kmh: float | None, usual_kmh: int) -> str | None:
    """Return the level of service of an urban street (HCM 6, exhibit 16-3)."""
    if kmh is None:
        return None
    share = kmh / min(usual_kmh, 130)
    bounds = (0.80, 0.67, 0.50, 0.40, 0.30)
    return "ABCDEF"[sum(share <= bound for bound in bounds)]
