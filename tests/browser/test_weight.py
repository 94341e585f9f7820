"""What a browser loads: little, compressed, heavy parts only where they are shown, and nothing a second time."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import BoardSite, OpenContext
from .test_live_pages import go

pytestmark = pytest.mark.browser

CODE_BYTES = 200_000
HEAVY = ("xterm", "sortable")

MAX_REQUESTS = 30
COUNT_REQUESTS = 'performance.getEntriesByType("resource").length + 1'

SENT = """() => performance.getEntriesByType("resource")
    .filter(({ name, transferSize }) => name.includes("/static/") && transferSize > 0)
    .map(({ name, encodedBodySize }) => [name, encodedBodySize])"""


def list_transfers(page: Page) -> list[tuple[str, int]]:
    """The static files that the page's browser got over the network, with their size as sent."""
    return [(str(address), int(size)) for address, size in page.evaluate(SENT)]


def test_the_first_load_of_a_page_is_small_and_without_heavy_parts(site: BoardSite, open_context: OpenContext) -> None:
    ticket = site.ticket()
    site.claim(ticket)
    for path, expected in (("/", []), ("/board", ["sortable"]), (f"/ticket/{ticket}", [])):
        page = open_context().new_page()
        go(page, path)
        code = {address: size for address, size in list_transfers(page) if address.endswith((".js", ".css"))}
        assert 20_000 < sum(code.values()) < CODE_BYTES, path
        assert [part for part in HEAVY if any(part in address for address in code)] == expected, path
        assert 5 < page.evaluate(COUNT_REQUESTS) < MAX_REQUESTS, f"{path}: run bin/setup if the scripts are not bundled"


def test_a_page_seen_again_loads_no_static_file_again(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    for path in ("/board", f"/ticket/{ticket}"):
        go(page, path)
    go(page, "/board")
    assert list_transfers(page) == []
