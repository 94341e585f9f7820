"""Files on a ticket: chosen, dropped and pasted, shown in place, and refused in words."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from playwright.sync_api import FilePayload, Page, expect

import auth
from database import reading
from tickets.conversation import attachments
from tickets.shared.lookup import get_ticket

from .conftest import PICTURE, BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser

CARRY = """([selector, kind, files]) => {
  const data = new DataTransfer();
  for (const [name, type, content] of files) {
    data.items.add(new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name, { type }));
  }
  const target = document.querySelector(selector);
  if (kind === "paste") target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  else target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def carry(page: Page, kind: str, selector: str, *files: tuple[str, bytes]) -> None:
    """Let go of files over an element, hold them over it (dragenter), or paste them into it."""
    packed = [
        (name, "image/png" if name.endswith("png") else "", base64.b64encode(content).decode())
        for name, content in files
    ]
    page.evaluate(CARRY, [selector, kind, packed])


def names(site: BoardSite, ticket: str) -> list[str]:
    with reading(site.store) as session:
        return [row.name for row in attachments.list_attachments(session, get_ticket(session, ticket).id)]


def test_files_that_are_chosen_are_listed_and_shown(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    log: FilePayload = {"name": "check.log", "mimeType": "text/plain", "buffer": b"first line\nsecond line\n"}
    picture: FilePayload = {"name": "shot.png", "mimeType": "image/png", "buffer": PICTURE.read_bytes()}
    page.locator("input[type=file]").set_input_files([picture, log])
    expect(page.locator(".file-rows .item-title > a")).to_have_text(["shot.png", "check.log"])
    expect(page.locator("[data-uploads] li")).to_have_count(0)
    page.get_by_role("link", name="shot.png", exact=True).click()
    image = page.locator("#viewer img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1440
    page.keyboard.press("Escape")
    page.get_by_role("link", name="check.log", exact=True).click()
    expect(page.locator("#viewer pre")).to_have_text("first line\nsecond line\n")
    page.locator("#viewer").get_by_role("button", name="Close").click()
    with page.expect_download() as download:
        page.get_by_label("Download check.log").click()
    assert download.value.suggested_filename == "check.log"
    page.get_by_label("Remove check.log").click()
    expect(page.locator("#ticket-side")).to_contain_text("This cannot be undone")
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".file-rows .item-title > a")).to_have_text(["shot.png"])


def test_what_is_dropped_on_the_page_is_attached(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    carry(page, "dragenter", "h1", ("shot.png", PICTURE.read_bytes()))
    expect(page.get_by_text(f"Drop to attach to {ticket}")).to_be_visible()
    carry(page, "drop", "h1", ("shot.png", PICTURE.read_bytes()), ("notes.txt", b"A note"))
    expect(page.locator("[data-drop-zone]")).not_to_be_visible()
    expect(page.locator(".file-rows .item-title > a")).to_have_text(["shot.png", "notes.txt"])


def test_a_picture_that_is_pasted_into_a_comment_becomes_a_link_that_shows_it(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.locator("#say").fill("Look at")
    carry(page, "paste", "#say", ("image.png", PICTURE.read_bytes()))
    expect(page.locator("#say")).to_have_value(
        re.compile(r"^Look at \[pasted-[\d-]+\.png\]\(/attachments/\d+/preview\)$")
    )
    page.keyboard.press("Control+Enter")
    link = page.locator("#entries .prose a")
    expect(link).to_contain_text("pasted-")
    link.click()
    expect(page.locator("#viewer img")).to_be_visible()
    page.get_by_role("button", name="Link in the comment").click()
    expect(page.locator("#say")).to_have_value(re.compile(r"^\[pasted-"))


def test_a_file_that_is_dropped_on_the_description_is_linked_in_it(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(description="See")
    go(page, f"/ticket/{ticket}")
    page.locator("#edit-description-fact > summary").click()
    page.locator("#edit-description").evaluate("area => area.setSelectionRange(3, 3)")
    carry(page, "drop", "#edit-description", ("plan.pdf", b"%PDF-1.7"))
    expect(page.locator("#edit-description")).to_have_value(
        re.compile(r"^See \[plan\.pdf\]\(/api/v1/attachments/\d+\)$")
    )


def test_what_is_refused_says_why_and_stays_until_it_is_put_away(site: BoardSite, page: Page) -> None:
    instance: auth.Instance = site.app.extensions["mission_control"]
    tight = instance.settings.model_copy(update={"attachment_limit_bytes": 2000, "attachment_limit_count": 1})
    site.app.extensions["mission_control"] = replace(instance, settings=tight)
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    carry(page, "drop", "h1", ("big.txt", b"x" * 3000), ("program", b"\x7fELF\x00"), ("a.txt", b"a"), ("b.txt", b"b"))
    lines = page.locator("[data-uploads] li")
    expect(lines).to_have_count(3)
    expect(lines.nth(0)).to_contain_text("big.txt is 3 KB; the limit is 2 KB per file.")
    expect(lines.nth(1)).to_contain_text("program: A file must be UTF-8 text or one of")
    expect(lines.nth(2)).to_contain_text("b.txt: A ticket may have at most 1 files")
    assert names(site, ticket) == ["a.txt"]
    site.edit(ticket, title="News")
    expect(page.locator("h1")).to_contain_text("News")
    expect(lines).to_have_count(3)
    lines.first.get_by_role("button", name="Dismiss").click()
    expect(lines).to_have_count(2)
    page.locator("#say").fill("And")
    carry(page, "paste", "#say", ("c.png", PICTURE.read_bytes()))
    expect(page.locator(".composer [data-error]")).to_contain_text("the limit is 2 KB")
    expect(page.locator("#say")).to_have_value("And ")


def test_rich_text_is_pasted_as_words_though_a_picture_comes_with_it(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    is_handled = page.evaluate("""() => {
      const data = new DataTransfer();
      data.setData("text/plain", "A1\\tB1");
      data.setData("text/html", "<table></table>");
      data.items.add(new File(["x"], "image.png", { type: "image/png" }));
      const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
      document.getElementById("say").dispatchEvent(event);
      return event.defaultPrevented;
    }""")
    assert is_handled is False and names(site, ticket) == []


def test_a_picture_opens_by_itself_without_a_script_and_runs_nothing(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket()
    page = tab(java_script_enabled=False)
    page.goto(f"/ticket/{ticket}")
    hostile = b"<script>document.title = 'run'</script>"
    files: list[FilePayload] = [
        {"name": "shot.png", "mimeType": "", "buffer": PICTURE.read_bytes()},
        {"name": "page.html", "mimeType": "text/html", "buffer": hostile},
    ]
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_role("button", name="Attach", exact=True).click()
    page.get_by_role("link", name="shot.png", exact=True).click()
    expect(page.locator("img")).to_be_visible()
    scripted = tab()
    with reading(site.store) as session:
        number = attachments.list_attachments(session, get_ticket(session, ticket).id)[1].id
    scripted.goto(f"/attachments/{number}/preview")
    assert scripted.title() != "run" and hostile.decode() in scripted.locator("body").inner_text()
