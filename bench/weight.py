"""Measurements of what a browser loads and builds for a page: bytes, elements and requests, first paint and layout shift."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from statistics import median
from typing import Any

from database import writing
from secret_files import build_browser_url
from tickets.team import projects

from .board import STATES, fill_every_column
from .installation import BENCH_ACTOR, Installation, create_installation
from .rows import ResultRow

TICKET_COUNT = 3_200
PROJECT_COUNT = 5
VISIT_COUNT = 9
PAGES = (
    ("board", "/board?view=columns"),
    ("board as lanes", "/board?view=lanes"),
    ("board as a list", "/board?view=list"),
    ("overview", "/"),
    ("ticket", "/ticket/MC-1"),
)
PAINTED_PAGES = (("settings", "/settings"), *PAGES)
FETCHED_LINKS = {"stylesheet", "modulepreload", "preload", "icon", "manifest"}
VOID_ELEMENTS = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
PAINT_SCRIPT = """() => ({
    paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    requests: performance.getEntriesByType("resource").length + 1,
    shift: self.layoutShifts.reduce((sum, each) => sum + each, 0),
})"""
SHIFT_SCRIPT = """self.layoutShifts = [];
new PerformanceObserver((list) => self.layoutShifts.push(...list.getEntries().map(({ value }) => value)))
    .observe({ type: "layout-shift", buffered: true });"""


class PageParser(HTMLParser):
    """Counts the elements of a page, and collects the files that it names. The content of templates is not in the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements = 0
        self.files: set[str] = set()
        self._template_depth = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._template_depth:
            self._template_depth += tag not in VOID_ELEMENTS
            return
        self.elements += 1
        self._template_depth = int(tag == "template")
        self._collect_file(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements += not self._template_depth

    def handle_endtag(self, tag: str) -> None:
        if self._template_depth and tag not in VOID_ELEMENTS:
            self._template_depth -= 1

    def _collect_file(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "link" and attributes.get("rel") not in FETCHED_LINKS:
            return
        address = attributes.get({"link": "href", "script": "src", "img": "src", "use": "href"}.get(tag, ""))
        if address:
            self.files.add(address.partition("#")[0])


def measure_weight() -> Iterator[ResultRow]:
    """Measure bytes, elements and requests of pages with 3,200 tickets in five projects."""
    with _create_full_board() as instance:
        cookie = (
            f"mc_view_{instance.settings.instance}"  # of the view, else the first visit sets it and is not compressed
        )
        for name, path in PAGES:
            headers = {"Accept-Encoding": "gzip", "Cookie": f"{cookie}={path.partition('view=')[2]}"}
            page = instance.get(path)
            compressed = instance.exchange(instance.connect(), "GET", path, headers=headers)[1]
            parsed = PageParser(page.decode())
            yield ResultRow(f"{name}, HTML", len(page) / 1000, "kB")
            yield ResultRow(f"{name}, compressed", len(compressed) / 1000, "kB", "gzip")
            yield ResultRow(f"{name}, elements", parsed.elements, "")
            yield ResultRow(f"{name}, requests", len(parsed.files) + 1, "", "of the first load, without fonts")


def measure_paint() -> Iterator[ResultRow]:
    """Measure first paint, layout shift and requests of the same pages in Chromium, beside those of the settings."""
    from playwright.sync_api import sync_playwright  # only for developers

    with _create_full_board() as instance, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(base_url=build_browser_url(instance.settings), service_workers="block")
        context.add_init_script(SHIFT_SCRIPT)
        page = context.new_page()
        page.goto("/login")
        page.fill("[name=token]", instance.token)
        page.click("button")
        rounds = [[_visit_page(page, path) for _, path in PAINTED_PAGES] for _ in range(VISIT_COUNT)]
        for (name, _), visits in zip(PAINTED_PAGES, zip(*rounds, strict=True), strict=True):
            yield ResultRow(f"{name}, first paint", median(visit["paint"] for visit in visits), "ms", "the median")
            shift = 1000 * max(visit["shift"] for visit in visits)
            yield ResultRow(f"{name}, layout shift", shift, "", "the largest, in thousandths")
            yield ResultRow(f"{name}, requests in Chromium", max(visit["requests"] for visit in visits), "")
        browser.close()


def _visit_page(page: Any, path: str) -> Any:
    page.goto(path)
    page.wait_for_selector("#connection[data-link=live]")
    return page.evaluate(PAINT_SCRIPT)


@contextmanager
def _create_full_board() -> Iterator[Installation]:
    """Serve an installation with many tickets in every state, in several projects."""
    with create_installation(MC_WEB_WORKERS=1) as instance:
        slugs = [_add_project(instance, number) for number in range(PROJECT_COUNT)]
        for slug in slugs:
            for facts in STATES:
                instance.create_tickets(TICKET_COUNT // PROJECT_COUNT // len(STATES), project=slug, **facts)
        fill_every_column(instance)
        instance.serve()
        yield instance


def _add_project(instance: Installation, number: int) -> str:
    folder = instance.settings.home / f"project-{number}"
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    body = projects.NewProject(slug=f"project-{number}", name=f"Project {number}", folder=str(folder))
    with writing(instance.engine) as session:
        return projects.add_project(session, body, BENCH_ACTOR).slug
