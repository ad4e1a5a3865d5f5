"""The page in a real Chromium: for everybody, on everything, and whatever the data holds."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect
from support.page_browser import watched
from support.page_labs import HOSTILE, begin, furnish, load_and_build
from support.page_service import Job, PageService

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


def in_every_state(page: Page, service: PageService) -> None:
    """Open what can be opened, with a job of each state and a refused upload."""
    for state in ("failed", "cancelled", "running", "queued"):
        job = service.add(Job("load", [(name, 1000) for name in HOSTILE[:3]]))
        job.error = {"title": "Refused", "detail": HOSTILE[0]} if state == "failed" else None
        if state == "failed":
            load_and_build(service, job)
        service.turn(job, state)
    service.refuse = (413, f"{HOSTILE[3]} is too great.")
    page.reload()
    expect(page.locator("#job-cards article")).to_have_count(2)
    page.get_by_text("Earlier jobs").click()
    page.get_by_role("button", name="Show Load of").first.click()
    expect(page.locator("#charts figure")).to_have_count(3)
    expect(page.locator("#issues-body tbody tr")).to_have_count(16)
    page.set_input_files("#chooser", [USERS, ENDLESS])
    page.locator("#send").click()
    expect(page.locator("#upload-problem")).to_contain_text("is too great")
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()


def test_hostile_names_are_text_and_nothing_else(
    browser: Browser, page_service: PageService
) -> None:
    furnish(page_service, users=8, names=HOSTILE)
    for load, name in zip(page_service.loads, HOSTILE, strict=False):
        load["file"] = name
    with watched(browser, page_service.address) as page:
        in_every_state(page, page_service)
        job = next(job for job in page_service.jobs if job.state == "running")
        begin(page_service, job)
        page_service.tell(job, "message", {"text": HOSTILE[4]})
        page_service.tell(job, "node", {"name": HOSTILE[0], "kind": HOSTILE[5], "status": "x"})
        page.locator("#history-body").get_by_role("button", name="Undo").nth(2).click()
        expect(page.get_by_role("dialog")).to_contain_text(HOSTILE[0])
        page.keyboard.press("Escape")

        assert page.title() == "labmart"
        assert page.locator("img").count() == 1
        assert page.locator("script").count() == 1
        assert page.locator("[onerror], [style], a[href^=javascript]").count() == 0
        shown = page.locator("#mart-grid").inner_text()
        assert HOSTILE[0] in shown
        # A turned direction is seen, and a name that does not end does.
        assert "report⟨U+202E⟩gpj.exe" in shown
        assert "\u202e" not in page.content()
        assert "(10,000 characters)" in shown
        assert "⟨U+0000⟩⟨U+0007⟩⟨U+001B⟩[31m" in shown


@pytest.mark.parametrize("width", [320, 768])
def test_nothing_sticks_out_on_a_small_screen(
    browser: Browser, page_service: PageService, width: int
) -> None:
    furnish(page_service, users=60, names=HOSTILE)
    with watched(browser, page_service.address, width=width, height=640) as page:
        in_every_state(page, page_service)
        assert page.evaluate(STICKING_OUT) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # Fingers need room: buttons are at least 36 pixels high.
        heights = page.eval_on_selector_all(
            "button, .button, select, .downloads a",
            "all => all.filter(one => one.checkVisibility() && !one.closest('thead'))"
            ".map(one => one.getBoundingClientRect().height)",
        )
        assert min(heights) >= 36


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_contrast(browser: Browser, page_service: PageService, dark: bool) -> None:
    furnish(page_service)
    page_service.loads[0]["status"] = "reverted"
    with watched(browser, page_service.address, dark=dark) as page:
        in_every_state(page, page_service)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 300
        assert [one for one in found if one[0] < 4.5] == []
        page_service.stop()
        expect(page.locator("#banner")).to_contain_text("No connection")
        assert [one for one in page.evaluate(CONTRASTS) if one[0] < 4.5] == []


def test_all_of_it_works_by_keyboard(page: Page, page_service: PageService) -> None:
    def until(name: str, key: str = "Tab") -> None:
        """Press a key until the focus is on the control of that name."""
        for _ in range(80):
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
    expect(page.locator("#history-body tbody tr")).to_have_count(3)
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
    assert "POST /v1/files?replace=true" in page_service.asked
    until("Cancel: Load of users.csv")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Load of users.csv")).to_contain_text("Cancelled")
    until("Search for")
    page.keyboard.type("curie")
    expect(page.locator("#mart-grid tbody tr")).to_have_count(2)
    until("Experiments")
    page.keyboard.press("Enter")
    expect(page.locator("#mart-grid th[aria-sort=ascending]")).to_contain_text("Experiments")
    until("Undo load 3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Undo load 3?")).to_be_visible()
    until("Undo", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Undo of load 3")).to_be_visible()


def test_its_structure_is_told_to_a_screen_reader(page: Page) -> None:
    expect(page.locator("#charts figure")).to_have_count(3)
    expect(page.locator("body")).to_match_aria_snapshot("""
        - link "Skip to the content"
        - banner:
          - link "labmart, to the top"
          - navigation "Parts of this page":
            - link "Load"
            - link "Result"
            - link "Issues 16"
            - link "History"
          - status: Connected
        - main:
          - region "Load your laboratory’s files":
            - heading "Load your laboratory’s files" [level=1]
            - button "Choose files"
          - region "Result":
            - heading "Result" [level=2]
            - figure "Experiments per user":
              - heading "Experiments per user" [level=3]
              - img "Experiments per user"
            - figure "Most used compounds"
            - figure "Run time of experiments"
            - combobox "Table"
            - group "Download":
              - link "Download User features as CSV"
            - search "Search in User features":
              - searchbox "Search for"
              - combobox "in"
            - 'region "User features: users 1 to 24"':
              - 'table "User features: users 1 to 24"':
                - rowgroup:
                  - row:
                    - columnheader "User number":
                      - button "User number"
                - rowgroup:
                  - row:
                    - rowheader
          - region "Issues":
            - heading "Issues" [level=2]
            - combobox "Rule"
          - region "History":
            - heading "History" [level=2]
            - region "Loads":
              - table "Loads, the newest first"
        - contentinfo
    """)


def test_every_control_has_a_name(browser: Browser, page_service: PageService) -> None:
    furnish(page_service)
    with watched(browser, page_service.address) as page:
        in_every_state(page, page_service)
        for role in ("button", "link", "combobox", "searchbox", "checkbox", "radio", "progressbar"):
            lines = [
                line.strip()
                for line in page.locator("body").aria_snapshot().splitlines()
                if line.strip().startswith(f"- {role}")
            ]
            assert lines, role
            assert [line for line in lines if not line.startswith(f'- {role} "')] == []
        # Ids are what names refer to.
        ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        assert len(ids) == len(set(ids))
