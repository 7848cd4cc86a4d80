"""A browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import TIMEOUT_MS, Watch, chromium, watched_page

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: one that lived longer would keep asyncio from other tests."""
    with chromium() as found:
        yield found


@pytest.fixture
def watch() -> Watch:
    """What the page did wrong; a test adds what it provokes on purpose to ``expected``."""
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A fresh tab; errors on its console or requests to other hosts fail the test."""
    with watched_page(browser, watch) as opened:
        yield opened
