"""A real Chromium for the page, which is watched while a test uses it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from support.page_stage import SCRIPT

# No part of the browser itself calls anywhere while a test looks for foreign requests.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
"""
# In milliseconds; longer than the page waits between two looks at the service, and than a machine
# takes that does much else.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
# The browser writes this for each answer that is no success, and for none.
ANSWER = "Failed to load resource"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Skips where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    found = found or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed (CHROMIUM=… names one): the page is not tried")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(
    browser: Browser,
    address: str,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    clock: bool = False,
) -> Iterator[Page]:
    """The page at `address`. Afterwards: no call elsewhere, no violation, no error.

    `clock`: the test can turn the page's clock forward.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    hosts: set[str] = set()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(ANSWER):
            errors.append(message.text)

    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    context.add_init_script(VIOLATIONS)
    context.add_init_script(SCRIPT)
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(PATIENCE)
    try:
        if clock:
            page.clock.install()
        page.goto(address)
        yield page
        assert page.evaluate("window.violations") == []
        assert errors == []
        # A link to a blob of the page's own has no host.
        assert hosts - {""} == {urlsplit(address).netloc}
    finally:
        # No answer that is on its way to be changed is waited for.
        page.unroute_all(behavior="ignoreErrors")
        context.close()
