"""The page in a real Chromium: tables, charts, issues and the history of loads."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect
from support.page_browser import watched
from support.page_labs import COMPOUNDS, furnish, load_and_build
from support.page_service import PageService

pytestmark = pytest.mark.slow


def column(page: Page, place: str, number: int) -> list[str]:
    """A column of a table's body, as it is read; the first is 1."""
    return [
        text.strip()
        for text in page.locator(f"{place} tbody tr > :nth-child({number})").all_inner_texts()
    ]


def held(service: PageService, name: str) -> list[str]:
    """A column of the result, as the service holds it."""
    return [str(row[name]) for row in service.marts["user_features"].rows]


def test_the_result_is_sorted_by_a_click(page: Page, page_service: PageService) -> None:
    grid = page.locator("#mart-grid")
    expect(grid.locator("tbody tr")).to_have_count(24)
    assert column(page, "#mart-grid", 3) == sorted(
        held(page_service, "total_exp_per_user"), key=int, reverse=True
    )
    expect(grid.locator("th[aria-sort]")).to_contain_text("Experiments")
    grid.get_by_role("button", name="Name", exact=True).click()
    expect(grid.locator("th[aria-sort=ascending]")).to_contain_text("Name")
    expect(page.locator("#announcer")).to_have_text("Sorted by Name, rising.")
    expect(grid.locator("tbody tr").first).to_contain_text("Ada Lovelace")
    assert column(page, "#mart-grid", 2) == sorted(held(page_service, "user_name"))
    grid.get_by_role("button", name="Name", exact=True).click()
    expect(grid.locator("tbody tr").first).to_contain_text("Wu Jianxiong")


def test_the_result_is_searched_by_text_and_by_number(
    page: Page, page_service: PageService
) -> None:
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
    assert (len(lines), lines[0]) == (3, ",".join(page_service.marts["user_features"].columns))

    search.get_by_label("Search for").fill("nobody of this name")
    expect(rows).to_have_text(["No user fits."])
    search.get_by_label("Search for").fill("> 5")
    search.get_by_label("in", exact=True).select_option(label="Experiments")
    many = [total for total in held(page_service, "total_exp_per_user") if int(total) > 5]
    expect(rows).to_have_count(len(many))
    search.get_by_label("Search for").fill("many")
    expect(search).to_contain_text("Type a number, or > 5, <= 20.")
    expect(search.get_by_label("Search for")).to_have_attribute("aria-invalid", "true")


def test_pages_lead_on_and_back(browser: Browser, page_service: PageService) -> None:
    furnish(page_service, users=60)
    with watched(browser, page_service.address) as page:
        pager = page.get_by_role("navigation", name="Pages of User features")
        expect(pager).to_contain_text("Users 1 to 25; more follow")
        first = column(page, "#mart-grid", 1)
        pager.get_by_role("button", name="Next").click()
        expect(pager).to_contain_text("Users 26 to 50; more follow")
        second = column(page, "#mart-grid", 1)
        pager.get_by_role("button", name="Next").click()
        expect(pager).to_contain_text("Users 51 to 60, the last")
        expect(pager.get_by_role("button", name="Next")).to_be_focused()
        third = column(page, "#mart-grid", 1)
        assert sorted(first + second + third, key=int) == held(page_service, "user_id")
        pager.get_by_role("button", name="Previous").click()
        expect(pager).to_contain_text("Users 26 to 50")
        assert column(page, "#mart-grid", 1) == second
        pager.get_by_label("Rows per page").select_option("100")
        expect(pager).to_contain_text("All 60 users")


def test_columns_are_explained_and_chosen(page: Page) -> None:
    grid = page.locator("#mart-grid")
    grid.get_by_text("Columns and what they mean").click()
    expect(grid.locator("fieldset")).to_contain_text("What signup_date means.")
    grid.get_by_role("checkbox", name="Signed up signup_date").check()
    expect(grid.get_by_role("columnheader", name="Signed up")).to_be_visible()
    expect(grid.locator("tbody tr").first).to_contain_text("2024-03-")
    grid.get_by_role("checkbox", name="Experiments total_exp_per_user").uncheck()
    expect(grid.get_by_role("columnheader", name="Experiments", exact=True)).to_have_count(0)


def test_every_mart_can_be_looked_at(page: Page) -> None:
    page.get_by_label("Table", exact=True).select_option(label="Compound usage")
    grid = page.locator("#mart-grid")
    expect(grid.locator("tbody tr")).to_have_count(len(COMPOUNDS))
    expect(page.locator("#mart-description")).to_have_text("One row per thing in compound_usage.")
    expect(page.get_by_role("link", name="Download Compound usage as Parquet")).to_have_attribute(
        "href", "v1/marts/compound_usage?order=-times_listed&format=parquet"
    )


def test_numbers_are_shown_with_all_their_digits(page: Page, page_service: PageService) -> None:
    rows = page_service.marts["user_features"].rows
    rows[0]["user_id"] = 900719925474099345
    page.reload()
    search = page.get_by_role("search", name="Search in User features")
    search.get_by_label("in", exact=True).select_option(label="User number")
    search.get_by_label("Search for").fill("900719925474099345")
    expect(page.locator("#mart-grid tbody tr")).to_have_count(1)
    assert column(page, "#mart-grid", 1) == ["900719925474099345"]


def test_charts_are_described_and_have_their_numbers(page: Page, page_service: PageService) -> None:
    used = page.get_by_role("figure", name="Most used compounds")
    drawing = used.get_by_role("img", name="Most used compounds")
    expect(drawing).to_have_accessible_description("Caffeine is used most: it is listed 64 times.")
    used.get_by_text("These numbers as a table").click()
    expect(used.get_by_role("row", name="Caffeine")).to_contain_text("64")
    times = page.get_by_role("figure", name="Run time of experiments")
    times.get_by_text("These numbers as a table").click()
    counted = sum(int(text) for text in times.locator("td").all_inner_texts())
    known = [row for row in page_service.marts["experiments"].rows if row["run_time"] is not None]
    assert counted == len(known)
    missing = len(page_service.marts["experiments"].rows) - len(known)
    expect(times).to_contain_text(f"{missing} more have no usable run time.")


def test_few_users_have_a_bar_each(browser: Browser, page_service: PageService) -> None:
    furnish(page_service, users=5)
    with watched(browser, page_service.address) as page:
        figure = page.get_by_role("figure", name="Experiments per user")
        expect(figure.locator("rect")).to_have_count(5)
        expect(figure.locator("svg")).to_contain_text("Lise Meitner")


def test_a_hundred_thousand_users(browser: Browser, page_service: PageService) -> None:
    furnish(page_service, users=100_000, issues=0)
    with watched(browser, page_service.address) as page:
        figure = page.get_by_role("figure", name="Experiments per user")
        expect(figure).to_contain_text("100,000 users", timeout=40_000)
        figure.get_by_text("These numbers as a table").click()
        counted = [int(text.replace(",", "")) for text in figure.locator("td").all_inner_texts()]
        assert sum(counted) == 100_000
        assert len(counted) <= 13
        # More experiments than a picture is worth: it says so.
        times = page.get_by_role("figure", name="Run time of experiments")
        expect(times).to_contain_text("Drawn from the first 200,000 rows.")
        assert page.locator("#mart-grid tbody tr").count() == 25


def test_issues_are_told_by_rule_with_file_and_line(page: Page, page_service: PageService) -> None:
    issues = page.locator("#issues-body")
    expect(issues).to_contain_text("16 issues: 12 errors, whose row or line is rejected, and 4")
    expect(page.get_by_role("link", name="Issues 16")).to_be_visible()
    issues.get_by_label("Rule", exact=True).select_option(label="unknown user (error, 4)")
    expect(issues.locator("tbody tr")).to_have_count(4)
    assert column(page, "#issues-body", 1) == ["monday.csv"] * 4
    assert column(page, "#issues-body", 2) == ["5", "17", "29", "41"]
    with page.expect_download() as downloading:
        issues.get_by_role("link", name="Download Input issues as CSV").click()
    assert downloading.value.path().read_text().count("unknown_user") == 4
    assert (
        "GET /v1/marts/input_issues?rule=eq.unknown_user&order=severity%2Cfile%2Cline&format=csv"
        in page_service.asked
    )


def test_a_load_is_undone_and_redone_after_a_question(
    page: Page, page_service: PageService
) -> None:
    row = page.locator("#history-body tbody tr").first
    expect(row).to_contain_text("user_experiments.csv")
    undo = row.get_by_role("button", name="Undo load 3, user_experiments.csv")
    undo.click()
    question = page.get_by_role("dialog", name="Undo load 3?")
    expect(question).to_contain_text("The 66 records of user_experiments.csv do not count any more")
    page.keyboard.press("Escape")
    expect(undo).to_be_focused()
    assert page_service.jobs == []

    undo.click()
    question.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_role("article", name="Undo of load 3")).to_be_visible()
    assert "POST /v1/loads/3/undo" in page_service.asked
    load_and_build(page_service, page_service.jobs[-1])
    expect(row).to_contain_text("undone")
    row.get_by_role("button", name="Redo load 3").click()
    page.get_by_role("button", name="Redo", exact=True).click()
    load_and_build(page_service, page_service.jobs[-1])
    expect(row).to_contain_text("counts")


def test_rejected_lines_are_downloaded_from_the_history(page: Page) -> None:
    link = page.get_by_role("link", name="Download the rejected lines of load 3")
    expect(link).to_have_attribute("href", "v1/loads/3/rejected?format=csv")
    expect(link).to_have_text("2")
