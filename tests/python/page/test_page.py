"""The page in a real Chromium: files and jobs, and what it says of the service's state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect
from support.page_browser import Stage, watched
from support.page_lab import PageLab
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


def sent(lab: PageLab, page: Page) -> tuple[Mapping[str, object], Locator]:
    """Choose the files and load them; the job, and its card on the page."""
    page.set_input_files("#chooser", FILES)
    page.get_by_role("button", name="Load 3 files").click()
    card = page.get_by_role("article", name="Load of users.csv and 2 more files")
    expect(card).to_be_visible()
    return lab.newest_job(), card


def names_of(job: Mapping[str, object]) -> list[str]:
    """The names of a job's files."""
    files = job["files"]
    assert isinstance(files, list)
    return [file["name"] for file in files]


def replaces(job: Mapping[str, object]) -> bool:
    """Whether a job's files are to take the place of what was loaded before."""
    options = job["options"]
    assert isinstance(options, dict)
    return bool(options["replace"])


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
    assert not replaces(job)
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
    assert names_of(job) == ["users.csv", "compounds.csv"]
    assert replaces(job)
    expect(staged).to_have_count(0)
    # The next load adds again.
    page.evaluate(DROP, ["users.csv"])
    expect(page.get_by_role("radio", name="Add to them")).to_be_checked()
    # One that is refused says why and keeps the choice.
    before = len(lab.jobs())
    # The service refuses a name with a backslash.
    refused: FilePayload = {"name": "lab\\plate.csv", "mimeType": "", "buffer": b"x"}
    page.set_input_files("#chooser", [*FILES[:2], refused])
    page.get_by_role("button", name="Load 3 files").click()
    problem = page.locator("#upload-problem")
    expect(problem).to_contain_text("has a slash, backslash or control character in it")
    assert len(lab.jobs()) == before
    expect(page.locator("#staged-files .name")).to_have_count(3)
    page.get_by_role("button", name="Remove lab\\plate.csv").click()
    page.get_by_role("button", name="Load 2 files").click()
    expect(page.locator("#job-cards article")).to_have_count(2)
    expect(problem).to_be_empty()
    assert names_of(lab.newest_job()) == ["users.csv", "tuesday.csv"]


def test_a_job_waits_for_those_before_it_and_can_be_cancelled(page: Page, lab: PageLab) -> None:
    lab.post("/v1/builds")
    page.reload()
    expect(page.get_by_role("article", name="Build of all tables")).to_be_visible()
    job, card = sent(lab, page)
    expect(card).to_contain_text("Waiting: 1 job before it.")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled. What had been loaded before stays loaded.")
    assert lab.newest_job()["id"] == job["id"]
    assert lab.newest_job()["state"] == "cancelled"


def test_a_failed_build_is_told_by_the_names_of_its_tests(
    page: Page, lab: PageLab, stage: Stage
) -> None:
    job, card = sent(lab, page)
    stage.begin(job)
    detail = "The build failed: unique_combination_of_columns_users.\nNothing was published."
    failures = [
        {"name": "unique_combination_of_columns_users", "message": "2 rows do not hold it."}
    ]
    build = {"passed": 149, "failed": 1, "skipped": 0, "seconds": 3, "failures": failures}
    stage.turn(
        job,
        "failed",
        error={"title": "The build failed", "detail": detail},
        result={"files": [], "build": build},
    )
    told = card.get_by_role("alert")
    expect(told).to_contain_text("The build failed")
    expect(told.locator(".sentence")).to_have_text(detail)
    expect(card).to_contain_text("unique_combination_of_columns_users 2 rows do not hold it.")
    expect(card).to_contain_text("149 tables and tests passed, 1 failed")


def test_an_upload_to_a_service_that_is_away_keeps_the_choice(page: Page, lab: PageLab) -> None:
    before = len(lab.jobs())
    page.set_input_files("#chooser", FILES)
    problem = page.locator("#upload-problem")

    def break_off(route: Route) -> None:
        route.abort("connectionreset")

    page.route("**/v1/files*", break_off)
    page.get_by_role("button", name="Load 3 files").click()
    expect(problem).to_contain_text("the connection broke off while the files were sent")
    expect(page.locator("#connection")).to_have_text("Connected")
    page.unroute("**/v1/files*", break_off)
    page.context.set_offline(True)
    page.get_by_role("button", name="Load 3 files").click()
    expect(problem).to_contain_text("cannot be reached")
    expect(problem).to_contain_text("Your choice of files is kept")
    expect(page.locator("#banner")).to_contain_text("No connection to the service since")
    page.context.set_offline(False)
    page.get_by_role("button", name="Load 3 files").click()
    expect(page.locator("#job-cards article")).to_have_count(1)
    expect(page.locator("#banner")).to_be_empty()
    assert len(lab.jobs()) == before + 1


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
        expect(card).to_contain_text("Log of the build: 150 entries")


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
