"""The operations page in a real browser, on real servers: what people see, click and hear."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from civicstream.clock import now_ms
from tests.conftest import _belongs_to_session
from tests.e2e import page_events as events
from tests.e2e.page_stack import PageStack, page_stack, scratch_folder
from tests.kit.browser import chromium
from tests.kit.servers import Cluster

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parents[2] / "test-output"
SOON_MS = 30_000  # a machine that does much else; how long it took is printed


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, postgres_cluster: Cluster) -> Iterator[PageStack]:
    """Servers with a city where something is going on."""

    def started(pid: int) -> None:
        _belongs_to_session(request.config, pid)

    with (
        scratch_folder() as folder,
        postgres_cluster.database() as url,
        page_stack(url, folder, started) as running,
    ):
        fill(running)
        yield running


def fill(stack: PageStack) -> None:
    """A case with a proposal, three crews, a sick sensor, air, and flowing traffic."""
    now, city = now_ms(), stack.city
    first, *_, last = city.segments
    stack.publish("results.traffic", *events.traffic(city, now))
    stack.publish("results.environment", events.environment(city, now))
    one = events.case(first, now)
    stack.publish("cases", one)
    stack.publish(
        "units",
        events.unit(first, now, "crew-1"),
        events.unit(last, now, "crew-2", state="en_route", task="case/other"),
        events.unit(last, now, "crew-3"),
    )
    route = [s.id for s in city.segments if s.corridor == first.corridor][:5]
    stack.publish("allocations", events.allocation(one, "crew-1", "crew-3", route, now))
    stack.publish("health", events.sick_sensor(city, now))
    stack.wait_for_row("SELECT id FROM allocations_current")


class Visit:
    """A page that is open, and what the browser had to complain of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.foreign.append(request.url)

    def open(self) -> float:
        """Load the page; return the seconds until it was live."""
        began = time.monotonic()
        self.page.goto(self.url)
        expect(self.page.locator("#connection")).to_have_attribute(
            "data-state", "live", timeout=SOON_MS
        )
        expect(self.page.locator("#summary")).to_contain_text("open case", timeout=SOON_MS)
        return time.monotonic() - began

    def picture(self, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        # To hide the caret the browser would need an inline style, which the policy forbids.
        taken = self.page.screenshot(caret="initial")
        (PICTURES / f"operations-page-{name}.png").write_bytes(taken)


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with chromium(request.config) as found:
        yield found


@pytest.fixture
def visit(browser: Browser, stack: PageStack) -> Iterator[Open]:
    contexts = []

    def open_page(
        width: int = 1440, height: int = 900, url: str = stack.url, **options: Any
    ) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        return Visit(context.new_page(), url)

    yield open_page
    for context in contexts:
        context.close()


def say(text: str) -> None:
    """Show a figure with pytest's -s or in a failure's report."""
    sys.stdout.write(f"{text}\n")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.2f} s")


def test_the_page_comes_alive_and_tells_the_city_in_one_sentence(visit: Open) -> None:
    opened = visit()
    say(f"live after {opened.open():.2f} s")
    page = opened.page
    expect(page.locator("#summary")).to_contain_text("1 open case")
    expect(page.locator("#summary")).to_contain_text("1 of 3 crews out")
    expect(page.locator("#summary")).to_contain_text("traffic flows on")
    expect(page.locator("#panel-cases .row")).to_contain_text("A deep hole <b>beside</b> the kerb.")
    assert page.locator("#panel-cases b").count() == 0
    expect(page.locator("#panel-sensors")).to_contain_text("stuck", ignore_case=True)
    opened.picture("light")
    assert opened.faults == []
    assert opened.foreign == []


def test_an_incident_appears_raises_an_alert_and_a_click_acknowledges_it_for_good(
    visit: Open, stack: PageStack
) -> None:
    opened = visit()
    opened.open()
    page = opened.page
    segment = stack.city.segments[7]
    found = events.incident(segment, now_ms())
    with timed("incident on the page"):
        stack.publish("incidents", found)
        expect(page.locator("#panel-incidents .row")).to_contain_text(
            segment.corridor, timeout=SOON_MS
        )
    expect(page.locator("#summary")).to_contain_text("1 incident")
    alert = page.locator("#panel-alerts .row").filter(has_text=segment.id).first
    with timed("alert on the page"):
        expect(alert).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#announcer")).to_contain_text("severe alert")
    with timed("acknowledged"):
        alert.get_by_role("button", name="Acknowledge").click()
        expect(alert).to_contain_text("acknowledged by", timeout=SOON_MS)
    expect(alert.get_by_role("button", name="Acknowledge")).to_be_hidden()
    opened.picture("incident")
    by, subject = stack.wait_for_row(
        "SELECT by, subject FROM actions WHERE action = 'acknowledge' AND subject LIKE 'alert/%'"
    )
    identity = subject.removeprefix("alert/")
    stack.wait_for_row(
        f"SELECT id FROM alerts_current WHERE id = '{identity}' AND acknowledged_by = '{by}'"
    )
    assert opened.faults == []

    linked = visit(url=f"{stack.url}/?alert={identity}")  # as mails and webhooks have it
    linked.open()
    chosen = linked.page.locator("#panel-incidents .row[data-current]")
    expect(chosen).to_contain_text(segment.corridor, timeout=SOON_MS)


def test_a_proposal_is_accepted_or_rejected_with_a_reason(visit: Open, stack: PageStack) -> None:
    opened = visit()
    opened.open()
    row = opened.page.locator("#panel-cases .row").first
    expect(row).to_contain_text("Proposed: crew-1")
    row.get_by_role("button", name="Reject …").click()
    dialog = opened.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("crew-1 has a flat tyre")
    dialog.get_by_role("button", name="Reject").click()
    note = stack.wait_for_row("SELECT note FROM actions WHERE action = 'reject'")
    assert note == ("crew-1 has a flat tyre",)
    row.get_by_text("Other crews").click()
    row.get_by_role("button", name="Send crew-3").click()
    opened.page.get_by_role("dialog").get_by_role("button", name="Send crew-3").click()
    unit = stack.wait_for_row("SELECT value FROM actions WHERE action = 'override'")
    assert unit == ("crew-3",)
    assert opened.faults == []


def test_a_road_shows_its_charts_and_the_same_figures_as_a_table(
    visit: Open, stack: PageStack
) -> None:
    opened = visit()
    opened.open()
    page = opened.page
    segment = stack.city.segments[3]
    page.get_by_label("Find a road").fill(f"{segment.corridor}, section {segment.position + 1},")
    page.locator("#panel-roads .row-head").first.click()
    detail = page.locator("#detail")
    expect(detail).to_contain_text(segment.corridor)
    expect(detail.locator(".js-plotly-plot")).to_have_count(2, timeout=SOON_MS)
    detail.get_by_text("The same as a table").click()
    expect(detail.locator("table")).to_contain_text("km/h")
    opened.picture("road")
    page.get_by_label("Close the road").click()
    expect(detail).to_be_hidden()
    assert opened.faults == []
    assert opened.foreign == []


def test_the_keyboard_alone_reaches_the_map_the_lists_and_the_decisions(visit: Open) -> None:
    opened = visit()
    opened.open()
    page = opened.page
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip the map, go to the lists")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#panels') !== null")
    page.locator("#map-marks").focus()
    scale = page.evaluate("civicstream.map.view.scale")
    page.keyboard.press("+")
    assert page.evaluate("civicstream.map.view.scale") < scale
    x = page.evaluate("civicstream.map.view.x")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("civicstream.map.view.x") > x
    chosen = set()
    for _ in range(8):
        page.keyboard.press("n")
        selection = page.evaluate("civicstream.desk.selection")
        chosen.add((selection["kind"], selection["id"]))
    assert len(chosen) >= 4
    page.keyboard.press("Escape")
    assert page.evaluate("civicstream.desk.selection") is None
    silence = page.locator("#panel-cases").get_by_role("button", name="Reject …").first
    silence.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(silence).to_be_focused()


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("light", 1440, 900, "light"),
        ("dark", 1440, 900, "dark"),
        ("middle", 1024, 768, "light"),
        ("phone", 390, 844, "light"),
        ("phone-dark", 390, 844, "dark"),
    ],
)
def test_axe_finds_no_serious_fault(
    visit: Open, name: str, width: int, height: int, scheme: str
) -> None:
    opened = visit(width, height, color_scheme=scheme)
    opened.open()
    opened.page.evaluate("civicstream.desk.select('segment', 'fw001e-003')")
    expect(opened.page.locator("#detail .js-plotly-plot")).to_have_count(2, timeout=SOON_MS)
    opened.picture(name)
    found = Axe().run(opened.page).response["violations"]
    for fault in found:
        say(f"{fault['impact']} {fault['id']} {[n['html'][:160] for n in fault['nodes']][:4]}")
    assert [f["id"] for f in found if f["impact"] in {"serious", "critical"}] == []


def test_at_phone_width_the_lists_are_tabs_one_goes_through_with_arrows(visit: Open) -> None:
    opened = visit(390, 844, has_touch=True, is_mobile=True)
    opened.open()
    page = opened.page
    page.get_by_role("tab", name=re.compile("Alerts")).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name=re.compile("Cases"))).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_have_count(1)
    expect(page.get_by_role("tabpanel")).to_contain_text("Proposed")
    wider = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wider


def test_the_time_slider_shows_the_past_and_decides_nothing_there(
    visit: Open, stack: PageStack
) -> None:
    opened = visit()
    opened.open()
    page = opened.page
    page.locator("#replay-at").fill("-120")  # two hours ago there was no case
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay", timeout=SOON_MS)
    expect(page.locator("#summary")).to_contain_text("no open cases", timeout=SOON_MS)
    page.get_by_role("button", name="Live").click()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator("#summary")).to_contain_text("1 open case")
    assert opened.faults == []


def test_a_lost_connection_is_said_and_made_good(visit: Open, stack: PageStack) -> None:
    opened = visit()
    opened.open()
    connection = opened.page.locator("#connection")
    stack.stop_feeds()
    expect(connection).to_have_attribute("data-state", "delayed", timeout=SOON_MS)
    missed = events.case(stack.city.segments[20], now_ms(), service="waste")
    stack.publish("cases", missed)
    stack.start_feeds()
    expect(connection).to_have_attribute("data-state", "live", timeout=2 * SOON_MS)
    expect(opened.page.locator("#panel-cases")).to_contain_text("Waste", timeout=SOON_MS)


def test_without_a_token_a_form_asks_for_it_and_the_session_does_the_rest(
    visit: Open, stack: PageStack
) -> None:
    with stack.guarded_feeds() as (url, token):
        opened = visit(url=url)
        page = opened.page
        page.goto(url)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Sign in", timeout=SOON_MS)
        dialog.get_by_label("Access token").fill("cst_wrong_token")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.get_by_role("alert")).not_to_be_empty()
        dialog.get_by_label("Access token").fill(token)
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog).to_be_hidden(timeout=SOON_MS)
        expect(page.locator("#connection")).to_have_attribute(
            "data-state", "live", timeout=2 * SOON_MS
        )
        expect(page.locator("#summary")).to_contain_text("open case", timeout=SOON_MS)
        opened.picture("signed-in")


def test_sixty_updates_a_second_leave_time_between_pictures(visit: Open, stack: PageStack) -> None:
    opened = visit()
    opened.open()
    page = opened.page
    page.evaluate(
        """() => {
          const { desk, map } = civicstream;
          const ids = [...desk.model.segments.keys()];
          let number = 0;
          map.frames.length = 0;
          window.pushing = setInterval(() => {
            number += 1;
            const changed = ids.filter((_, i) => i % 60 === number % 60).map((id) => ({
              id, level_of_service: "ABCDEF"[number % 6], travel_time_index: 1, window_end: 0,
            }));
            desk.live.merge({ segments: changed }, Date.now());
          }, 1000 / 60);
        }"""
    )
    page.wait_for_timeout(3000)
    frames = sorted(page.evaluate("clearInterval(window.pushing) ?? civicstream.map.frames"))
    middle, worst = frames[len(frames) // 2], frames[int(0.95 * len(frames))]
    say(f"{len(frames)} pictures in 3 s; median {middle:.1f} ms, 95 % within {worst:.1f} ms")
    assert len(frames) > 15
    assert opened.faults == []
