"""The page's modules, run in the browser they are made for, without any server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from feeds.page.static_files import StaticFile, load_page_files
from tests.kit.browser import chromium

HOST = "http://page.test"


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with chromium(request.config) as found:
        yield found


@pytest.fixture(scope="module")
def files() -> Mapping[str, StaticFile]:
    return load_page_files().files


@pytest.fixture
def page(browser: Browser, files: Mapping[str, StaticFile]) -> Iterator[Page]:
    """An empty page that can import the modules from /code/."""

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(f"{HOST}/")
        if path in files:
            route.fulfill(body=files[path].body, content_type=files[path].content_type)
        else:
            route.fulfill(body="<!doctype html><ul id=list></ul>", content_type="text/html")

    context = browser.new_context(locale="en-GB", timezone_id="Europe/Amsterdam")
    opened = context.new_page()
    opened.route("**/*", serve)
    opened.goto(HOST)
    yield opened
    context.close()


def run(page: Page, module: str, body: str, argument: Any = None) -> Any:
    """Return what ``body`` returns; in it ``m`` is the module, ``arg`` the argument."""
    script = f"async (arg) => {{ const m = await import('/code/{module}.js'); {body} }}"
    return page.evaluate(script, argument)


def test_a_day_of_the_city_begins_at_its_own_midnight_in_summer_and_winter(page: Page) -> None:
    found = run(
        page,
        "segment_history",
        "return arg.map(([date, zone]) => new Date(m.midnight(date, zone)).toISOString())",
        [
            ["2026-01-15", "Europe/Amsterdam"],
            ["2026-07-15", "Europe/Amsterdam"],
            ["2026-07-15", "America/New_York"],
            ["2026-07-15", "UTC"],
        ],
    )
    assert found == [
        "2026-01-14T23:00:00.000Z",
        "2026-07-14T22:00:00.000Z",
        "2026-07-15T04:00:00.000Z",
        "2026-07-15T00:00:00.000Z",
    ]


def test_spans_and_due_times_are_said_as_people_say_them(page: Page) -> None:
    minutes = [0.2, 1, 59, 60, 125, 60 * 24, 60 * 24 * 3]
    said = run(page, "wording", "return arg.map((min) => m.span(min * 60000))", minutes)
    assert said == ["under 1 min", "1 min", "59 min", "1 h", "2 h 5 min", "24 h", "3 days"]
    assert run(page, "wording", "return m.due(100 * 60000, 40 * 60000)") == "due in 1 h"
    assert run(page, "wording", "return m.due(40 * 60000, 100 * 60000)") == "1 h late"
    counts = run(page, "wording", "return [0, 1, 1200].map((n) => m.count(n, 'crew'))")
    assert counts == ["no crews", "1 crew", "1,200 crews"]
    assert run(page, "wording", "return m.quantity(null, 'km/h')") == "–"  # noqa: RUF001 a dash


def test_another_day_is_said_with_its_date_and_today_without(page: Page) -> None:
    noon, evening, before = 1_779_960_000_000, 1_779_980_000_000, 1_779_800_000_000
    same = run(page, "wording", "return m.time(arg[0], arg[1])", [noon, evening])
    other = run(page, "wording", "return m.time(arg[0], arg[1])", [before, evening])
    assert len(same) == 5
    assert other.endswith(run(page, "wording", "return m.time(arg, arg)", before))
    assert len(other) > 5


def test_an_item_replaces_its_forerunner_as_a_whole_and_what_is_gone_is_removed(
    page: Page,
) -> None:
    kept = run(
        page,
        "city_state",
        """
        const city = new m.CityState();
        city.replace({units: [{id: "a", load: 1, task: "x"}, {id: "b"}]}, 5);
        city.merge({units: [{id: "a", load: 2}, {id: "b", gone: true}], unheard_of: [{id: 1}]}, 7);
        return [city.list("units"), city.at];
        """,
    )
    assert kept == [[{"id": "a", "load": 2}], 7]


_FAKE_SOURCE = """
const opened = [];
window.EventSource = class extends EventTarget {
  constructor(url) { super(); this.url = url; opened.push(this); }
  close() { this.closed = true; }
  send(name, id, data) {
    const event = new MessageEvent(name, {data: JSON.stringify(data), lastEventId: id});
    this.dispatchEvent(event);
  }
};
const {CityState} = await import("/code/city_state.js");
const city = new CityState();
const feed = new m.LiveFeed(city);
feed.restart();
const item = (load) => ({units: [{id: "a", load}]});
opened[0].send("snapshot", "s-4", {seq: 4, at: 1, state: item(0)});
"""


def test_deltas_and_conflated_events_are_followed_in_order(page: Page) -> None:
    body = (
        _FAKE_SOURCE
        + """
    opened[0].send("delta", "s-5", {seq: 5, at: 2, changes: item(1)});
    opened[0].send("delta", "s-5", {seq: 5, at: 2, changes: item(99)});
    opened[0].send("conflated", "s-9", {from: 5, seq: 9, at: 3, changes: item(2)});
    opened[0].send("heartbeat", "", {seq: 9, at: 4});
    return [city.list("units")[0].load, feed.sequence, feed.lastId, feed.status, opened.length];
    """
    )
    assert run(page, "live_feed", body) == [2, 9, "s-9", "live", 1]


def test_a_hole_in_the_sequence_leads_to_a_fresh_snapshot_and_not_to_a_wrong_state(
    page: Page,
) -> None:
    body = (
        _FAKE_SOURCE
        + """
    opened[0].send("delta", "s-7", {seq: 7, at: 2, changes: item(7)});
    const resumed = opened[1].url.includes("last_event_id");
    return [city.list("units")[0].load, opened.length, opened[0].closed, resumed];
    """
    )
    assert run(page, "live_feed", body) == [0, 2, True, False]


def test_a_reconnection_resumes_after_the_last_event(page: Page) -> None:
    body = _FAKE_SOURCE + 'feed.restart(); return [opened[1].url.includes("last_event_id=s-4")];'
    assert run(page, "live_feed", body) == [True]


def test_rates_and_balance_follow_from_the_ledger(page: Page) -> None:
    found = run(
        page,
        "stage_rates",
        """
        const rates = new m.StageRates();
        const report = (at, received, accepted) => ({
          id: "sink/s/1", stage: "sink", instance: "s", epoch: 1, at, gauges: {lag_records: 3},
          kinds: {noise: {received, accepted, rejected: 1, duplicate: 2, late: 0, in_flight: 0}},
        });
        rates.note([report(1000, 103, 100)]);
        rates.note([report(3000, 303, 299)]);
        return rates.lines([report(3000, 303, 299)], 30000);
        """,
    )
    (line,) = found
    assert line["rate"] == 100
    assert line["imbalance"] == 1
    assert line["lag"] == 3
    assert line["silent"]


def test_the_nearest_road_is_found_on_the_side_it_is_drawn_on(page: Page) -> None:
    found = run(
        page,
        "grid_index",
        """
        const east = {id: "east", line: [[0, 0], [1000, 0]]};
        const west = {id: "west", line: [[1000, 0], [0, 0]]};
        const far = {id: "far", line: [[0, 900], [1000, 900]]};
        const index = new m.SegmentIndex([east, west, far]);
        const at = (x, y) => index.nearest(x, y, 60, 10)?.id ?? null;
        return [at(500, 12), at(500, -12), at(500, 880), at(500, 400)];
        """,
    )
    assert found == ["east", "west", "far", None]


def test_rows_keep_the_focus_while_their_order_changes(page: Page) -> None:
    found = run(
        page,
        "dom",
        """
        const row = (item) => {
          const node = m.element("li", {}, m.element("button", {id: item.id}, item.id));
          return {node, update() {}};
        };
        const list = new m.KeyedList(document.getElementById("list"), row);
        const show = (...ids) => list.show(ids.map((id) => ({id})));
        show("a", "b", "c");
        document.getElementById("c").focus();
        show("c", "d", "a");
        const order = [...document.querySelectorAll("#list button")].map((b) => b.id);
        return [order, document.activeElement.id];
        """,
    )
    assert found == [["c", "d", "a"], "c"]


def test_what_came_over_the_network_is_text_and_never_html(page: Page) -> None:
    text = "<img src=x onerror=alert(1)>"
    found = run(
        page,
        "dom",
        "const n = m.element('p', {}, arg); return [n.children.length, n.textContent];",
        text,
    )
    assert found == [0, text]


def test_the_header_says_which_stage_has_stopped_and_for_how_long(page: Page) -> None:
    found = run(
        page,
        "data_status",
        """
        const status = (state) => ({id: "city", state, since: 1_000_000, detail: "why"});
        const shown = (connection, state, now) => {
          const {state: name, text, since} = m.shownStatus(connection, state && status(state), now);
          return [name, text, since];
        };
        return [
          shown("live", "live", 1_060_000), shown("live", undefined, 0),
          shown("live", "sink not writing", 1_042_000), shown("live", "no results", 1_600_000),
          shown("delayed", "sink not writing", 1_042_000),
        ];
        """,
    )
    assert found == [
        ["live", "live", None],
        ["live", "live", None],
        ["sink-not-writing", "sink not writing for 42 s", 1_000_000],
        ["no-results", "no results for 10 min", 1_000_000],
        ["delayed", "delayed, reconnecting", None],
    ]


def test_the_page_goes_by_the_citys_clock_and_says_so(page: Page) -> None:
    wall, city = 1_795_000_000_000, 1_794_000_000_000
    found = run(
        page,
        "city_time",
        """
        const [wall, city] = arg;
        const answer = { declared: true, wall_ms: wall, city_ms: city, speed: 60 };
        const before = [m.cityNow(wall), m.clockMode(wall)];
        m.setClock({ ...answer, server_ms: wall + 5_000 }, wall);
        const fast = [m.cityNow(wall) - city, m.cityNow(wall - 9_000) - city, m.clockMode(wall)];
        m.setClock({ ...answer, speed: 1, server_ms: wall }, wall);
        const slow = [m.cityNow(wall + 7) - city, m.clockMode(wall)];
        m.setClock({ ...answer, server_ms: wall }, wall);
        const late = wall + 1e9;
        return [before, fast, slow, [m.cityNow(late), m.clockMode(late)]];
        """,
        [wall, city],
    )
    assert found == [
        [wall, ""],
        [300_000, 0, "time runs 60\N{MULTIPLICATION SIGN}"],
        [7, "simulated time"],
        [wall + 1_000_000_000, ""],
    ]
