"""What a browser loads: little, compressed, heavy parts only where they are shown, and nothing a second time."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import House, Opened
from .test_live_pages import go

pytestmark = pytest.mark.browser

CODE_BYTES = 200_000
HEAVY = ("xterm", "sortable")

SENT = """() => performance.getEntriesByType("resource")
    .filter(({ name, transferSize }) => name.includes("/static/") && transferSize > 0)
    .map(({ name, encodedBodySize }) => [name, encodedBodySize])"""


def sent(page: Page) -> list[tuple[str, int]]:
    """The static files that the page's browser got over the network, with their size as sent."""
    return [(str(address), int(size)) for address, size in page.evaluate(SENT)]


def test_the_first_load_of_a_page_is_small_and_without_heavy_parts(house: House, opened: Opened) -> None:
    ticket = house.ticket()
    house.claim(ticket)
    for path, shown in (("/", []), ("/board", ["sortable"]), (f"/ticket/{ticket}", [])):
        page = opened().new_page()
        go(page, path)
        code = {address: size for address, size in sent(page) if address.endswith((".js", ".css"))}
        assert len(code) > 10 and 20_000 < sum(code.values()) < CODE_BYTES, path
        assert [part for part in HEAVY if any(part in address for address in code)] == shown, path


def test_a_page_seen_again_loads_no_static_file_again(house: House, page: Page) -> None:
    ticket = house.ticket()
    for path in ("/board", f"/ticket/{ticket}"):
        go(page, path)
    go(page, "/board")
    assert sent(page) == []
