"""What a person sees while things happen: news arrives by itself and takes nothing away."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import reading
from tests.waiting import wait_until
from tickets.conversation import messages
from tickets.shared.lookup import get_ticket
from web.stream import stream_routes

from . import page_rules
from .conftest import BoardSite, OpenContext, Tab

pytestmark = pytest.mark.browser


def go(page: Page, path: str) -> None:
    """Open a page and wait until its stream is live."""
    page.goto(path)
    wait_until_live(page)


def wait_until_live(page: Page) -> None:
    """Wait until the scripts of a page that was just opened take keys and clicks. Chromium drops keys before the first frame."""
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    page.evaluate(page_rules.LAID_OUT)


def test_news_takes_neither_a_draft_nor_the_focus_nor_what_was_unfolded(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    site.tell(run, "agent.tool_call", call="k1", name="Bash", input={"command": "make"}, title="make")
    go(page, f"/ticket/{ticket}")
    page.locator(".tool summary").click()
    page.locator("#say").fill("half a thought")
    site.tell(run, "agent.tool_result", call="k1", output="made", error=False, exit_code=0, seconds=0.5)
    expect(page.locator(".tool summary")).to_contain_text("0.5 s")
    expect(page.locator(".tool")).to_have_attribute("open", "")
    expect(page.locator("#say")).to_be_focused()
    expect(page.locator("#say")).to_have_value("half a thought")
    page.reload()
    expect(page.locator("#say")).to_have_value("half a thought")


MERGE = """async () => {
    const entry = document.querySelector("script[src$='/app.js']").src;
    const address = entry.replace(/(bundles\\/)?app\\.js$/, "js/site/fragments.js");
    const { morph } = await import(address);
    const fields = (one, two) => `<input id="one" value="${one}"><input id="two" value="${two}">
        <select id="three"><option>a<option>b</select><textarea id="four"></textarea>`;
    const part = document.querySelector("main").appendChild(document.createElement("form"));
    part.innerHTML = fields("", "");
    for (const [name, text] of Object.entries({ one: "typed", two: "typed", three: "b", four: "typed" })) part[name].value = text;
    morph(part, fields("", "of the server"));
    return ["one", "two", "three", "four"].map((name) => part[name].value);
}"""


def test_a_refresh_keeps_what_was_typed_where_the_server_says_nothing_new(page: Page) -> None:
    go(page, "/board?view=columns")
    assert page.evaluate(MERGE) == ["typed", "of the server", "b", "typed"]


def test_typing_is_shown_as_it_happens_and_gives_way_to_the_whole_block(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    go(page, f"/ticket/{ticket}")
    site.tell(run, "agent.delta", block="b1", kind="text", offset=0, text="I count ")
    site.tell(run, "agent.delta", block="b1", kind="text", offset=8, text="to <ten>")
    expect(page.locator("#typing .block")).to_have_text("I count to <ten>")
    site.tell(run, "agent.text", block="b1", text="I count to **ten**.")
    expect(page.locator("#entries .prose strong")).to_have_text("ten")
    expect(page.locator("#typing .block")).to_have_count(0)


def test_a_question_is_answered_in_place(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    site.tell(run, "agent.question", request="q1", questions=[{"text": "Which?", "choices": [{"label": "This"}]}])
    go(page, f"/ticket/{ticket}")
    page.get_by_label("This").check()
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("[data-kind=question]")).to_contain_text("answered: This")
    expect(page.locator("[data-kind=question] form")).to_have_count(0)


def test_answer_leads_from_the_overview_to_the_question_and_what_is_typed_stays(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    site.report_verdict(ticket, "question")
    go(page, "/")
    page.get_by_role("link", name=f"Answer {ticket}").click()
    wait_until_live(page)
    expect(page.locator("#ticket-attention textarea")).to_be_focused()
    page.keyboard.type("Blue.")
    page.reload()
    wait_until_live(page)
    expect(page.locator("#ticket-attention textarea")).to_have_value("Blue.")
    expect(page.locator("#entries [data-kind=question] form")).to_have_count(0)
    page.evaluate("scrollTo(0, 0)")
    page.locator("#ticket-head").get_by_role("link", name="Answer").click()
    expect(page.locator("#ticket-attention textarea")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#entries [data-kind=question]")).to_contain_text("browser answered.")
    expect(page.locator("#ticket-attention textarea")).to_have_count(0)
    page.reload()
    wait_until_live(page)
    expect(page.locator("#move-dialog [data-slot]")).to_be_empty()  # it no longer asks


def test_a_long_conversation_opens_where_it_was_left_and_its_decision_stays_in_view(
    site: BoardSite, page: Page
) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    for number in range(30):
        site.tell(run, "agent.text", block=f"b{number}", text=f"I count {number}.\n\n" + "And on.\n\n" * 5)
    go(page, f"/ticket/{ticket}")
    expect(page.get_by_text("I count 29.")).to_be_in_viewport()
    bar = page.locator("#ticket-bar")
    expect(bar).to_contain_text("In progress")
    page.goto("/healthz")
    for number in range(30, 60):
        site.tell(run, "agent.text", block=f"b{number}", text=f"I count {number}.\n\n" + "And on.\n\n" * 5)
    go(page, f"/ticket/{ticket}")
    expect(page.get_by_text("I count 30.")).to_be_in_viewport()
    expect(page.locator("[data-unread]")).to_contain_text("I count 30.")
    page.evaluate("scrollTo(0, 0)")
    expect(bar).to_be_hidden()


def test_two_tabs_share_one_stream_and_the_second_takes_over(site: BoardSite, open_context: OpenContext) -> None:
    ticket = site.ticket()
    context = open_context()
    first, second = context.new_page(), context.new_page()
    go(first, "/board?view=columns")
    go(second, f"/ticket/{ticket}")
    with site.app.app_context():
        wait_until(
            lambda: stream_routes.count_connections()["events"]["open"] == 1, description="one stream for both tabs"
        )
    first.close()
    run = site.claim(ticket)
    site.tell(run, "agent.text", block="b1", text="Still heard.")
    expect(second.locator("#entries")).to_contain_text("Still heard.")


def test_the_board_shows_what_an_agent_does(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, "/board?view=columns")
    run = site.claim(ticket)
    expect(page.locator("#column-in_progress [data-card]")).to_have_attribute("data-card", ticket)
    site.tell(run, "agent.tool_call", call="k1", name="Bash", input={}, title="make test")
    expect(page.locator(f"#card-{ticket} [data-live-line]")).to_contain_text("make test")


def carry(page: Page, ticket: str, column: str, is_accepted: bool = True) -> None:
    """Carry a card over a column with the mouse and let it go there, once the column has `taken` it."""
    card, target = page.locator(f"#card-{ticket}").bounding_box(), page.locator(f"#column-{column}").bounding_box()
    assert card is not None and target is not None
    page.locator(f"#card-{ticket}").hover(position={"x": 90, "y": 50})
    page.mouse.down()
    page.mouse.move(card["x"] + 110, card["y"] + 60, steps=4)
    expect(page.locator("[data-carrying]")).to_be_visible()
    page.mouse.move(target["x"] + 20, target["y"] + 90, steps=12)
    nudge = iter(range(1, 1000))

    def arrived() -> bool:
        page.mouse.move(target["x"] + 20, target["y"] + 90 + next(nudge) % 8)
        return page.locator(f"#column-{column} #card-{ticket}").count() == int(is_accepted)

    wait_until(arrived, description=f"the card over {column}")
    page.mouse.up()
    expect(page.locator("[data-carrying], .sortable-chosen")).to_have_count(0)


def test_a_card_drops_only_where_a_move_leads(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(status="inbox")
    page = tab(viewport={"width": 1900, "height": 900})
    go(page, "/board?view=columns")
    carry(page, ticket, "in_progress", is_accepted=False)
    explanation = f"{ticket} cannot move to In progress: an agent starts it by itself. It can move to "
    expect(page.locator("[data-carry-hint]")).to_contain_text(explanation)
    expect(page.locator(f"#column-inbox #card-{ticket}")).to_be_visible()


def test_a_move_that_asks_something_opens_its_form_where_the_card_was_dropped(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(status="inbox")
    page = tab(viewport={"width": 1900, "height": 900})
    go(page, "/board?view=columns")
    carry(page, ticket, "todo")
    expect(page.locator(f"#column-todo:not([data-folded]) #card-{ticket}")).to_be_visible()
    expect(page.locator(f"#card-{ticket}")).to_have_attribute("data-version", "2")
    carry(page, ticket, "waiting")
    expect(page.locator("#move-dialog")).to_be_visible()
    page.get_by_role("button", name="Park").click()
    expect(page.locator(f"#column-waiting:not([data-folded]) #card-{ticket}")).to_be_visible()


def test_a_refusal_is_said_where_it_happened_and_loses_nothing(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.route("**/say", lambda route: route.abort())
    page.locator("#say").fill("A thought")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".composer [data-error]")).to_contain_text("is unreachable")
    expect(page.locator("#say")).to_have_value("A thought")


def test_the_pages_work_without_scripts(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(status="inbox")
    page = tab(java_script_enabled=False)
    page.goto(f"/ticket/{ticket}")
    page.locator("#say").fill("Written **plainly**")
    page.get_by_role("button", name="Comment").click()
    expect(page.locator("#entries strong")).to_have_text("plainly")
    page.get_by_role("button", name="Triage").click()
    expect(page.locator(".strip .state")).to_have_text("To do")


def test_the_wall_shows_what_each_agent_does_and_interrupts_it(site: BoardSite, page: Page) -> None:
    """New lines come over the page's one stream, and what is typed stays when an agent begins or ends."""
    tickets = [site.ticket(title=f"Work {number}") for number in range(3)]
    runs = [site.claim(ticket) for ticket in tickets[:2]]
    for run in runs:
        site.beat(run, "running")
    site.tell(runs[0], "agent.tool_call", call="c1", name="Bash", title="make check", input={})
    go(page, "/agents/live")
    agents = page.locator("[data-agent]")
    expect(agents).to_have_count(2)
    expect(agents.first.locator("[data-lines] li")).to_have_text(["make check"])
    for number, run in enumerate(runs):
        site.tell(run, "agent.text", block=f"b{number}", text=f"I am at {number}.\nMore.")
    expect(agents.first.locator("[data-lines] li")).to_have_text(["make check", "I am at 0."])
    expect(agents.last.locator("[data-lines] li")).to_have_text(["I am at 1."])

    field = agents.last.get_by_placeholder("What to do instead")
    field.fill("Half a thought")
    runs.append(site.claim(tickets[2]))
    expect(agents).to_have_count(3)
    expect(page.locator(f"[data-agent='{tickets[1]}'] [name=body]")).to_have_value("Half a thought")
    site.tell(runs[2], "agent.text", block="b2", text="I begin.")
    expect(page.locator(f"[data-agent='{tickets[2]}'] [data-lines]")).to_contain_text("I begin.")

    page.locator(f"[data-agent='{tickets[1]}']").get_by_role("button", name="Interrupt").click()
    expect(page.locator(f"[data-agent='{tickets[1]}'] [data-lines]")).to_contain_text("You: Half a thought")
    with reading(site.store) as session:
        ticket_id = get_ticket(session, tickets[1]).id
        assert [(row.body, row.mode.value) for row in messages.list_messages(session, ticket_id)] == [
            ("Half a thought", "interrupt")
        ]
