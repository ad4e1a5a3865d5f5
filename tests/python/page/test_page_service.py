"""The page on the real service: from files to tables, with a power failure between, and back."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from support.databases import Database
from support.page_browser import watched
from support.project import ROOT
from support.serving import serving

pytestmark = pytest.mark.slow

SAMPLE = ("raw_users.csv", "raw_user_experiments.csv", "raw_compounds.csv")
# A build, on a machine that does much else.
PATIENCE = 180_000


def test_files_become_tables_in_spite_of_a_power_failure(
    browser: Browser, served_project: Path, shared_database: Database
) -> None:
    with (
        serving(served_project, shared_database) as first,
        watched(browser, first.url + "/") as page,
    ):
        expect(page.locator("#result-empty")).to_contain_text("There are no tables yet")
        page.set_input_files("#chooser", [ROOT / "seeds" / name for name in SAMPLE])
        page.get_by_role("button", name="Load 3 files").click()
        card = page.get_by_role("article", name="Load of users.csv and 2 more files")
        expect(card).to_contain_text("Building and testing the tables", timeout=PATIENCE)
        first.kill()
        expect(page.locator("#banner")).to_contain_text("No connection to the service")
        expect(card).to_contain_text("this is how it stood last")
        with serving(served_project, shared_database, "--port", str(urlsplit(first.url).port)):
            expect(page.locator("#connection")).to_have_text("Connected")
            expect(card).to_contain_text("103 records of 3 files loaded", timeout=PATIENCE)
            expect(card).to_contain_text(re.compile(r"\d+ tables and tests passed;"))
            the_tables_are_there(page)
            a_load_is_undone(page)


def the_tables_are_there(page: Page) -> None:
    """The sample laboratory, in the table, the charts, the files to download."""
    rows = page.locator("#mart-grid tbody tr")
    expect(rows).to_have_count(24)
    expect(page.locator("#history-body tbody tr")).to_have_count(3)
    expect(page.locator("#issues-body")).to_contain_text("Nothing was rejected")
    most_used = page.get_by_role("figure", name="Most used compounds")
    expect(most_used).to_contain_text("Aspirin is used most: it is listed 20 times.")
    page.get_by_label("Search for").fill("amara")
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page.locator("#mart-grid th[aria-sort=ascending]")).to_contain_text("Name")
    expect(rows.first).to_contain_text("Amara Okafor")
    for format_, begin in {"Parquet": b"PAR1", "CSV": b"user_id,", "JSON": b'{"items":'}.items():
        with page.expect_download() as downloading:
            page.get_by_role("link", name=f"Download User features as {format_}").click()
        assert downloading.value.path().read_bytes().startswith(begin)
    page.get_by_label("Search for").fill("")
    for name in page.locator("#mart option").all_inner_texts():
        page.get_by_label("Table", exact=True).select_option(label=name)
        expect(page.locator("#mart-grid caption")).to_contain_text(name)
        expect(page.locator("#mart-grid .problem")).to_have_count(0)


def a_load_is_undone(page: Page) -> None:
    """Its rows are out of the tables, which are built anew."""
    experiments = page.locator("#history-body tr", has_text="user_experiments.csv")
    experiments.get_by_role("button", name="Undo").click()
    page.get_by_role("dialog").get_by_role("button", name="Undo", exact=True).click()
    card = page.locator("#job-cards article").first
    expect(card).to_contain_text("is undone.", timeout=PATIENCE)
    expect(experiments).to_contain_text("undone")
