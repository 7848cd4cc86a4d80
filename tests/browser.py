"""A real browser that looks at the page, and watches what the page does meanwhile."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from seafloor.http.page import page_is_built

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 90_000
"""For what takes moments, on a machine that does many other things."""


def _missing(what: str) -> None:
    """Skip with the reason; where everything must be there, fail with it."""
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(what)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where there is none, or no page to look at."""
    path = shutil.which("chromium")
    if path is None:
        _missing("there is no chromium here: apt-get install chromium")
    if not page_is_built():
        _missing("the page is not built here: make web")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What must not happen while a page is open: errors, and requests that leave the server.

    Args:
        expected: Patterns of console errors that a test provokes on purpose.
    """

    expected: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])
    hosts: set[str] = field(default_factory=set[str])

    def attach(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data"):
            self.hosts.add(address.netloc)

    def check(self) -> None:
        """Fail if something happened."""
        unexpected = [
            error
            for error in self.errors
            if not any(re.search(pattern, error) for pattern in self.expected)
        ]
        assert unexpected == []
        assert len(self.hosts) <= 1, self.hosts


@contextmanager
def watched_page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A tab of its own, with storage of its own; what it did is checked at the end."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    watch.attach(page)
    try:
        yield page
        watch.check()
    finally:
        context.close()
