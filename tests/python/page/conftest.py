"""The page in a real Chromium, on the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.databases import Database, fresh_database
from support.project import copy_of_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from support.page_lab import PageLab
    from support.page_stage import Stage


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for the tests of a module: with it an event loop of its own runs."""
    from support.page_browser import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def page_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project for the services that the page is tried on."""
    return copy_of_project(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def running_lab(page_project: Path, server: Database) -> Iterator[PageLab]:
    """The service with its laboratory, one for all tests that only look at it."""
    from support.page_lab import page_lab

    with fresh_database(server) as database, page_lab(page_project, database) as lab:
        yield lab


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[PageLab]:
    """The same without a job that waits."""
    # Without a browser the test is skipped before a service is started for it.
    request.getfixturevalue("browser")
    running: PageLab = request.getfixturevalue("running_lab")
    yield running
    running.cancel_all()


@pytest.fixture
def page(browser: Browser, lab: PageLab) -> Iterator[Page]:
    """The page, watched."""
    from support.page_browser import watched

    with watched(browser, lab.address) as shown:
        yield shown


@pytest.fixture
def stage(page: Page) -> Stage:
    """What jobs tell this page."""
    from support.page_stage import Stage

    return Stage(page)
