"""The page in a real Chromium: tables, charts, issues and the history of loads."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from support.in_process import labmart
from support.page_browser import watched
from support.page_lab import (
    COMPOUNDS,
    ERRORS,
    EXPERIMENTS_FILE,
    GREAT_ID,
    ISSUES,
    WARNINGS,
    PageLab,
    experiments_file,
)
from support.page_stage import Stage

pytestmark = pytest.mark.slow


def column(page: Page, place: str, number: int) -> list[str]:
    """A column of a table's body, as it is read; the first is 1."""
    return [
        text.strip()
        for text in page.locator(f"{place} tbody tr > :nth-child({number})").all_inner_texts()
    ]


def test_the_result_is_sorted_by_a_click(page: Page, lab: PageLab) -> None:
    grid = page.locator("#mart-grid")
    expect(grid.locator("tbody tr")).to_have_count(25)
    totals = sorted(map(int, lab.column("user_features", "total_exp_per_user")), reverse=True)
    assert column(page, "#mart-grid", 3) == [str(total) for total in totals[:25]]
    expect(grid.locator("th[aria-sort]")).to_contain_text("Experiments")
    # Of names that begin with a letter, so that what is compared is what is shown.
    grid.get_by_label("Search for").fill("ar")
    expect(grid.locator("tbody tr").first).to_contain_text(re.compile("[Aa]r"))
    grid.get_by_role("button", name="Name", exact=True).click()
    expect(grid.locator("th[aria-sort=ascending]")).to_contain_text("Name")
    expect(page.locator("#announcer")).to_have_text("Sorted by Name, rising.")
    expect(grid.locator("tbody tr").first).to_contain_text("Barbara McClintock")
    names = sorted(
        name for name in lab.column("user_features", "user_name") if "ar" in name.lower()
    )
    assert column(page, "#mart-grid", 2) == names
    grid.get_by_role("button", name="Name", exact=True).click()
    expect(grid.locator("tbody tr").first).to_contain_text(names[-1])


def test_the_result_is_searched_by_text_and_by_number(page: Page, lab: PageLab) -> None:
    search = page.get_by_role("search", name="Search in User features")
    rows = page.locator("#mart-grid tbody tr")
    search.get_by_label("Search for").fill("curie")
    expect(rows).to_have_count(2)
    assert set(column(page, "#mart-grid", 2)) == {"Marie Curie", "Irène Joliot-Curie"}
    # What is downloaded is what was found, with all its columns.
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download User features as CSV").click()
    assert downloading.value.suggested_filename == "user_features.csv"
    lines = downloading.value.path().read_text().splitlines()
    [*columns] = lab.mart("user_features")[0]
    assert (len(lines), lines[0]) == (3, ",".join(columns))

    search.get_by_label("Search for").fill("nobody of this name")
    expect(rows).to_have_text(["No user fits."])
    search.get_by_label("Search for").fill("> 5")
    search.get_by_label("in", exact=True).select_option(label="Experiments")
    many = [total for total in lab.column("user_features", "total_exp_per_user") if int(total) > 5]
    assert 2 < len(many) < 25
    expect(rows).to_have_count(len(many))
    search.get_by_label("Search for").fill("many")
    expect(search).to_contain_text("Type a number, or > 5, <= 20.")
    expect(search.get_by_label("Search for")).to_have_attribute("aria-invalid", "true")


def test_pages_lead_on_and_back(page: Page, lab: PageLab) -> None:
    pager = page.get_by_role("navigation", name="Pages of User features")
    expect(pager).to_contain_text("Users 1 to 25; more follow")
    first = column(page, "#mart-grid", 1)
    pager.get_by_role("button", name="Next").click()
    expect(pager).to_contain_text("Users 26 to 50; more follow")
    second = column(page, "#mart-grid", 1)
    pager.get_by_role("button", name="Next").click()
    expect(pager).to_contain_text("Users 51 to 61, the last")
    expect(pager.get_by_role("button", name="Next")).to_be_focused()
    third = column(page, "#mart-grid", 1)
    assert sorted(first + second + third) == sorted(lab.column("user_features", "user_id"))
    pager.get_by_role("button", name="Previous").click()
    expect(pager).to_contain_text("Users 26 to 50")
    assert column(page, "#mart-grid", 1) == second
    pager.get_by_label("Rows per page").select_option("100")
    expect(pager).to_contain_text("All 61 users")


def test_columns_are_explained_and_chosen(page: Page, lab: PageLab) -> None:
    grid = page.locator("#mart-grid")
    grid.get_by_text("Columns and what they mean").click()
    meaning = lab.description("user_features", "signup_date")
    assert meaning
    expect(grid.locator("fieldset")).to_contain_text(meaning)
    grid.get_by_role("checkbox", name="Signed up signup_date").check()
    expect(grid.get_by_role("columnheader", name="Signed up")).to_be_visible()
    expect(grid.locator("tbody tr").first).to_contain_text("2024-03-")
    grid.get_by_role("checkbox", name="Experiments total_exp_per_user").uncheck()
    expect(grid.get_by_role("columnheader", name="Experiments", exact=True)).to_have_count(0)


def test_every_mart_can_be_looked_at(page: Page, lab: PageLab) -> None:
    page.get_by_label("Table", exact=True).select_option(label="Compound usage")
    grid = page.locator("#mart-grid")
    expect(grid.locator("tbody tr")).to_have_count(len(COMPOUNDS))
    expect(page.locator("#mart-description")).to_have_text(lab.description("compound_usage"))
    expect(page.get_by_role("link", name="Download Compound usage as Parquet")).to_have_attribute(
        "href", "v1/marts/compound_usage?order=-times_listed&format=parquet"
    )


def test_numbers_are_shown_with_all_their_digits(page: Page) -> None:
    search = page.get_by_role("search", name="Search in User features")
    search.get_by_label("in", exact=True).select_option(label="User number")
    search.get_by_label("Search for").fill(str(GREAT_ID))
    expect(page.locator("#mart-grid tbody tr")).to_have_count(1)
    assert column(page, "#mart-grid", 1) == [str(GREAT_ID)]


def test_charts_are_described_and_have_their_numbers(page: Page, lab: PageLab) -> None:
    [most] = lab.items("/v1/marts/compound_usage", order="-times_listed", limit="1")
    times_listed = str(most["times_listed"])
    assert most["compound_name"] == "Caffeine"
    used = page.get_by_role("figure", name="Most used compounds")
    drawing = used.get_by_role("img", name="Most used compounds")
    expect(drawing).to_have_accessible_description(
        f"Caffeine is used most: it is listed {times_listed} times."
    )
    used.get_by_text("These numbers as a table").click()
    expect(used.get_by_role("row", name="Caffeine")).to_contain_text(times_listed)
    times = page.get_by_role("figure", name="Run time of experiments")
    times.get_by_text("These numbers as a table").click()
    counted = sum(int(text) for text in times.locator("td").all_inner_texts())
    run_times = lab.column("experiments", "run_time")
    missing = run_times.count("None")
    assert missing == ISSUES["invalid_run_time"]
    assert counted == len(run_times) - missing
    expect(times).to_contain_text(f"{missing} more have no usable run time.")


def test_few_users_have_a_bar_each(browser: Browser, lab: PageLab) -> None:
    few = "delete from labmart.user_features where user_id not in (1, 2, 3, 4, 5)"
    with lab.other_tables(few), watched(browser, lab.address) as page:
        figure = page.get_by_role("figure", name="Experiments per user")
        expect(figure.locator("rect")).to_have_count(5)
        expect(figure.locator("svg")).to_contain_text("Lise Meitner")


def test_a_hundred_thousand_users(browser: Browser, lab: PageLab) -> None:
    many = (
        "truncate labmart.user_features; insert into labmart.user_features "
        "(user_id, user_name, total_exp_per_user, distinct_compounds) "
        "select n, 'Student ' || n, n * 7919 % 40, 0 from generate_series(1, 100000) as n",
        "truncate labmart.experiments; insert into labmart.experiments "
        "(experiment_id, user_id, run_time) "
        "select n, 1, n % 100 from generate_series(1, 200001) as n",
    )
    with lab.other_tables(*many), watched(browser, lab.address) as page:
        figure = page.get_by_role("figure", name="Experiments per user")
        expect(figure).to_contain_text("100,000 users")
        figure.get_by_text("These numbers as a table").click()
        counted = [int(text.replace(",", "")) for text in figure.locator("td").all_inner_texts()]
        assert sum(counted) == 100_000
        assert len(counted) <= 13
        # More experiments than a picture is worth: it says so.
        times = page.get_by_role("figure", name="Run time of experiments")
        expect(times).to_contain_text("Drawn from the first 200,000 rows.")
        assert page.locator("#mart-grid tbody tr").count() == 25


def test_issues_are_told_by_rule_with_file_and_line(page: Page) -> None:
    issues = page.locator("#issues-body")
    expect(issues).to_contain_text(
        f"{ERRORS + WARNINGS} issues: {ERRORS} errors, whose row or line is rejected, and "
        f"{WARNINGS} warnings"
    )
    expect(page.get_by_role("link", name=f"Issues {ERRORS + WARNINGS}")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    issues.get_by_label("Rule", exact=True).select_option(label="unknown user (error, 4)")
    expect(issues.locator("tbody tr")).to_have_count(4)
    assert column(page, "#issues-body", 1) == [EXPERIMENTS_FILE] * 4
    lines = experiments_file().decode().splitlines()
    unknown = [number for number, line in enumerate(lines, 1) if ",999," in line]
    assert column(page, "#issues-body", 2) == [str(number) for number in unknown]
    with page.expect_download() as downloading:
        issues.get_by_role("link", name="Download Input issues as CSV").click()
    assert downloading.value.path().read_text().count("unknown_user") == 4
    assert downloading.value.url.endswith(
        "/v1/marts/input_issues?rule=eq.unknown_user&order=severity%2Cfile%2Cline&format=csv"
    )


def test_a_load_is_undone_and_redone_after_a_question(
    page: Page, lab: PageLab, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lab.server.database.environment.items():
        monkeypatch.setenv(name, value)
    load_id = lab.load_id(EXPERIMENTS_FILE)
    before = len(lab.jobs())
    row = page.locator("#history-body tbody tr", has_text=EXPERIMENTS_FILE)
    records = lab.items("/v1/loads")[0]["records_read"]
    undo = row.get_by_role("button", name=f"Undo load {load_id}, {EXPERIMENTS_FILE}")
    undo.click()
    question = page.get_by_role("dialog", name=f"Undo load {load_id}?")
    expect(question).to_contain_text(
        f"The {records} records of {EXPERIMENTS_FILE} do not count any more"
    )
    page.keyboard.press("Escape")
    expect(undo).to_be_focused()
    assert len(lab.jobs()) == before

    undo.click()
    question.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_role("article", name=f"Undo of load {load_id}")).to_be_visible()
    job = lab.newest_job()
    assert job["kind"] == "undo"
    assert isinstance(job["options"], dict)
    assert job["options"]["load_id"] == load_id
    # What its worker would do, without the build.
    assert labmart(lab.server.project, "undo", str(load_id)).code == 0
    try:
        stage.load_and_build(job)
        expect(row).to_contain_text("undone")
        row.get_by_role("button", name=f"Redo load {load_id}").click()
        page.get_by_role("button", name="Redo", exact=True).click()
        expect(page.get_by_role("article", name=f"Redo of load {load_id}")).to_be_visible()
        job = lab.newest_job()
        assert job["kind"] == "redo"
    finally:
        assert labmart(lab.server.project, "redo", str(load_id)).code == 0
    stage.load_and_build(job)
    expect(row).to_contain_text("counts")


def test_rejected_lines_are_downloaded_from_the_history(page: Page, lab: PageLab) -> None:
    load_id = lab.load_id(EXPERIMENTS_FILE)
    link = page.get_by_role("link", name=f"Download the rejected lines of load {load_id}")
    expect(link).to_have_attribute("href", f"v1/loads/{load_id}/rejected?format=csv")
    expect(link).to_have_text("2")
    with page.expect_download() as downloading:
        link.click()
    assert downloading.value.path().read_text().count("too,few") == 2
