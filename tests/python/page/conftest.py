"""The page in a real Chromium, on the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from support.databases import Database, fresh_database
from support.page_browser import Stage, chromium, watched
from support.page_lab import PageLab, page_lab
from support.serving import project_to_serve


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for the tests of a module: with it an event loop of its own runs."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def page_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project for the services that the page is tried on."""
    return project_to_serve(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def running_lab(page_project: Path, server: Database) -> Iterator[PageLab]:
    """The service with its laboratory, one for all tests that only look at it."""
    with fresh_database(server) as database, page_lab(page_project, database) as lab:
        yield lab


@pytest.fixture
def lab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[PageLab]:
    """The same without a job that waits."""
    # Without a browser the test is skipped before a service is started for it.
    assert browser.is_connected()
    running: PageLab = request.getfixturevalue("running_lab")
    yield running
    running.cancel_all()


@pytest.fixture
def page(browser: Browser, lab: PageLab) -> Iterator[Page]:
    """The page, watched."""
    with watched(browser, lab.address) as shown:
        yield shown


@pytest.fixture
def stage(page: Page) -> Stage:
    """What jobs tell this page."""
    return Stage(page)
