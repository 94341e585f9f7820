"""The palette leads everywhere and does everything, from the keyboard; the keys that a page has are those it lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from database import reading, writing
from tickets.schedule import tasks
from tickets.shared import runtime_flags
from web.site import layout, shortcuts

from . import page_rules
from .conftest import BoardSite, Tab
from .test_live_pages import go, wait_until_live

pytestmark = pytest.mark.browser


def options(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Results").get_by_role("option")


def ask(page: Page, words: str) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    expect(page.locator("#palette-q")).to_have_value(words)


def test_pages_and_actions_are_there_without_a_word_from_the_server(site: BoardSite, page: Page) -> None:
    go(page, "/board")
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search or run an action")
    expect(box).to_be_focused()
    expect(box).to_have_attribute("aria-expanded", "true")
    groups = page.locator("#palette-list").get_by_role("group")
    expect(groups).to_have_count(3)
    assert [group.get_attribute("aria-labelledby") for group in groups.all()] == [
        f"palette-group-{n}" for n in range(3)
    ]
    labels = {option.inner_text().split("\n")[0] for option in options(page).all()}
    rail = {link.inner_text() for link in page.locator(".rail .item .label").all()} - {
        "Board",
        "Collapse sidebar",
        "Search",
    }
    expected = rail | {
        "Help",
        "New ticket",
        "Pause dispatch",
        "Run task: backup",
        "Theme: Dark",
        "Density: Compact",
        "Log out",
    }
    assert expected <= labels


def test_letters_in_their_order_find_a_page_and_the_arrows_choose(site: BoardSite, page: Page) -> None:
    go(page, "/board")
    ask(page, "inc")
    expect(options(page).first).to_have_text(re.compile("^Incidents"))
    expect(options(page).first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    second = options(page).nth(1)
    expect(second).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("combobox", name="Search or run an action")).to_have_attribute(
        "aria-activedescendant", second.get_attribute("id") or "?"
    )
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Incidents", level=1)).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("group", name="Recent")).to_have_count(0)  # it is the page that is shown
    page.keyboard.press("Escape")
    go(page, "/board")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("group", name="Recent").get_by_role("option")).to_have_text([re.compile("^Incidents")])


def test_tickets_are_found_by_number_by_words_and_where_they_were_seen(site: BoardSite, page: Page) -> None:
    visited, other = site.ticket(title="Say good evening"), site.ticket(title="Count the stars", description="quasar")
    go(page, f"/ticket/{visited}")
    go(page, "/tasks")
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("Control+k")
    tickets = page.get_by_role("group", name="Tickets").get_by_role("option")
    expect(tickets).to_have_text([f"{visited} Say good evening"])
    page.unroute("**/api/**")
    page.keyboard.type("quasar")
    expect(tickets).to_have_text([f"{other} Count the stars"])
    page.get_by_role("combobox", name="Search or run an action").fill(other.removeprefix("MC-"))
    expect(options(page).first).to_have_text(re.compile(f"^{other}"))
    page.keyboard.press("Enter")
    expect(page.locator("#ticket-head")).to_contain_text("Count the stars")


def test_a_ticket_is_moved_and_its_parts_are_shown_from_the_palette(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(page, f"/ticket/{ticket}")
    ask(page, "triage")
    page.keyboard.press("Enter")
    expect(page.locator(".strip .state")).to_have_text("To do")
    ask(page, "park")
    page.keyboard.press("Enter")
    expect(page.locator("#move-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    ask(page, "show ev")
    page.keyboard.press("Enter")
    expect(page.locator(".tabs [aria-current]")).to_have_text(re.compile("Ev"))


def test_dispatch_is_paused_a_task_is_run_and_the_look_is_changed(site: BoardSite, page: Page) -> None:
    with writing(site.store) as session:
        tasks.record_heartbeat(session, "scheduler", "ok", "{}")
    go(page, "/board")
    ask(page, "pause")
    page.keyboard.press("Enter")
    expect(page.locator(".flashes")).to_contain_text("Paused")
    expect(page).to_have_url(f"{site.base}/board")
    ask(page, "run task backup")
    page.keyboard.press("Enter")
    expect(page.locator(".flashes")).to_contain_text("backup is queued")
    ask(page, "dark")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    with reading(site.store) as session:
        assert runtime_flags.get_pause_reason(session) is not None
        assert tasks.list_requested(session, 0)[1] == {"backup"}
    page.reload()
    ask(page, "dispatch")
    expect(options(page).first).to_have_text("Resume dispatch")


def test_the_palette_and_the_list_of_keys_are_accessible_and_fit(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket()
    page = tab(viewport={"width": 360, "height": 800}, reduced_motion="reduce")
    go(page, f"/ticket/{ticket}")
    for key in ("Control+k", "Shift+?"):
        page.keyboard.press(key)
        expect(page.locator("dialog[open]")).to_be_visible()
        assert list(page_rules.find_violations_in_both_themes(page, "dark")) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.keyboard.press("Escape")


def test_words_that_match_nothing_are_searched_for(site: BoardSite, page: Page) -> None:
    go(page, "/board")
    ask(page, "zzqx")
    expect(options(page)).to_have_text(["Search for “zzqx”"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.base}/search?q=zzqx")


def test_a_search_that_was_left_is_told_of_no_more(page: Page) -> None:
    held_routes: list[Route] = []
    go(page, "/board")
    page.route("**/api/v1/search*", lambda route: held_routes.append(route))
    ask(page, "dark")
    expect(page.locator("#palette [data-answer]")).to_contain_text("Searching")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.unroute("**/api/v1/search*")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    expect(page.locator("#palette [data-answer]")).to_be_empty()


def test_keys_work_in_the_moment_after_the_palette_has_closed(page: Page) -> None:
    """Regression: until the next frame the focus was in its field, which nobody sees any more, and letters were ignored."""
    go(page, "/board")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-q")).to_be_focused()
    page.evaluate(
        """() => {
          const field = document.getElementById("palette-q");
          document.getElementById("palette").close();
          field.dispatchEvent(new KeyboardEvent("keydown", { key: "?", shiftKey: true, bubbles: true }));
        }"""
    )
    expect(page.locator("#keys")).to_be_visible()


def test_what_is_chosen_stays_so_when_more_is_found(site: BoardSite, page: Page) -> None:
    for number in range(3):
        site.ticket(title=f"Tasks of the day {number}")
    go(page, "/board")
    ask(page, "tas")
    page.keyboard.press("ArrowDown")
    selected_text = page.locator("#palette-list [aria-selected=true]").inner_text()
    expect(page.get_by_role("group", name="Tickets").get_by_role("option")).to_have_count(3)
    assert page.locator("#palette-list [aria-selected=true]").inner_text() == selected_text


# ---------------------------------------------------------------------------------------------------------------- keys


def listed(page: Page) -> set[str]:
    rows = page.locator("#keys [data-keys]:not([hidden])").all()
    return {key for row in rows for key in (row.get_attribute("data-keys") or "").split("|")}


def test_every_key_in_the_table_is_bound_on_some_page_and_shown_only_there(
    site: BoardSite, page: Page, tmp_path: Path
) -> None:
    ticket = site.ticket()
    site.change(site.claim(ticket), tmp_path / "repository")
    everywhere = {key for row in shortcuts.EVERYWHERE for key in row.keys}
    pages = {f"g {letter}" for letter in "orbahtilmsnwe"}
    keys_by_page = {}
    for path in (
        "/activity",
        "/board?view=columns",
        "/board?view=lanes",
        f"/ticket/{ticket}",
        f"/ticket/{ticket}?tab=changes",
    ):
        go(page, path)
        keys_by_page[path] = listed(page) - everywhere - pages
        assert everywhere | pages <= listed(page)
    board, both, writing_, changes = (
        {key for row in rows for key in row.keys}
        for rows in (shortcuts.BOARD, shortcuts.BOARD_AND_TICKET, shortcuts.TICKET, shortcuts.CHANGES)
    )
    title = writing_ - {"m"}
    columns, lanes = board | both, (board | both) - {"h"}
    assert list(keys_by_page.values()) == [set(), columns, lanes, both | writing_, both | title | changes]
    queue = {key for row in shortcuts.QUEUE for key in row.keys}
    go(page, "/review")
    assert listed(page) == everywhere - queue | queue | pages
    go(page, "/help")
    rows = [row for _, rows in shortcuts.list_groups(layout.NAV) for row in rows]
    assert page.locator("main [data-keys]:visible").count() == len(rows)


def test_the_keys_do_what_the_list_says(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, "/board")
    page.keyboard.press("Shift+?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("j")  # quiet while a dialog is open
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(f"#card-{ticket} .title")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#ticket-head")).to_be_visible()
    wait_until_live(page)
    page.keyboard.press("m")
    page.keyboard.type("great")  # letters are letters where somebody writes
    expect(page.locator("#say")).to_have_value("great")
    page.locator("#main").focus()
    for letter, title in (("a", "Activity"), ("i", "Incidents"), ("t", "Tasks")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
        wait_until_live(page)  # keys pressed before it are nobody's
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name="New ticket")).to_be_visible()


def test_keys_set_properties_show_a_ticket_and_follow_the_list(site: BoardSite, page: Page) -> None:
    first, second = site.ticket(assigned_to=None), site.ticket(assigned_to=None, description="Read *this*.")
    go(page, "/board?view=lanes")
    row = page.locator(f"#card-{first}")
    row.locator(".title").focus()
    page.keyboard.press("p")
    expect(page.locator("#property-dialog :focus")).to_contain_text("Normal")
    page.keyboard.press("1")
    expect(row.locator("[title='Urgent priority']")).to_be_visible()
    page.keyboard.press("l")
    page.get_by_label("New tag").fill("q4-goal")
    page.keyboard.press("Enter")
    expect(row.locator(".tag")).to_have_text("q4-goal")
    expect(page.locator("#property-dialog")).to_be_hidden()
    row.locator(".title").focus()
    page.keyboard.press("Space")
    peek = page.locator("#peek-dialog")
    expect(peek).to_contain_text("No description.")
    page.keyboard.press("j")
    expect(peek.locator("em")).to_have_text("this")
    page.keyboard.press("Space")
    expect(page.locator(f"#card-{second} .title")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#ticket-head")).to_contain_text(second)
    wait_until_live(page)
    page.keyboard.press("t")
    page.locator("#property-dialog").get_by_role("button", name="Tomorrow").click()
    expect(page.locator(".strip .state")).to_have_text("Waiting")
    page.locator("#main").focus()
    page.keyboard.press("k")
    expect(page.locator("#ticket-head")).to_contain_text(first)


def test_keys_without_ctrl_can_be_turned_off_for_good(site: BoardSite, page: Page) -> None:
    go(page, "/activity")
    page.keyboard.press("Shift+?")
    page.locator("#keys").get_by_role("button", name="Off").click()
    page.keyboard.press("Escape")
    page.reload()
    for key in ("c", "/", "Shift+?", "g", "b"):
        page.keyboard.press(key)
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    expect(page).to_have_url(f"{site.base}/activity")
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator(".rail .search-link kbd")).to_be_hidden()


def test_times_are_told_whole_by_key_tap_and_focus(site: BoardSite, tab: Tab) -> None:
    page = tab(timezone_id="Europe/Berlin", locale="en-GB", has_touch=True)
    ticket = site.ticket()
    site.tell(site.claim(ticket), "agent.text", block="b1", text="I look.")
    go(page, f"/ticket/{ticket}")
    expect(page.locator(".topbar [data-clock]")).to_have_text(re.compile(r"\d\d:\d\d (CET|GMT\+1)"))
    stamp = re.compile(r"^\w+day,? \d+ \w+ \d{4} at \d\d:\d\d:\d\d CET$")
    age = page.locator(".strip time")
    expect(age).to_have_attribute("title", stamp)
    age.tap()
    expect(page.locator("#stamp")).to_have_text(stamp)
    expect(page.locator("#stamp")).to_be_visible()
    page.locator(".entry .timestamp").last.focus()
    expect(page.locator("#stamp")).to_be_visible()
    page.locator("#main").focus()
    expect(page.locator("#stamp")).to_be_hidden()
    page.keyboard.press("Shift+T")
    expect(age).to_have_text(re.compile(r"^\d+ \w+ \d{4}, \d\d:\d\d$"))
    page.reload()
    expect(age).to_have_text(re.compile(r"^\d+ \w+ \d{4}, \d\d:\d\d$"))
    page.keyboard.press("Shift+T")
    expect(age).to_have_text("now")
