"""The page in a real Chromium: for everybody, on everything, and whatever the data holds."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, expect
from support.page_browser import Stage
from support.page_lab import (
    EXPERIMENTS_FILE,
    HOSTILE,
    ISSUES,
    UNDONE_FILE,
    USERS_FILE,
    PageLab,
)

pytestmark = pytest.mark.slow

USERS: FilePayload = {"name": "users.csv", "mimeType": "text/csv", "buffer": b"user_id,name\n"}
ENDLESS: FilePayload = {"name": HOSTILE[3], "mimeType": "text/csv", "buffer": b"user_id,name\n"}

# Every text that is seen, with the contrast that it has (WCAG 2: relative luminance). A ground that
# is partly transparent would have to be mixed; the page has none.
CONTRASTS = r"""() => {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour.length === 3) return colour;
      if (colour[3] !== 0) throw new Error(`partly transparent: ${one.outerHTML.slice(0, 80)}`);
    }
    return null;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const text = channels(element.closest("svg") ? style.fill : style.color);
    const [light, dark] = [luminance(text), luminance(ground(element))].sort((a, b) => b - a);
    found.push([(light + 0.05) / (dark + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""
# What sticks out to the right, except in tables, which scroll by themselves.
STICKING_OUT = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.checkVisibility() && !one.closest(".scroll, .unseen, .skip"))
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((one) => one.outerHTML.slice(0, 100))"""


def in_every_state(page: Page, lab: PageLab) -> None:
    """Open what can be opened, with a job of each state and a refused upload."""
    stage = Stage(page)
    files = [{"name": name, "bytes": 1000, "sha256": "0" * 64} for name in HOSTILE]
    for state in ("failed", "cancelled", "running", "queued"):
        # The same bytes once more would be the same job.
        job = lab.upload("users.csv", state.encode())
        changes: dict[str, object] = {"files": files}
        if state in ("failed", "cancelled"):
            lab.post(f"/v1/jobs/{job['id']}/cancel")
        if state == "failed":
            changes["error"] = {"title": "Refused", "detail": HOSTILE[0]}
        stage.turn(job, state, **changes)
    page.reload()
    expect(page.locator("#job-cards article")).to_have_count(2)
    running = [job for job in lab.jobs() if job["state"] == "queued"][1]
    stage.begin({**running, "files": files})
    expect(page.locator("#job-cards article").first).to_contain_text("33 records so far")
    page.get_by_text("Earlier jobs").click()
    page.get_by_role("button", name="Show Load of").nth(1).click()
    expect(page.locator("#job-cards article").nth(2)).to_contain_text("Refused")
    expect(page.locator("#charts figure")).to_have_count(6)
    expect(page.locator("#issues-body tbody tr")).to_have_count(sum(ISSUES.values()))
    problem = {"title": "Too large", "detail": f"{HOSTILE[3]} is too great."}
    page.route("**/v1/files*", lambda route: route.fulfill(status=413, json=problem))
    page.set_input_files("#chooser", [USERS, ENDLESS])
    page.locator("#send").click()
    expect(page.locator("#upload-problem")).to_contain_text("is too great")
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()


def test_everything_is_for_everybody_in_every_state(page: Page, lab: PageLab) -> None:
    """Hostile names are text, every text has contrast, nothing sticks out, axe finds no fault."""
    in_every_state(page, lab)
    undone = page.locator("#history-body tr", has_text=UNDONE_FILE)
    expect(undone).to_contain_text("undone")
    nothing_sticks_out(page)
    is_accessible(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 300
        assert [text for text in contrasts if text[0] < 4.5] == [], scheme
    hostile_names_are_text(page, lab)
    page.unroute_all(behavior="ignoreErrors")
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("No connection")
    assert [text for text in page.evaluate(CONTRASTS) if text[0] < 4.5] == []


def nothing_sticks_out(page: Page) -> None:
    for width in (768, 320):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate(STICKING_OUT) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # Fingers need room: buttons are at least 36 pixels high.
        heights = page.eval_on_selector_all(
            "button, .button, select, .downloads a",
            "all => all.filter(one => one.checkVisibility() && !one.closest('thead'))"
            ".map(one => one.getBoundingClientRect().height)",
        )
        assert min(heights) >= 36
    is_accessible(page)
    page.set_viewport_size({"width": 1280, "height": 900})


STOPS = "a[href], button, input, select, summary, [tabindex]"


def is_accessible(page: Page) -> None:
    """By all rules of axe-core; what it cannot judge, such as text in a drawing, CONTRASTS does."""
    verdict = Axe().run(page)
    assert verdict.violations_count == 0, verdict.generate_report()


def hostile_names_are_text(page: Page, lab: PageLab) -> None:
    page.get_by_role("button", name=f"Undo load {lab.load_id(USERS_FILE)}").click()
    expect(page.get_by_role("dialog")).to_contain_text(USERS_FILE)
    page.keyboard.press("Escape")
    page.locator("#mart-grid").get_by_label("Rows per page").select_option("100")
    expect(page.locator("#mart-grid tbody tr")).to_have_count(61)
    assert page.title() == "labmart"
    assert page.locator("img").count() == 1
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [style], a[href^=javascript]").count() == 0
    shown = page.locator("#mart-grid").inner_text()
    for name in (HOSTILE[0], HOSTILE[2], *HOSTILE[4:7]):
        assert name in shown
    # A turned direction is seen, and a name that does not end does.
    assert "report⟨U+202E⟩gpj.exe" in shown
    assert "\u202e" not in page.content()
    assert "(10,000 characters)" in shown
    assert "⟨U+0007⟩⟨U+001B⟩[31m" in shown
    issues = page.locator("#issues-body").inner_text()
    assert HOSTILE[0] in issues
    assert "report⟨U+202E⟩gpj.exe" in issues


def test_all_of_it_works_by_keyboard(page: Page, lab: PageLab) -> None:
    load_id = lab.load_id(EXPERIMENTS_FILE)

    def until(name: str, key: str = "Tab") -> None:
        """Press a key until the control of that name has the focus, at most twice around the page.

        How many stops that is depends on what is shown: each earlier job and load has its own. What
        is drawn anew meanwhile may send the focus back to the beginning.
        """
        for _ in range(2 * page.locator(STOPS).count()):
            page.keyboard.press(key)
            named = page.evaluate(
                "(one => one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent)"
                "(document.activeElement)"
            )
            if named.strip().startswith(name):
                return
        pytest.fail(f"{name} cannot be reached")

    # From the beginning: Chromium is slow to hand the choice of files over to whoever asks for it.
    page.on("filechooser", lambda _: None)
    expect(page.locator("#history-body tbody tr")).to_have_count(4)
    until("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    until("Choose files")
    outline = page.locator("label[for=chooser]").evaluate(
        "one => getComputedStyle(one).outlineStyle"
    )
    assert outline == "solid"
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Space")
    choosing.value.set_files([USERS])
    expect(page.get_by_role("heading", name="Ready to load")).to_be_focused()
    until("Add to them")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Replace them")).to_be_checked()
    until("Load 1 file")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What is going on")).to_be_focused()
    assert lab.newest_job()["options"]["replace"]
    until("Cancel: Load of users.csv")
    page.keyboard.press("Enter")
    cancelled = page.get_by_role("article", name="Load of users.csv")
    expect(cancelled).to_contain_text("Cancelled. What had been loaded before stays loaded.")
    assert lab.newest_job()["state"] == "cancelled"
    until("Search for")
    page.keyboard.type("curie")
    expect(page.locator("#mart-grid tbody tr")).to_have_count(2)
    until("Experiments")
    page.keyboard.press("Enter")
    expect(page.locator("#mart-grid th[aria-sort=ascending]")).to_contain_text("Experiments")
    until(f"Undo load {load_id}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=f"Undo load {load_id}?")).to_be_visible()
    until("Undo", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name=f"Undo of load {load_id}")).to_be_visible()


def test_its_structure_is_told_to_a_screen_reader(page: Page) -> None:
    expect(page.locator("#charts figure")).to_have_count(6)
    expect(page.locator("body")).to_match_aria_snapshot(f"""
        - link "Skip to the content"
        - banner:
          - link "labmart, to the top"
          - navigation "Parts of this page":
            - link "Load"
            - link "Result"
            - link "Tables"
            - link "Issues {sum(ISSUES.values())}"
            - link "History"
          - status: Connected
        - main:
          - region "Your laboratory’s tables":
            - heading "Your laboratory’s tables" [level=1]
            - button "Load files"
            - list:
              - listitem
              - listitem:
                - link "{sum(ISSUES.values())} open issues"
            - term: Users
            - definition
          - region "Load your laboratory’s files":
            - heading "Load your laboratory’s files" [level=2]
            - button "Choose files"
          - region "Result":
            - heading "Result" [level=2]
            - figure "Users with most experiments":
              - heading "Users with most experiments" [level=3]
              - list
            - figure "Most used compounds"
            - figure "Experiments per user":
              - img "Experiments per user"
            - figure "Run time of experiments"
            - figure "Accepted and rejected, by load"
            - figure "Which user lists which compound"
            - region "Tables":
              - combobox "Table"
              - group "Download":
                - link "Download User features as CSV"
              - search "Search in User features":
                - searchbox "Search for"
                - combobox "in"
              - 'region "User features: users 1 to 25"':
                - 'table "User features: users 1 to 25"':
                  - rowgroup:
                    - row:
                      - columnheader "User number":
                        - button "User number"
                  - rowgroup:
                    - row:
                      - rowheader
          - region "Issues":
            - heading "Issues" [level=2]
            - list "Issues by rule and cause"
          - region "History":
            - heading "History" [level=2]
            - region "Loads":
              - table "Loads, the newest first"
        - contentinfo
    """)
