"""The page in a real Chromium: tables, charts, issues and the history of loads."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from support.page_browser import Stage, watched
from support.page_lab import (
    COMPOUNDS,
    ERRORS,
    EXPERIMENTS_FILE,
    GREAT_ID,
    ISSUES,
    USERS,
    USERS_FILE,
    WARNINGS,
    PageLab,
    experiments_file,
)

pytestmark = pytest.mark.slow


def column(page: Page, place: str, number: int) -> list[str]:
    """A column of a table's body, as it is read; the first is 1."""
    return [
        text.strip()
        for text in page.locator(f"{place} tbody tr > :nth-child({number})").all_inner_texts()
    ]


def test_the_result_is_paged_and_sorted(page: Page, lab: PageLab) -> None:
    grid = page.locator("#mart-grid")
    expect(grid.locator("tbody tr")).to_have_count(25)
    totals = sorted(map(int, lab.column("user_features", "total_exp_per_user")), reverse=True)
    assert column(page, "#mart-grid", 3) == [str(total) for total in totals[:25]]
    pager = page.get_by_role("navigation", name="Pages of User features")
    expect(pager).to_contain_text("1 to 25 of 61 users")
    first = column(page, "#mart-grid", 1)
    pager.get_by_role("button", name="Next").click()
    expect(pager).to_contain_text("26 to 50 of 61 users")
    second = column(page, "#mart-grid", 1)
    pager.get_by_role("button", name="Next").click()
    expect(pager).to_contain_text("51 to 61 of 61 users")
    expect(pager.get_by_role("button", name="Next")).to_be_focused()
    third = column(page, "#mart-grid", 1)
    assert sorted(first + second + third) == sorted(lab.column("user_features", "user_id"))
    pager.get_by_role("button", name="Previous").click()
    expect(pager).to_contain_text("26 to 50 of 61 users")
    assert column(page, "#mart-grid", 1) == second
    pager.get_by_label("Rows per page").select_option("100")
    expect(pager).to_contain_text("All 61 users")
    pager.get_by_label("Rows per page").select_option("25")
    expect(pager).to_contain_text("1 to 25 of 61 users")
    expect(grid.locator("th[aria-sort]")).to_contain_text("Experiments")
    # Of names that begin with a letter, so that what is compared is what is shown.
    grid.get_by_label("in", exact=True).select_option(label="Name")
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
    # One search for the names of users and of compounds.
    search.get_by_label("Search for").fill("aspirin")
    most = lab.column("user_features", "most_consumed_compound_name")
    expect(page.locator("#mart-grid .place")).to_have_text(f"All {most.count('Aspirin')} users")
    search.get_by_label("Search for").fill("> 5")
    search.get_by_label("in", exact=True).select_option(label="Experiments")
    many = [total for total in lab.column("user_features", "total_exp_per_user") if int(total) > 5]
    assert 2 < len(many) < 25
    expect(rows).to_have_count(len(many))
    search.get_by_label("Search for").fill("many")
    expect(search).to_contain_text("Type a number, or > 5, <= 20.")
    expect(search.get_by_label("Search for")).to_have_attribute("aria-invalid", "true")
    # A number that JavaScript would round is shown with all its digits.
    search.get_by_label("in", exact=True).select_option(label="User number")
    search.get_by_label("Search for").fill(str(GREAT_ID))
    expect(rows).to_have_count(1)
    assert column(page, "#mart-grid", 1) == [str(GREAT_ID)]


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
    # Of any other mart as well.
    page.get_by_label("Table", exact=True).select_option(label="Compound usage")
    expect(grid.locator("tbody tr")).to_have_count(len(COMPOUNDS))
    expect(page.locator("#mart-description")).to_have_text(lab.description("compound_usage"))
    expect(page.get_by_role("link", name="Download Compound usage as Parquet")).to_have_attribute(
        "href", "v1/marts/compound_usage?order=-times_listed&format=parquet"
    )


def test_the_first_screen_says_what_is_published(page: Page, lab: PageLab) -> None:
    [publication] = lab.items("/v1/publications", status="current")
    accounts = lab.mart("input_reconciliation")
    read, accepted = (
        sum(int(str(row[name])) for row in accounts) for name in ("records_read", "accepted_rows")
    )
    shown = page.locator("#published")
    expect(shown).to_contain_text(f"Build {publication['build']} published today")
    expect(shown).to_contain_text(f"from {EXPERIMENTS_FILE}, {USERS_FILE} and compounds.csv.")
    expect(shown).to_contain_text(f"{accepted} of {read} records accepted")
    expect(shown).to_contain_text(f"{ERRORS + WARNINGS} open issues")
    expect(shown).to_contain_text(f"All {publication['tests_passed']} tests passed")
    tiles = shown.locator("dd strong")
    experiments = str(len(lab.mart("experiments")))
    expect(tiles.nth(0)).to_have_text(str(USERS + 1))
    expect(tiles.nth(1)).to_have_text(experiments)
    with page.expect_file_chooser():
        page.get_by_role("button", name="Load files").click()
    expect(page.locator("#mart-grid .build")).to_have_text(f"Build {publication['build']}")
    # The history has the lines that were rejected.
    load_id = lab.load_id(EXPERIMENTS_FILE)
    link = page.get_by_role("link", name=f"Download the 2 rejected lines of load {load_id}")
    expect(link).to_have_attribute("href", f"v1/loads/{load_id}/rejected?format=csv")
    expect(link).to_have_text("2")
    with page.expect_download() as downloading:
        link.click()
    assert downloading.value.path().read_text().count("too,few") == 2


def test_a_user_leads_to_the_experiments_with_names(page: Page, lab: PageLab) -> None:
    busiest = page.get_by_role("figure", name="Users with most experiments").get_by_role("link")
    name = busiest.first.inner_text()
    busiest.first.click()
    [user] = lab.items("/v1/marts/user_features", order="-total_exp_per_user", limit="1")
    grid = page.locator("#mart-grid")
    expect(grid.locator(".place")).to_contain_text(f"{user['total_exp_per_user']} experiments")
    expect(grid.locator("tbody tr").first).to_contain_text(name)
    first = lab.mart("experiments", user_id=f"eq.{user['user_id']}")[0]["experiment_id"]
    listed = lab.column("experiment_compounds", "compound_id", experiment_id=f"eq.{first}")
    names = [COMPOUNDS[int(number) - 1] for number in listed]
    expect(grid.get_by_role("row", name=str(first)).first).to_contain_text("; ".join(names))
    assert page.url.endswith(f"?table=experiments&user_id=eq.{user['user_id']}#tables")
    page.go_back()
    expect(grid.locator("caption")).to_contain_text("User features")


def test_charts_are_described_and_have_their_numbers(page: Page, lab: PageLab) -> None:
    [most] = lab.items("/v1/marts/compound_usage", order="-times_listed", limit="1")
    times_listed = str(most["times_listed"])
    assert most["compound_name"] == "Caffeine"
    used = page.get_by_role("figure", name="Most used compounds")
    expect(used).to_contain_text(f"Caffeine is used most: it is listed {times_listed} times.")
    expect(used.get_by_role("listitem")).to_have_count(len(COMPOUNDS))
    expect(used.get_by_role("listitem").first).to_have_text(f"Caffeine{times_listed}")
    loads = page.get_by_role("figure", name="Accepted and rejected, by load")
    rejected = ERRORS - ISSUES["nul_byte"]
    expect(loads.get_by_role("listitem").first).to_contain_text(f"{rejected} rejected")
    # The first row and column of the heat map are of the busiest user and the chief compound.
    [busiest] = lab.items("/v1/marts/user_features", order="-total_exp_per_user", limit="1")
    one = {"user_id": f"eq.{busiest['user_id']}", "compound_id": f"eq.{most['compound_id']}"}
    heat = page.get_by_role("figure", name="Which user lists which compound")
    expect(heat.get_by_role("columnheader").nth(1)).to_have_text("Caffeine")
    expect(heat.get_by_role("cell").first).to_have_text(
        lab.column("user_compound_usage", "times_listed", **one)[0]
    )
    times = page.get_by_role("figure", name="Run time of experiments")
    times.get_by_text("These numbers as a table").click()
    counted = sum(int(text) for text in times.locator("td").all_inner_texts())
    run_times = lab.column("experiments", "run_time")
    missing = run_times.count("None")
    assert missing == ISSUES["invalid_run_time"]
    assert counted == len(run_times) - missing
    expect(times).to_contain_text(f"{missing} more have no usable run time.")


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
        # 0, 1, 2 to 3, 4 to 7, … 32 to 63.
        assert counted[:3] == [2500, 2500, 5000]
        assert len(counted) == 7
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
    cause = issues.get_by_role("listitem").filter(has_text="unknown user").get_by_role("listitem")
    expect(cause).to_have_text(["User number 999: 4 rows"])
    cause.get_by_role("link").click()
    expect(issues.locator("tbody tr")).to_have_count(4)
    assert column(page, "#issues-body", 3) == [EXPERIMENTS_FILE] * 4
    lines = experiments_file().decode().splitlines()
    unknown = [number for number, line in enumerate(lines, 1) if ",999," in line]
    assert column(page, "#issues-body", 4) == [str(number) for number in unknown]
    with page.expect_download() as downloading:
        issues.get_by_role("link", name="Download Input issues as CSV").click()
    assert downloading.value.path().read_text().count("unknown_user") == 4
    assert downloading.value.url.endswith(
        "/v1/marts/input_issues?status=eq.open&rule=eq.unknown_user&value=eq.999"
        "&order=severity%2Cfile%2Cline&format=csv"
    )
    # The address is the view: whoever gets it sees the same.
    page.reload()
    expect(issues.locator("tbody tr")).to_have_count(4)
    issues.get_by_role("button", name="Remove the filter Value is 999").click()
    issues.get_by_role("button", name="Remove the filter Rule is unknown_user").click()
    expect(issues.locator("tbody tr")).to_have_count(ERRORS + WARNINGS)


def test_a_load_is_undone_and_redone_after_a_question(
    page: Page, lab: PageLab, stage: Stage
) -> None:
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
    assert lab.server.labmart("undo", str(load_id)).code == 0
    try:
        stage.load_and_build(job)
        expect(row).to_contain_text("undone")
        row.get_by_role("button", name=f"Redo load {load_id}").click()
        page.get_by_role("button", name="Redo", exact=True).click()
        expect(page.get_by_role("article", name=f"Redo of load {load_id}")).to_be_visible()
        job = lab.newest_job()
        assert job["kind"] == "redo"
    finally:
        assert lab.server.labmart("redo", str(load_id)).code == 0
    stage.load_and_build(job)
    expect(row).to_contain_text("counts")
