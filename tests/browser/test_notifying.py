"""A browser says when a ticket comes to need somebody: once, only where it was asked to, and not to who is looking at it."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route, Worker, expect

from database import writing
from jobs.alerts.push_channel import build_payload
from tests.waiting import wait_until
from tickets.alerts import channels, deliveries
from tickets.alerts.alert import Alert
from tickets.alerts.channels import ChannelRules, PushOptions

from .conftest import OPERATOR, BoardSite, OpenContext

pytestmark = pytest.mark.browser

SHOWN = (
    "registration.getNotifications().then((all) => all.map(({ title, body }) => `${title}: ${body.split('\\n')[0]}`))"
)
WATCH = """() => {
  self.told = 0;
  const show = registration.showNotification.bind(registration);
  registration.showNotification = async (...given) => { await show(...given); self.told += 1; };
}"""
"""Counted, as Chromium drops a notification for which it is asked while it comes up."""
ANSWER = """async (action) => {
  const [notification] = await registration.getNotifications();
  const titles = notification.actions.map(({ title }) => title);
  dispatchEvent(new NotificationEvent("notificationclick", { notification, action }));
  return titles;
}"""
CLICK = """async (open) => {
  const led = [];
  clients.openWindow = (href) => led.push(`opened ${href}`);
  WindowClient.prototype.focus = function () { led.push(`focused ${new URL(this.url).pathname}`); };
  const [notification] = await registration.getNotifications();
  dispatchEvent(new NotificationEvent("notificationclick", { notification }));
  for (let turn = 0; turn < 100 && !led.length; turn++) await new Promise((resolve) => setTimeout(resolve, 20));
  return led;
}"""
"""A click, with note taken of where it leads: only a person's own click may open a window."""


def settle(page: Page) -> Page:
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    return page


def open_at(open_context: OpenContext, path: str, **options: Any) -> Page:
    page = open_context(service_workers="allow", **options).new_page()
    page.goto(path)
    return settle(page)


def enter(open_context: OpenContext, path: str = "/board") -> Page:
    return open_at(open_context, path, permissions=["notifications"])


def another(page: Page, path: str) -> Page:
    tab = page.context.new_page()
    tab.goto(path)
    return settle(tab)


def switch(page: Page) -> None:
    page.get_by_label("View and account").click()
    page.get_by_role("button", name="Notify me when I'm needed").click()
    page.keyboard.press("Escape")


def switch_on(page: Page) -> None:
    switch(page)
    expect(page.locator("[data-notify]")).to_have_attribute("aria-pressed", "true")
    worker_of(page).evaluate(WATCH)


def worker_of(page: Page) -> Worker:
    wait_until(lambda: page.context.service_workers, description="the service worker")
    return page.context.service_workers[0]


def list_notifications(page: Page) -> list[str]:
    titles: list[str] = worker_of(page).evaluate(SHOWN)
    return sorted(titles)


def wait_for_notifications(page: Page, count: int = 1) -> list[str]:
    """What is shown once so many notifications have come up."""
    wait_until(lambda: worker_of(page).evaluate("self.told") >= count, description=f"{count} notifications")
    return list_notifications(page)


def test_a_ticket_that_needs_somebody_is_told_of_once_however_many_tabs_are_open(
    site: BoardSite, open_context: OpenContext
) -> None:
    asking_ticket, open_ticket, other = site.ticket(), site.ticket(), site.ticket()
    page = enter(open_context)
    switch_on(page)
    tabs = [page, another(page, f"/ticket/{open_ticket}"), another(page, "/tasks"), another(page, "/")]

    site.report_verdict(open_ticket, "review")
    site.report_verdict(asking_ticket, "question")
    site.report_verdict(other, "review")

    due = [f"{asking_ticket} has a question: Write a line", f"{other} is ready for review: Write a line"]
    assert wait_for_notifications(page, len(due)) == due
    for tab, title in zip(tabs, ("Board", f"{open_ticket} Write a line", "Tasks", "Overview"), strict=True):
        expect(tab).to_have_title(f"(3) {title} · Mission Control")
        expect(tab.locator(".rail [data-needs-count]")).to_have_text("3")
    assert worker_of(page).evaluate("self.told") == len(due)


def test_a_click_leads_to_the_ticket_and_to_its_tab_where_there_is_one(
    site: BoardSite, open_context: OpenContext
) -> None:
    name = site.ticket()
    page = enter(open_context)
    switch_on(page)
    site.report_verdict(name, "question")
    assert wait_for_notifications(page)
    assert worker_of(page).evaluate(CLICK) == [f"opened /ticket/{name}"]
    assert list_notifications(page) == []


def test_what_happens_before_the_page_has_looked_for_the_first_time_is_news_too(
    site: BoardSite, open_context: OpenContext
) -> None:
    old, name = site.ticket(), site.ticket()
    site.report_verdict(old, "review")
    page = enter(open_context)
    switch_on(page)
    held_routes: list[Route] = []
    page.route("**/api/v1/needs-you", lambda route: held_routes.append(route))
    page.reload()
    settle(page)
    wait_until(lambda: page.title() and len(held_routes) == 1, description="the first look")
    site.report_verdict(name, "question")
    wait_until(lambda: page.title() and len(held_routes) == 2, description="another look, for what was heard")
    page.unroute("**/api/v1/needs-you")
    assert wait_for_notifications(page) == [f"{name} has a question: Write a line"]


def test_what_was_settled_is_not_left_standing(site: BoardSite, open_context: OpenContext) -> None:
    name = site.ticket()
    page = enter(open_context)
    switch_on(page)
    site.report_verdict(name, "question")
    assert wait_for_notifications(page)
    tab = another(page, f"/ticket/{name}")
    tab.get_by_label("Answer").first.fill("Well.")
    tab.get_by_role("button", name="Answer").first.click()
    wait_until(lambda: list_notifications(page) == [], description="its end")
    expect(page).to_have_title("Board · Mission Control")
    expect(page.locator(".rail [data-needs-count]")).to_be_hidden()


def test_who_did_not_ask_is_told_nothing_and_who_asked_can_end_it(site: BoardSite, open_context: OpenContext) -> None:
    one, two = site.ticket(), site.ticket()
    page = enter(open_context)
    button = page.locator("[data-notify]")
    site.report_verdict(one, "question")
    expect(page).to_have_title("(1) Board · Mission Control")
    expect(page.locator(f"#card-{one}").get_by_role("img", name="Question")).to_be_visible()
    expect(page.locator(f"#card-{one}")).to_contain_text("Well?")
    switch_on(page)
    page.reload()
    settle(page)
    expect(button).to_have_attribute("aria-pressed", "true")
    switch(page)
    expect(button).to_have_attribute("aria-pressed", "false")
    site.report_verdict(two, "question")
    expect(page).to_have_title("(2) Board · Mission Control")
    assert list_notifications(page) == []


def deliver_push(page: Page, payload: dict[str, Any]) -> None:
    """Deliver a push message as the push service of the browser would."""
    session = page.context.new_cdp_session(page)
    registrations: list[dict[str, Any]] = []
    session.on("ServiceWorker.workerRegistrationUpdated", lambda event: registrations.extend(event["registrations"]))
    session.send("ServiceWorker.enable")
    wait_until(lambda: page.evaluate("1") and registrations, description="the registration of the worker")
    origin = page.evaluate("location.origin")
    place = {"origin": origin, "registrationId": registrations[-1]["registrationId"]}
    session.send("ServiceWorker.deliverPushMessage", place | {"data": json.dumps(payload)})
    session.detach()


def test_a_push_message_is_shown_answered_once_and_replaced(site: BoardSite, open_context: OpenContext) -> None:
    name = site.ticket()
    rules = ChannelRules.model_validate({"enabled": True, "kinds": {"needs_you": "now"}})
    with writing(site.store) as session:
        options = PushOptions(contact="mailto:me@example.com")
        channels.save_channel(session, channels.get_type("push"), rules, options, OPERATOR)
    site.report_verdict(name, "review")
    with writing(site.store) as session:
        deliveries.collect(session, "push", ZoneInfo("UTC"))
        [row] = deliveries.list_latest(session)
        payload = build_payload(Alert.from_json(row.alert))
    page = enter(open_context, "/tasks")
    worker_of(page).evaluate(WATCH)
    deliver_push(page, payload)
    assert wait_for_notifications(page) == [f"{name} is ready for review: Write a line: Well?"]
    action = worker_of(page).evaluate(ANSWER, "approve")
    assert action == ["Approve"]
    wait_until(lambda: site.load_ticket(name)["status"] == "done", description="the approval")

    deliver_push(page, payload)  # as to another browser, which has not been told yet
    wait_for_notifications(page, 2)
    worker_of(page).evaluate(ANSWER, "approve")
    [refusal] = wait_for_notifications(page, 3)
    assert "has already been settled: browser was first." in refusal
    deliver_push(page, payload | {"body": "Approved by operator.", "actions": [], "silent": True})
    assert wait_for_notifications(page, 4) == [f"{name} is ready for review: Write a line: Approved by operator."]


def test_a_browser_that_forbids_it_is_not_asked_for_ever(site: BoardSite, open_context: OpenContext) -> None:
    page = open_at(open_context, "/board")
    page.evaluate("Notification.requestPermission = async () => 'denied'")
    switch(page)
    expect(page.locator(".flashes")).to_contain_text("This browser blocks notifications")
    expect(page.locator("[data-notify]")).to_have_attribute("aria-pressed", "false")
