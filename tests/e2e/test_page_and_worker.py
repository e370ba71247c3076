"""The operations page on a stack with its worker: sending crews, and parts that stop."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Locator, expect

from civicstream.clock import now_ms
from civicstream.service_events import Report
from stack.servers.processes import Child
from tests.conftest import _belongs_to_session
from tests.e2e import page_events as events
from tests.e2e.page_stack import PageStack, page_stack, scratch_folder
from tests.e2e.test_operations_page import SOON_MS, Visit, say
from tests.kit.browser import chromium
from tests.kit.servers import Cluster

pytestmark = pytest.mark.slow

SHOWN_WITHIN_S = 45
"""A stage that has stopped is missed after 30 s, and looked at every few seconds."""
CREWS = ("crew-1", "crew-2", "crew-3", "crew-4")


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, postgres_cluster: Cluster) -> Iterator[PageStack]:
    with (
        scratch_folder() as folder,
        postgres_cluster.database() as url,
        page_stack(
            url, folder, lambda pid: _belongs_to_session(request.config, pid), worker=True
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with chromium(request.config) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, stack: PageStack) -> Iterator[Visit]:
    """The page of the running stack; it may not be live yet."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    visit = Visit(context.new_page(), stack.url)
    visit.page.goto(stack.url)
    yield visit
    context.close()


def state_of(opened: Visit) -> Locator:
    return opened.page.locator("#connection")


def expect_live(opened: Visit) -> None:
    expect(state_of(opened)).to_have_attribute("data-state", "live", timeout=2 * SOON_MS)


def report(stack: PageStack, number: int) -> None:
    """A citizen reports a hole in a road, each time in another one."""
    segment, now = stack.city.segments[number * 9], now_ms()
    lon, lat = segment.line[0]
    stack.publish(
        "reports",
        Report(
            id=f"hole-{number}",
            area=segment.area,
            service="pothole",
            lon=lon,
            lat=lat,
            description=f"hole {number}",
            reported_at=now,
            received_at=now,
            channel="open311",
            reporter=f"citizen-{number}",
            reference="1",
        ),
    )


def proposal(opened: Visit, stack: PageStack, number: int) -> tuple[Locator, str, str]:
    """Return a report's row with a proposal, the allocation's id and the crew."""
    report(stack, number)
    row = opened.page.locator("#panel-cases .row").filter(has_text=f"hole {number}")
    line = row.locator(".proposal-line")
    expect(line).to_contain_text("Proposed: crew-", timeout=3 * SOON_MS)
    found = re.search(r"crew-\d", line.inner_text())
    assert found is not None
    crew = found[0]
    (identity,) = stack.wait_for_row(
        f"SELECT id FROM allocations_current WHERE unit = '{crew}' AND state = 'proposed'"
    )
    assert identity.count("/") >= 2  # as the worker makes them
    return row, identity, crew


def becomes(stack: PageStack, identity: str, state: str) -> None:
    stack.wait_for_row(
        f"SELECT id FROM allocations_current WHERE id = '{identity}' AND state = '{state}'"
    )


def test_a_crew_that_the_worker_proposes_is_sent_refused_or_replaced_by_clicks(
    opened: Visit, stack: PageStack
) -> None:
    expect_live(opened)
    segment, page = stack.city.segments[0], opened.page
    stack.publish(
        "units",
        *(events.unit(segment, now_ms(), name, skills=["road"]) for name in CREWS),
    )
    row, identity, crew = proposal(opened, stack, 1)
    row.get_by_role("button", name="Accept").click()
    becomes(stack, identity, "accepted")
    expect(row.locator(".proposal-line")).to_contain_text(f"Sent: {crew}", timeout=SOON_MS)

    row, identity, _ = proposal(opened, stack, 2)
    row.get_by_role("button", name="Reject …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("a flat tyre")
    dialog.get_by_role("button", name="Reject").click()
    becomes(stack, identity, "rejected")

    row, identity, crew = proposal(opened, stack, 3)
    row.get_by_text("Other crews").click()
    other = row.get_by_role("button", name="Send crew-").first
    wanted = other.inner_text().removeprefix("Send ")
    assert wanted != crew
    other.click()
    dialog.get_by_role("button", name=f"Send {wanted}").click()
    becomes(stack, identity, "overridden")
    expect(row.locator(".proposal-line")).to_contain_text(f"Sent: {wanted}", timeout=SOON_MS)
    opened.picture("sent")
    assert opened.faults == []


@contextmanager
def stopped(child: Child) -> Iterator[None]:
    """It stands still, as a process does that hangs."""
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGCONT)


_KEEP_WHAT_IS_SAID = """() => {
    const announcer = document.getElementById("announcer");
    window.said = [];
    new MutationObserver(() => window.said.push(announcer.textContent))
        .observe(announcer, { childList: true, characterData: true, subtree: true });
}"""


@pytest.mark.parametrize(
    ("part", "state", "detail"),
    [
        ("sink", "sink not writing", "The sink does not report"),
        ("worker", "no results", "The worker does not report"),
    ],
)
def test_the_header_says_which_part_has_stopped_and_since_when_and_that_it_is_back(
    opened: Visit, stack: PageStack, part: str, state: str, detail: str
) -> None:
    expect_live(opened)
    child = stack.sink if part == "sink" else stack.worker
    assert child is not None
    began = time.monotonic()
    # An alert about the same part may be said right after it.
    opened.page.evaluate(_KEEP_WHAT_IS_SAID)
    with stopped(child):
        expect(state_of(opened)).to_contain_text(f"{state} for", timeout=SHOWN_WITHIN_S * 1000)
        say(f"{state}: in the header after {time.monotonic() - began:.1f} s")
        expect(opened.page.locator("#flow-fault")).to_contain_text(detail)
        expect(opened.page.locator("#summary")).to_have_attribute("data-old", "true")
        opened.page.wait_for_function("s => window.said.some(t => t.includes(s))", arg=state)
        opened.picture(f"{part}-stopped")
        found = httpx.get(f"{stack.url}/api/v1/status", trust_env=False, timeout=30).json()
        assert found["state"] == state
        assert 30 <= (now_ms() - found["since"]) / 1000 <= SHOWN_WITHIN_S + 5
        assert found["figures"][f"{part}_silent_s"] >= 30
    began = time.monotonic()
    expect_live(opened)
    say(f"{state}: gone {time.monotonic() - began:.1f} s after it went on")
    expect(opened.page.locator("#flow-fault")).to_be_hidden()
    assert opened.faults == []
