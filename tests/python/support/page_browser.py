"""A real Chromium for the page, watched while a test uses it; and what jobs tell the page there.

A real job is in most of its states for a moment. A staged one is a real job that waits; what it
tells beyond that a test says, and is put into the real answers about jobs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from loader.service.jobs import BuildReport, FileResult, Progress, RejectedExample, Result

Job = Mapping[str, Any]

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
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium is installed (CHROMIUM=… names one): the page is not tried")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
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


_JOBS = re.compile(r"/v1/jobs(/[^/?]+)?(\?.*)?$")


class Stage:
    """The staged jobs of one page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._changes: dict[str, dict[str, object]] = {}

    def turn(self, job: Job, state: str, **changes: object) -> None:
        """A job enters a state, and is changed otherwise; the page will see it."""
        if not self._changes:
            self._page.route(_JOBS, self._changed)
        self._changes.setdefault(str(job["id"]), {}).update(state=state, **changes)

    def begin(self, job: Job) -> None:
        """A job starts and reads half of its bytes."""
        files = job["files"]
        total = sum(file["bytes"] for file in files)
        name = files[0]["name"] if files else None
        self._proceed(
            job, step="loading", file=name, records=33, bytes=total // 2, bytes_total=total
        )

    def build(self, job: Job, *, done: int = 150) -> None:
        """So many of the 150 nodes of a build are done."""
        self._proceed(job, step="building", nodes_done=done, nodes_total=150)

    def _proceed(self, job: Job, **told: Any) -> None:
        self.turn(job, "running", progress=Progress(**told).model_dump())

    def load_and_build(self, job: Job) -> None:
        """Let a job run to its end, as a load of its files does."""
        loaded = [_loaded(file["name"]) for file in job["files"]]
        build = BuildReport(passed=150, failed=0, skipped=0, seconds=9.4)
        self.turn(job, "done", result=Result(files=loaded, build=build).model_dump())

    def _changed(self, route: Route) -> None:
        if route.request.method != "GET":
            route.continue_()
            return
        answer = route.fetch()
        content = json.loads(answer.text())
        for job in content.get("items", [content]):
            job.update(self._changes.get(job.get("id"), {}))
        route.fulfill(response=answer, json=content)


def _loaded(name: str) -> FileResult:
    example = RejectedExample(line=9, rule="broken_quoting", detail="A quote is open.")
    return FileResult(
        file=name,
        input="users",
        state="loaded",
        load_id=4,
        records_read=24,
        records_rejected=1,
        notes=["text, utf-8, delimiter ','"],
        rejected_examples=[example],
    )
