"""The page in a real Chromium: files and jobs, tables and charts, issues and the history."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
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
    Row,
    experiments_file,
)
from support.serving import serving_here

pytestmark = pytest.mark.slow

FILES: list[FilePayload] = [
    {"name": "users.csv", "mimeType": "text/csv", "buffer": b"user_id,name\n1,Marie\n" * 50},
    {"name": "tuesday.csv", "mimeType": "text/csv", "buffer": b"\xef\xbb\xbfexperiment_id\r\n"},
    {"name": "plate 7 (neu).xlsx", "mimeType": "application/zip", "buffer": b"PK\x03\x04\x00\xff"},
]
# A drop as the desktop makes it; only the files are made here.
DROP = """names => {
  const carried = new DataTransfer();
  for (const name of names) carried.items.add(new File(["user_id,name\\n"], name));
  const zone = document.querySelector("#drop");
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true});
    if (!zone.dispatchEvent(event) !== (kind !== "dragenter")) throw new Error(kind);
  }
}"""


def sent(lab: PageLab, page: Page) -> tuple[Row, Locator]:
    """Choose the files and load them; the job, and its card on the page."""
    page.set_input_files("#chooser", FILES)
    page.get_by_role("button", name="Load 3 files").click()
    card = page.get_by_role("article", name="Load of users.csv and 2 more files")
    expect(card).to_be_visible()
    return lab.newest_job(), card


def test_chosen_files_are_one_load_and_its_way_is_told(
    page: Page, lab: PageLab, stage: Stage
) -> None:
    before = len(lab.jobs())
    job, card = sent(lab, page)
    assert len(lab.jobs()) == before + 1
    # Every byte has arrived.
    assert job["files"] == [
        {
            "name": file["name"],
            "bytes": len(file["buffer"]),
            "sha256": hashlib.sha256(file["buffer"]).hexdigest(),
        }
        for file in FILES
    ]
    assert not job["options"]["replace"]
    expect(page.get_by_role("heading", name="What is going on")).to_be_focused()
    expect(card).to_contain_text("Waiting for its turn")

    stage.begin(job)
    expect(card).to_contain_text("Loading users.csv: 33 records so far")
    assert 0.4 < card.get_by_role("progressbar").evaluate("meter => meter.position") < 0.6
    stage.build(job, done=87)
    expect(card).to_contain_text("87 of 150 done")

    with page.expect_request("**/v1/marts"):
        # The tables are shown as they are now.
        stage.load_and_build(job)
    expect(card).to_contain_text("72 records of 3 files loaded, 3 lines rejected")
    expect(card).to_contain_text("150 tables and tests passed; 9.4 s")
    expect(card.get_by_role("row", name="plate 7 (neu).xlsx")).to_contain_text("broken quoting")
    expect(page.locator("#announcer")).to_have_text("Load of users.csv and 2 more files: done.")
    expect(card.get_by_role("link", name="See the result")).to_be_visible()


def test_files_are_kept_until_they_are_loaded(page: Page, lab: PageLab) -> None:
    page.evaluate(DROP, ["users.csv", "tuesday.csv"])
    page.evaluate(DROP, ["users.csv", "compounds.csv"])
    staged = page.locator("#staged-files .name")
    expect(staged).to_have_text(["tuesday.csv", "users.csv", "compounds.csv"])
    page.get_by_role("button", name="Remove tuesday.csv").click()
    page.get_by_role("radio", name="Replace them").check()
    page.get_by_role("button", name="Load 2 files").click()
    expect(page.locator("#job-cards")).to_contain_text("replacing what was there")
    job = lab.newest_job()
    assert [file["name"] for file in job["files"]] == ["users.csv", "compounds.csv"]
    assert job["options"]["replace"]
    expect(staged).to_have_count(0)
    # The next load adds again.
    page.evaluate(DROP, ["users.csv"])
    expect(page.get_by_role("radio", name="Add to them")).to_be_checked()
    # One that is refused says why and keeps the choice: here for a name with a backslash.
    before = len(lab.jobs())
    refused: FilePayload = {"name": "lab\\plate.csv", "mimeType": "", "buffer": b"x"}
    page.set_input_files("#chooser", [*FILES[:2], refused])
    page.get_by_role("button", name="Load 3 files").click()
    problem = page.locator("#upload-problem")
    expect(problem).to_contain_text("has a slash, backslash or control character in it")
    page.get_by_role("button", name="Remove lab\\plate.csv").click()
    page.route("**/v1/files*", lambda route: route.abort("connectionreset"), times=1)
    page.get_by_role("button", name="Load 2 files").click()
    expect(problem).to_contain_text("the connection broke off while the files were sent")
    expect(page.locator("#connection")).to_have_text("Connected")
    page.context.set_offline(True)
    page.get_by_role("button", name="Load 2 files").click()
    expect(problem).to_contain_text("cannot be reached")
    expect(problem).to_contain_text("Your choice of files is kept")
    expect(page.locator("#banner")).to_contain_text("No connection to the service since")
    assert len(lab.jobs()) == before
    page.context.set_offline(False)
    page.get_by_role("button", name="Load 2 files").click()
    expect(page.locator("#job-cards article")).to_have_count(2)
    expect(problem).to_be_empty()
    expect(page.locator("#banner")).to_be_empty()
    assert [file["name"] for file in lab.newest_job()["files"]] == ["users.csv", "tuesday.csv"]


def test_a_failed_build_is_told_by_the_names_of_its_tests(
    page: Page, lab: PageLab, stage: Stage
) -> None:
    lab.post("/v1/builds")
    page.reload()
    expect(page.get_by_role("article", name="Build of all tables")).to_be_visible()
    job, card = sent(lab, page)
    expect(card).to_contain_text("Waiting: 1 job before it.")
    stage.begin(job)
    name = "unique_combination_of_columns_users"
    detail = f"The build failed: {name}.\nNothing was published."
    failures = [{"name": name, "message": "2 rows do not hold it."}]
    build = {"passed": 149, "failed": 1, "skipped": 0, "seconds": 3, "failures": failures}
    error = {"title": "The build failed", "detail": detail}
    stage.turn(job, "failed", error=error, result={"files": [], "build": build})
    told = card.get_by_role("alert")
    expect(told).to_contain_text("The build failed")
    expect(told.locator(".sentence")).to_have_text(detail)
    expect(card).to_contain_text(f"{name} 2 rows do not hold it.")
    expect(card).to_contain_text("149 tables and tests passed, 1 failed")


def test_what_others_do_is_seen(browser: Browser, lab: PageLab) -> None:
    with watched(browser, lab.address, clock=True) as page:
        stage = Stage(page)
        expect(page.locator("#mart-grid tbody tr")).to_have_count(25)
        other = lab.upload("tuesday.csv", b"user_id,name\n7,Other\n")
        # Without a person's doing it looks at the jobs now and then.
        page.clock.fast_forward(6_000)
        card = page.get_by_role("article", name="Load of tuesday.csv")
        expect(card).to_be_visible()
        stage.load_and_build(other)
        expect(card).to_contain_text("24 records of 1 file loaded")
        card.get_by_role("button", name="Close").click()
        expect(card).to_have_count(0)
        page.get_by_text("Earlier jobs").click()
        page.get_by_role("button", name="Show Load of tuesday.csv").first.click()
        expect(card).to_contain_text("24 records of 1 file loaded")


def test_without_tables_it_says_what_to_do(browser: Browser, lab: PageLab) -> None:
    with (
        lab.other_tables("drop schema labmart cascade", loaded=False),
        watched(browser, lab.address) as page,
    ):
        expect(page.locator("#result-empty")).to_contain_text("There are no tables yet")
        expect(page.locator("#published")).to_be_hidden()
        page.get_by_role("button", name="Build the sample laboratory").click()
        expect(page.get_by_role("article", name="Build of all tables")).to_be_visible()
        job = lab.newest_job()
        assert (job["kind"], job["state"]) == ("build", "queued")
    with (
        lab.other_tables("drop schema labmart cascade"),
        watched(browser, lab.address) as page,
    ):
        empty = page.locator("#result-empty")
        expect(empty).to_contain_text("Your files are loaded, and no tables are built of them yet")
        expect(empty.get_by_role("button")).to_have_text("Build the tables")
    with (
        lab.other_tables("delete from labmart.input_issues", loaded=False),
        watched(browser, lab.address) as page,
    ):
        expect(page.locator("#result")).to_be_visible()
        expect(page.locator("#sample")).to_contain_text("the sample laboratory")
        expect(page.locator("#issues-body")).to_contain_text("Nothing was rejected")


def test_a_token_is_asked_for_and_kept_for_this_tab(browser: Browser, lab: PageLab) -> None:
    created = lab.server.labmart("token", "create", "--name", "press", "--role", "load")
    token = created.out.strip()
    assert token
    with (
        serving_here(lab.server.project, lab.server.database, require_token=True) as server,
        watched(browser, server.url + "/", clock=True) as page,
    ):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(unquote(request.url)))
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog.get_by_label("Token")).to_be_focused()
        page.keyboard.type("wrong-token")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not accept this token")
        dialog.get_by_label("Token").fill("not é token")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not accept this token")
        dialog.get_by_label("Token").fill(f" {token} ")
        dialog.get_by_role("button", name="Sign in").click()
        expect(page.locator("#mart-grid tbody tr")).to_have_count(25)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]

        job, card = sent(lab, page)
        assert job["created_by"] == "press"
        Stage(page).load_and_build(job)
        expect(card).to_contain_text("72 records of 3 files loaded")
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download User features as CSV").click()
        assert downloading.value.path().read_text().startswith("user_id,total_exp_per_user")
        assert len(asked) > 10
        assert not [url for url in asked if "token" in url or token in url]

        page.get_by_role("button", name="Sign out").click()
        expect(dialog).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
        dialog.get_by_role("button", name="Not now").click()
        expect(page.locator("#result-empty")).to_contain_text("needs a token")
        # It is not asked for again and again.
        asked.clear()
        page.clock.fast_forward(60_000)
        expect(dialog).to_be_hidden()
        assert asked == []


# Tables, charts, issues, and the history of loads.


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
    # Whatever the page offers is there.
    links = page.locator("a[href^='v1/']")
    assert links.count() > 8
    for link in links.all():
        address = f"{lab.address}{link.get_attribute('href')}"
        assert page.request.get(address).ok, address
    for name in page.locator("#mart option").all_inner_texts():
        page.get_by_label("Table", exact=True).select_option(label=name)
        expect(grid.locator("caption")).to_contain_text(name)
        expect(grid.locator(".problem")).to_have_count(0)


def test_the_first_screen_says_what_is_published(page: Page, lab: PageLab) -> None:
    [publication] = lab.items("/v1/publications", status="eq.current")
    accounts = lab.mart("input_reconciliation")
    read, accepted = (
        sum(int(row[name]) for row in accounts) for name in ("records_read", "accepted_rows")
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
    expect(link).to_have_attribute("href", f"v1/rejected?load_id=eq.{load_id}&format=csv")
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
    pair = {"user_id": f"eq.{busiest['user_id']}", "compound_id": f"eq.{most['compound_id']}"}
    heat = page.get_by_role("figure", name="Which user lists which compound")
    expect(heat.get_by_role("columnheader").nth(1)).to_have_text("Caffeine")
    expect(heat.get_by_role("cell").first).to_have_text(
        lab.column("user_compound_usage", "times_listed", **pair)[0]
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
    assert (job["kind"], job["options"]["load_id"]) == ("undo", load_id)
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
