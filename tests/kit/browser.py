"""A headless Chromium that lives for several tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import _belongs_to_session

__all__ = ["chromium"]

_CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def chromium(config: pytest.Config) -> Iterator[Browser]:
    """The browser; skips where there is none. It keeps spare processes, which are no leak."""
    if not _CHROMIUM.exists():
        pytest.skip("chromium is not installed; run tests/servers.sh")
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    with sync_playwright() as playwright:
        for child in me.children():
            if child.pid not in before:
                _belongs_to_session(config, child.pid)
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
