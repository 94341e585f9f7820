"""A person talks with an agent and looks at its terminal, in a real browser on a real board."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from models import DeliveryState
from tests.waiting import wait_until
from tests.web.served_board import Stage

from . import page_rules
from .conftest import Visit

pytestmark = pytest.mark.browser


def test_a_person_types_and_sees_the_message_accepted_and_answered(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    board.talking(name)
    page = visit("alice", f"/ticket/{name}")
    page.fill("#say", "type good morning")

    page.get_by_role("button", name="Send to agent").click()

    expect(page.locator("[data-receipt=accepted]")).to_contain_text("Accepted")
    expect(page.locator(".entry[data-kind=text]").last).to_contain_text("You said: type good morning")
    expect(page.locator(".pending")).to_have_count(0)
    expect(
        page.locator(".entry", has_text="type good morning").filter(has=page.locator("[data-receipt]"))
    ).to_have_count(1)
    expect(page.locator("[data-control]")).to_contain_text("You are talking to the agent.")
    expect(page.locator("#ticket-head")).to_contain_text("INTERACTIVE")
    expect(page.locator("#say")).to_have_value("")
    expect(page.locator("[data-told]")).to_be_empty()


def test_two_people_hand_the_conversation_over(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice, bob = visit("alice", f"/ticket/{name}"), visit("bob", f"/ticket/{name}")
    alice.fill("#say", "mine")
    alice.get_by_role("button", name="Send to agent").click()
    expect(bob.locator("[data-control]")).to_contain_text("alice is talking to the agent.")
    expect(bob.get_by_role("button", name="Send to agent")).to_be_disabled()

    bob.get_by_role("button", name="Request control").click()
    expect(alice.locator("[data-control]")).to_contain_text("bob wants to talk to the agent.")
    alice.get_by_role("button", name="Hand over").click()

    expect(bob.locator("[data-control]")).to_contain_text("You are talking to the agent.")
    expect(alice.get_by_role("button", name="Send to agent")).to_be_disabled()


def test_words_said_while_the_server_is_away_arrive_once(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    board.talking(name)
    page = visit("alice", f"/ticket/{name}")
    page.fill("#say", "first")
    page.get_by_role("button", name="Send to agent").click()
    expect(page.locator("[data-receipt=accepted]")).to_have_count(1)
    board.kill()
    page.fill("#say", "second")
    page.get_by_role("button", name="Send to agent").click()

    board.start()

    if page.locator("#say").input_value():  # the socket had gone already, so the form said that it was not taken
        page.get_by_role("button", name="Send to agent").click()
    wait_until(lambda: [row.body for row in board.messages()] == ["first", "second"], 30, "the second message")
    wait_until(lambda: {row.state for row in board.messages()} == {DeliveryState.ACCEPTED}, 30, "its receipt")
    expect(page.locator("[data-receipt=accepted]")).to_have_count(2)


def test_without_scripts_the_form_does_the_same(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    page = visit("alice", f"/ticket/{name}", java_script_enabled=False)
    page.fill("#say", "for the next run")

    page.get_by_role("button", name="Message agent").click()

    expect(page.locator(".flashes")).to_contain_text("No agent is running. The next run starts with your message.")
    assert [row.body for row in board.messages()] == ["for the next run"]


def test_the_console_tab_shows_the_pane(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    board.talking(name)
    page = visit("alice", f"/ticket/{name}")

    page.get_by_role("link", name="Console").click()

    frame = page.frame_locator("iframe")
    expect(frame.locator(".xterm-rows")).to_contain_text("I am listening.")
    expect(frame.locator(".console-bar")).to_contain_text("Read-only")
    frame.get_by_role("link", name="Type here").click()
    expect(frame.locator(".console-bar")).to_contain_text("What you type goes into this terminal")
    frame.locator(".xterm-helper-textarea").press_sequentially("by hand")
    expect(frame.locator(".xterm-rows")).to_contain_text("by hand")


def test_the_live_conversation_and_the_console_are_accessible_and_fit(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    run = board.talking(name)
    board.guest(name, board.person("bob")).control("take")
    page = visit("alice", f"/ticket/{name}", reduced_motion="reduce")
    console = f"/runs/{run.id}/console"
    offences = []
    for path in (f"/ticket/{name}", f"/ticket/{name}?tab=console", console, f"{console}?write=1"):
        page_rules.open_page(page, path)
        offences += [f"{path}: {text}" for text in page_rules.check_accessibility(page)]
    assert offences == []
