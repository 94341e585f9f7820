"""Cards are carried by keyboard and by touch as they are by mouse: only where a move leads, and back again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.waiting import wait_until

from .conftest import BoardSite, Tab
from .test_live_pages import carry, go

pytestmark = pytest.mark.browser


def pick_up(page: Page, ticket: str) -> None:
    page.locator(f"#card-{ticket} .title").focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-carrying]")).to_be_visible()


def announced(page: Page, words: str) -> None:
    expect(page.locator("[data-announce]")).to_contain_text(words)


def test_the_keyboard_carries_a_card_through_the_columns_that_take_it(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns")
    pick_up(page, ticket)
    announced(
        page, f"{ticket} picked up from Inbox. Use the arrow keys to choose a column: To do, Waiting, Done, Cancelled."
    )
    page.keyboard.press("ArrowRight")
    announced(page, "To do: Triage.")
    page.keyboard.press("ArrowRight")
    announced(page, "Waiting: Park, which asks for details.")
    expect(page.locator(f"#column-waiting:not([data-folded]) #card-{ticket}")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#column-waiting[data-folded]")).to_be_visible()
    expect(page.locator(f"#card-{ticket} .title")).to_be_focused()
    page.keyboard.press("Enter")
    announced(page, f"{ticket} moved to To do.")
    expect(page.locator(f"#column-todo #card-{ticket}")).to_have_attribute("data-version", "2")
    expect(page.locator(f"#card-{ticket} .title")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f"#column-inbox #card-{ticket}")).to_be_visible()


def test_the_menu_of_a_card_is_worked_by_keyboard_and_gives_the_focus_back(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns")
    title, items = (page.locator(f"#card-{ticket} {part}") for part in (".title", ".menu .item"))
    title.focus()
    page.keyboard.press("m")
    expect(items.first).to_be_focused()
    page.keyboard.press("End")
    expect(items.last).to_be_focused()
    page.keyboard.press("Escape")
    expect(title).to_be_focused()
    page.get_by_label(f"Actions for {ticket}").click()
    page.keyboard.press("Escape")
    expect(page.get_by_label(f"Actions for {ticket}")).to_be_focused()
    expect(items.first).to_be_hidden()


def test_escape_puts_a_card_back_where_it_was(site: BoardSite, page: Page) -> None:
    tickets = [site.ticket(status="inbox", assigned_to=None) for _ in range(3)]
    go(page, "/board?view=columns")
    pick_up(page, tickets[1])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    announced(page, f"{tickets[1]} is back in Inbox.")
    expect(page.locator("#column-inbox .mono")).to_have_text(tickets[::-1])
    expect(page.locator(f"#card-{tickets[1]} .title")).to_be_focused()
    expect(page.locator("[data-carrying], [data-takes], [data-aimed], [data-lifted]")).to_have_count(0)


def test_news_waits_while_a_card_is_carried(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns")
    pick_up(page, ticket)
    page.keyboard.press("ArrowRight")
    with page.expect_response("**/board/column/inbox**"):
        late = site.ticket(status="inbox", assigned_to=None)
        page.keyboard.press("Escape")
    expect(page.locator("#column-inbox .mono")).to_have_text([late, ticket])


def test_a_move_that_asks_something_asks_before_the_card_moves(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None)
    go(page, "/board?view=columns")
    pick_up(page, ticket)
    while "Blocked: Block" not in page.locator("[data-announce]").inner_text():
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#move-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#move-dialog")).to_be_hidden()
    expect(page.locator(f"#column-todo #card-{ticket} .title")).to_be_focused()


def test_the_undo_of_a_drop_is_offered(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    page = tab(viewport={"width": 1900, "height": 900})
    go(page, "/board?view=columns")
    carry(page, ticket, "todo")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f"#column-inbox #card-{ticket}")).to_be_visible()


def test_all_that_are_selected_are_carried_together(site: BoardSite, tab: Tab) -> None:
    tickets = [site.ticket(status="inbox", assigned_to=None) for _ in range(3)]
    page = tab(viewport={"width": 1900, "height": 900})
    go(page, "/board?view=columns")
    for ticket in tickets[:2]:
        page.locator(f"#card-{ticket} [data-select]").click()
    carry(page, tickets[1], "todo")
    expect(page.locator(".flashes .floating")).to_contain_text("Triage: 2 tickets moved.")
    expect(page.locator("#column-todo [data-card]")).to_have_count(2)
    expect(page.locator("#column-inbox .mono")).to_have_text([tickets[2]])


Finger = Callable[..., None]


@pytest.fixture
def tablet(tab: Tab) -> Page:
    return tab(viewport={"width": 800, "height": 900}, has_touch=True)


def finger(page: Page) -> Finger:
    """`finger("touchMove", x, y)` on the page's glass."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, x: float = 0, y: float = 0) -> None:
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


def middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_finger_that_rests_on_a_card_carries_it(site: BoardSite, tablet: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(tablet, "/board?view=columns")
    touch = finger(tablet)
    (x, y), (to, _) = middle(tablet, f"#card-{ticket}"), middle(tablet, "#cards-todo")
    touch("touchStart", x, y)
    expect(tablet.locator(".sortable-chosen")).to_be_visible()
    steps = iter(range(1, 10_000))

    def arrived() -> bool:
        step = next(steps)
        touch("touchMove", x + min(1, step / 10) * (to - x) + step % 5, y)
        return step > 10 and tablet.locator(f"#column-todo #card-{ticket}").count() == 1

    wait_until(arrived, description="the card over the column")
    touch("touchEnd")
    expect(tablet.locator(f"#column-todo #card-{ticket}")).to_have_attribute("data-version", "2")


def test_a_finger_that_moves_at_once_scrolls(site: BoardSite, tablet: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(tablet, "/board?view=columns")
    touch = finger(tablet)
    x, y = middle(tablet, f"#card-{ticket}")
    touch("touchStart", x, y)
    for step in range(1, 6):
        touch("touchMove", x - 20 * step, y)
    wait_until(
        lambda: tablet.evaluate("document.querySelector('[data-board]').scrollLeft") > 20, description="the scrolling"
    )
    expect(tablet.locator("[data-carrying]")).to_have_count(0)
    touch("touchEnd")


def test_cards_of_to_do_are_put_in_order_by_mouse_key_and_menu(site: BoardSite, page: Page) -> None:
    first, second, third = (site.ticket(assigned_to=None) for _ in range(3))
    go(page, "/board?view=columns")
    numbers = page.locator("#cards-todo .mono")
    page.locator(f"#card-{third}").drag_to(page.locator(f"#card-{first}"), target_position={"x": 40, "y": 4})
    expect(numbers).to_have_text([third, first, second])
    page.locator(f"#card-{second} .title").focus()
    with page.expect_response("**/board/column/todo**"):
        page.keyboard.press("Alt+ArrowUp")
    expect(numbers).to_have_text([third, second, first])
    expect(page.locator(f"#card-{second} .title")).to_be_focused()
    page.get_by_label(f"Actions for {first}").click()
    page.locator(f"#card-{first}").get_by_role("button", name="Move to top").click()
    expect(numbers).to_have_text([first, third, second])
    page.reload()
    expect(numbers).to_have_text([first, third, second])
