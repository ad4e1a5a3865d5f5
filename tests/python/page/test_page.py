"""The page in a real Chromium: files and jobs, and what it says of the service's state."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
from support.page_browser import watched
from support.page_labs import begin, build, furnish, load_and_build
from support.page_service import Job, PageService

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


def sent(service: PageService, page: Page) -> tuple[Job, Locator]:
    """Choose the files and load them; the job, and its card on the page."""
    page.set_input_files("#chooser", FILES)
    page.get_by_role("button", name="Load 3 files").click()
    card = page.get_by_role("article", name="Load of users.csv and 2 more files")
    expect(card).to_be_visible()
    return service.jobs[-1], card


def test_chosen_files_are_one_load_and_its_way_is_told(
    page: Page, page_service: PageService
) -> None:
    job, card = sent(page_service, page)
    assert page_service.uploads == [{file["name"]: file["buffer"] for file in FILES}]
    assert "POST /v1/files?replace=false" in page_service.asked
    expect(page.get_by_role("heading", name="What is going on")).to_be_focused()
    expect(card).to_contain_text("Waiting for its turn")

    begin(page_service, job)
    expect(card).to_contain_text("Loading users.csv: 33 records so far")
    assert 0.4 < card.get_by_role("progressbar").evaluate("meter => meter.position") < 0.6
    build(page_service, job, done=87)
    expect(card).to_contain_text("87 of 150 done")

    with page.expect_request("**/v1/marts"):
        # The tables are shown as they are now.
        load_and_build(page_service, job)
    expect(card).to_contain_text("72 records of 3 files loaded, 3 lines rejected")
    expect(card).to_contain_text("150 tables and tests passed; 9.4 s")
    expect(card.get_by_role("row", name="plate 7 (neu).xlsx")).to_contain_text("broken quoting")
    expect(page.locator("#announcer")).to_have_text("Load of users.csv and 2 more files: done.")
    expect(card.get_by_role("link", name="See the result")).to_be_visible()


def test_dropped_files_are_kept_until_they_are_loaded(
    page: Page, page_service: PageService
) -> None:
    page.evaluate(DROP, ["users.csv", "tuesday.csv"])
    page.evaluate(DROP, ["users.csv", "compounds.csv"])
    staged = page.locator("#staged-files .name")
    expect(staged).to_have_text(["tuesday.csv", "users.csv", "compounds.csv"])
    page.get_by_role("button", name="Remove tuesday.csv").click()
    page.get_by_role("radio", name="Replace them").check()
    page.get_by_role("button", name="Load 2 files").click()
    expect(page.locator("#job-cards")).to_contain_text("replacing what was there")
    assert [[*files] for files in page_service.uploads] == [["users.csv", "compounds.csv"]]
    assert "POST /v1/files?replace=true" in page_service.asked
    expect(staged).to_have_count(0)
    # The next load adds again.
    page.evaluate(DROP, ["users.csv"])
    expect(page.get_by_role("radio", name="Add to them")).to_be_checked()


def test_a_refused_upload_says_why_and_keeps_the_choice(
    page: Page, page_service: PageService
) -> None:
    page_service.refuse = (413, "tuesday.csv is greater than 10 MB.")
    page.set_input_files("#chooser", FILES)
    page.get_by_role("button", name="Load 3 files").click()
    expect(page.locator("#upload-problem")).to_contain_text("tuesday.csv is greater than 10 MB.")
    page_service.refuse = None
    page.get_by_role("button", name="Load 3 files").click()
    expect(page.locator("#job-cards article")).to_have_count(1)
    expect(page.locator("#upload-problem")).to_be_empty()


def test_a_job_waits_for_those_before_it_and_can_be_cancelled(
    page: Page, page_service: PageService
) -> None:
    first = page_service.add(Job("build"))
    page_service.turn(first, "running")
    page.reload()
    job, card = sent(page_service, page)
    expect(card).to_contain_text("Waiting: 1 job before it.")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled. What had been loaded before stays loaded.")
    assert job.state == "cancelled"


def test_a_failed_job_has_the_service_s_own_sentence(page: Page, page_service: PageService) -> None:
    job, card = sent(page_service, page)
    begin(page_service, job)
    job.error = {
        "title": "A file was refused",
        "detail": "users.csv, line 1: the header names no known table.\nNothing was loaded.",
    }
    failures = [
        {"name": "unique_combination_of_columns_users", "message": "2 rows do not hold it."}
    ]
    build_ = {"passed": 149, "failed": 1, "skipped": 0, "seconds": 3, "failures": failures}
    job.result = {"files": [], "build": build_}
    page_service.turn(job, "failed")
    told = card.get_by_role("alert")
    expect(told).to_contain_text("A file was refused")
    expect(told.locator(".sentence")).to_have_text(str(job.error["detail"]))
    expect(card).to_contain_text("unique_combination_of_columns_users 2 rows do not hold it.")
    expect(card).to_contain_text("149 tables and tests passed, 1 failed")


def test_a_service_that_is_killed_and_starts_again(page: Page, page_service: PageService) -> None:
    job, card = sent(page_service, page)
    begin(page_service, job)
    build(page_service, job, done=3)
    expect(card).to_contain_text("Log of the build: 3 entries")
    page_service.stop()
    expect(page.locator("#banner")).to_contain_text("No connection to the service since")
    expect(page.locator("#connection")).to_have_text("No connection")
    expect(card).to_contain_text("this is how it stood last")

    page_service.start()
    expect(page.locator("#connection")).to_have_text("Connected")
    expect(page.locator("#banner")).to_be_empty()
    load_and_build(page_service, job)
    expect(card).to_contain_text("150 tables and tests passed")
    # It went on behind the last event: the 150 nodes of the end, not the first three again.
    expect(card).to_contain_text("Log of the build: 153 entries")


def test_an_upload_to_a_service_that_is_away_keeps_the_choice(
    page: Page, page_service: PageService
) -> None:
    page.set_input_files("#chooser", FILES)
    problem = page.locator("#upload-problem")
    page_service.breaks_off = True
    page.get_by_role("button", name="Load 3 files").click()
    expect(problem).to_contain_text("the connection broke off while the files were sent")
    expect(page.locator("#connection")).to_have_text("Connected")
    page_service.breaks_off = False
    page_service.stop()
    page.get_by_role("button", name="Load 3 files").click()
    expect(problem).to_contain_text("cannot be reached")
    expect(problem).to_contain_text("Your choice of files is kept")
    page_service.start()
    page.get_by_role("button", name="Load 3 files").click()
    expect(page.locator("#job-cards article")).to_have_count(1)


def test_what_others_do_is_seen(page: Page, page_service: PageService) -> None:
    other = page_service.add(Job("load", [("monday.csv", 10)]))
    card = page.get_by_role("article", name="Load of monday.csv")
    expect(card).to_be_visible()
    load_and_build(page_service, other)
    expect(card).to_contain_text("24 records of 1 file loaded")
    card.get_by_role("button", name="Close").click()
    expect(card).to_have_count(0)
    page.get_by_text("Earlier jobs").click()
    page.get_by_role("button", name="Show Load of monday.csv").click()
    expect(card).to_contain_text("Log of the build: 150 entries")


def test_without_tables_it_says_what_to_do(browser: Browser, page_service: PageService) -> None:
    with watched(browser, page_service.address) as page:
        expect(page.locator("#result-empty")).to_contain_text("There are no tables yet")
        page.get_by_role("button", name="Build the sample laboratory").click()
        expect(page.get_by_role("article", name="Build of all tables")).to_be_visible()
        furnish(page_service, loaded=False, issues=0)
        load_and_build(page_service, page_service.jobs[-1])
        expect(page.locator("#result-body")).to_be_visible()
        expect(page.locator("#sample")).to_contain_text("the sample laboratory")
        expect(page.locator("#issues-body")).to_contain_text("Nothing was rejected")


def test_a_token_is_asked_for_and_kept_for_this_tab(
    browser: Browser, page_service: PageService
) -> None:
    furnish(page_service)
    page_service.token = "right-token"
    with watched(browser, page_service.address) as page:
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog.get_by_label("Token")).to_be_focused()
        page.keyboard.type("wrong-token")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not accept this token")
        dialog.get_by_label("Token").fill("not é token")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not accept this token")
        dialog.get_by_label("Token").fill(" right-token ")
        dialog.get_by_role("button", name="Sign in").click()
        expect(page.locator("#mart-grid tbody tr")).to_have_count(24)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert not [line for line in page_service.asked if "token" in line]

        job, card = sent(page_service, page)
        load_and_build(page_service, job)
        expect(card).to_contain_text("72 records of 3 files loaded")
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download User features as CSV").click()
        assert downloading.value.path().read_text().startswith("user_id,total_exp_per_user")

        page.get_by_role("button", name="Sign out").click()
        expect(dialog).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
        dialog.get_by_role("button", name="Not now").click()
        expect(page.locator("#result-empty")).to_contain_text(re.compile("token is needed"))
        # It is not asked for again and again.
        page.wait_for_timeout(300)
        expect(dialog).to_be_hidden()
