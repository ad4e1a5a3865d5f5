"""The page and a service that works: what is sent from the page is loaded, mended and undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, expect
from support.databases import Database
from support.page_browser import watched
from support.serving import serving_here

pytestmark = pytest.mark.slow


def test_a_header_of_other_names_is_mended_by_keyboard_and_not_sent_again(
    browser: Browser, page_project: Path, database: Database, tmp_path: Path
) -> None:
    buffer = b"UserNr;full_name;E-Mail-Adress;registered on\n7;Ada;a@x;2024-01-31\n"
    with (
        serving_here(page_project, database, worker=True, spool=tmp_path / "spool") as server,
        watched(browser, server.url + "/") as page,
    ):
        # Tables are built by another test.
        page.route(
            "**/v1/files?*",
            lambda route: route.continue_(url=route.request.url + "&build=false"),
        )
        page.route(
            "**/undo?*", lambda route: route.continue_(url=route.request.url + "&build=false")
        )
        people: FilePayload = {"name": "people.csv", "mimeType": "", "buffer": buffer}
        page.set_input_files("#chooser", [people])
        page.get_by_role("button", name="Load 1 file").press("Enter")
        refused = page.get_by_role("article", name="Load of people.csv")
        expect(refused.get_by_text("The file was refused")).to_be_visible()
        sentence = refused.get_by_text("no line of the first 100 names all columns of an input")
        expect(sentence).to_have_count(1)
        # No option of the command, but what is on the page.
        expect(sentence).to_contain_text("If it is that column, rename it, or choose it below.")
        expect(sentence).not_to_contain_text("--")
        name = refused.get_by_label("name", exact=True)
        expect(refused.get_by_label("email")).to_have_value("E-Mail-Adress")
        expect(name.locator("option")).to_have_text(
            ["– none –", "UserNr", "full_name", "E-Mail-Adress", "registered on"]
        )
        button = refused.get_by_role("button", name="Load it again")
        refused.get_by_role("button", name="Close").focus()
        chosen = {"user_id": "U", "name": "f", "email": "E", "signup_date": "r"}
        focused = "document.activeElement.dataset.column ?? document.activeElement.textContent"
        while (at := page.evaluate(focused)) != "Load it again":
            if at in chosen:
                page.keyboard.type(chosen.pop(at))
            page.keyboard.press("Tab")
        assert not chosen
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        page.keyboard.press("Enter")
        expect(page.get_by_role("article", name="Load of people.csv")).to_have_count(2)
        loaded = page.get_by_role("article", name="Load of people.csv").first
        expect(loaded).to_contain_text("1 record of 1 file loaded")
        assert not [url for url in sent if "/v1/files" in url]
        assert server.rows("select user_id, name, email, signup_date from labmart_raw.users") == [
            ("7", "Ada", "a@x", "2024-01-31")
        ]
        expect(button).to_be_enabled()
        # The files went with the second job; the page still has them.
        refused.last.get_by_label("email").select_option("")
        with page.expect_request("**/v1/files?*") as again:
            button.press("Enter")
        assert "map=UserNr%3Duser_id" in again.value.url
        # Its card takes the focus.
        expect(page.get_by_role("article", name="Load of people.csv")).to_have_count(3)
        # Two encodings make words of these bytes.
        buffer = "user_id,name,email,signup_date\n8,Иванова,,\n9,Петрова,,\n".encode("cp1251")
        russian: FilePayload = {"name": "ru.csv", "mimeType": "", "buffer": buffer}
        page.set_input_files("#chooser", [russian])
        page.get_by_role("button", name="Load 1 file").press("Enter")
        refused = page.get_by_role("article", name="Load of ru.csv")
        expect(refused.get_by_role("alert").first).to_contain_text("“Encoding” below")
        encoding = refused.get_by_label("Encoding")
        encoding.fill("klingon")
        encoding.press("Enter")
        problem = page.get_by_text("'klingon' is no text encoding that can be read")
        expect(problem).to_be_visible()
        encoding.fill("windows-1251")
        encoding.press("Enter")
        expect(page.get_by_text("2 records of 1 file loaded")).to_be_visible()
        assert server.rows("select name from labmart_raw.users where user_id = '9'") == [
            ("Петрова",)
        ]
        # To replace everything by nothing is a choice, too.
        header = b"user_id,name,email,signup_date\n"
        nobody: FilePayload = {"name": "nobody.csv", "mimeType": "", "buffer": header}
        page.set_input_files("#chooser", [nobody])
        page.get_by_role("radio", name="Replace them").check()
        page.get_by_role("button", name="Load 1 file").press("Enter")
        refused = page.get_by_role("article", name="Load of nobody.csv")
        expect(refused).to_contain_text("would replace all that was loaded into users by nothing")
        refused.get_by_label("Replace them even if these files bring none").check()
        refused.get_by_role("button", name="Load it again").press("Enter")
        expect(page.get_by_text("0 records of 1 file loaded")).to_be_visible()
        current = "select file from labmart_raw.loads where status = 'current'"
        assert server.rows(current) == [("nobody.csv",)]
        # Files that come together are one entry of the history.
        compounds = b"compound_id,compound_name,compound_structure\n1,Aspirin,\n"
        both: list[FilePayload] = [
            {"name": "a.csv", "mimeType": "", "buffer": header + b"1,Ada,,\n"},
            {"name": "b.csv", "mimeType": "", "buffer": compounds},
        ]
        page.set_input_files("#chooser", both)
        page.get_by_role("button", name="Load 2 files").press("Enter")
        entry = page.locator("#history-body tbody", has_text="a.csv")
        expect(entry.locator("tr")).to_have_count(2)
        with page.expect_request("**/undo?together=true"):
            entry.get_by_role("button", name="Undo load").press("Enter")
            page.get_by_role("dialog").get_by_role("button", name="Undo", exact=True).click()
        expect(entry.get_by_text("undone")).to_have_count(2)
        undo = page.get_by_role("article", name="Undo of load")
        expect(undo).to_contain_text("is undone.")
