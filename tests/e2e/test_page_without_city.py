"""The operations page of a city that has no model yet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from civicstream.settings import KafkaSettings
from tests.e2e.test_operations_page import SOON_MS, Visit
from tests.kit.browser import chromium
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import feeds, store
from tests.kit.sink_rows import loader

pytestmark = pytest.mark.slow


def test_it_says_what_is_missing_and_shows_its_lists(
    request: pytest.FixtureRequest, kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    now = time.time_ns() // 1_000_000
    with loader(postgres) as loaded:
        store(loaded, case(description="a lamp is out", opened_at=now, updated_at=now))
        with feeds(kafka, postgres, tmp_path) as front, chromium(request.config) as browser:
            url = front.url.removesuffix("/open311/v2")
            opened = Visit(browser.new_page(viewport={"width": 1440, "height": 900}), url)
            opened.page.goto(url)
            missing = opened.page.locator("#map-missing")
            expect(missing).to_contain_text("CIVICSTREAM_CITY__FILE", timeout=SOON_MS)
            row = opened.page.locator("#panel-cases .row")
            expect(row).to_contain_text("a lamp is out", timeout=SOON_MS)
            expect(opened.page.locator("#summary")).to_contain_text("1 open case")
            expect(opened.page.locator("#notices")).to_be_empty()
            opened.picture("without-city")
            opened.page.close()
