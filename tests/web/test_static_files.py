"""The files of the interface keep their own rules: small, without inline code, and naming only what exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STATIC, TEMPLATES = ROOT / "static", ROOT / "templates"
MARKUP = sorted(TEMPLATES.rglob("*.html"))
SCRIPTS = sorted([*STATIC.glob("*.js"), *(STATIC / "js").rglob("*.js")])
STYLES = sorted([STATIC / "style.css", *(STATIC / "css").rglob("*.css")])
PYTHON = sorted((ROOT / "web").rglob("*.py"))

INLINE = re.compile(r"\sstyle=|\son[a-z]+=|<style|<script(?![^>]*\ssrc=)|javascript:|\bhx-on|\bjs:")
TICKET_TITLE = re.compile(r"\{\{ (?:ticket|card|item|hit|line|run|link)\.title \}\}")
UNSAFE = re.compile(r"\beval\(|new Function|\.innerHTML|\.outerHTML\s*=|insertAdjacentHTML|document\.write")


def test_no_file_outgrows_its_measure() -> None:
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in (*SCRIPTS, *STYLES, *MARKUP)}
    limits = {".html": 150}
    assert [file for file, length in lengths.items() if length > limits.get(file.suffix, 300)] == []


def test_no_template_has_inline_code() -> None:
    assert [(file, code) for file in MARKUP if (code := INLINE.findall(file.read_text("utf-8")))] == []


def test_no_script_makes_markup_or_code_from_text() -> None:
    assert [(file, code) for file in SCRIPTS if (code := UNSAFE.findall(file.read_text("utf-8")))] == []


def test_every_icon_named_is_in_the_sprite() -> None:
    sprite_names = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text("utf-8")))
    icon_names = {
        name for file in MARKUP for name in re.findall(r'(?<!_)icon\("([a-z0-9-]+)"', file.read_text("utf-8"))
    }
    icon_names |= {
        name for file in PYTHON for name in re.findall(r'nav\("[^"]*", "[^"]*", "([^"]+)"', file.read_text("utf-8"))
    }
    assert icon_names - sprite_names == set()


def test_the_title_of_a_ticket_is_written_in_its_own_direction() -> None:
    """A title in Hebrew or Arabic must not reorder the identifier and the words beside it."""
    lines = [(file.name, line) for file in MARKUP for line in file.read_text("utf-8").splitlines()]
    titles = [(name, line) for name, line in lines if TICKET_TITLE.search(line) and "block title" not in line]
    isolated = re.compile(rf'(?:dir="auto"[^<]*>|<bdi>|data-title="){TICKET_TITLE.pattern}')
    assert len(titles) > 10
    assert [
        (name, line) for name, line in titles if len(isolated.findall(line)) < len(TICKET_TITLE.findall(line))
    ] == []


def test_no_ligature_changes_what_code_looks_like() -> None:
    rules = [rule for file in STYLES for rule in re.findall(r"\{([^{}]*)\}", file.read_text("utf-8"))]
    in_mono = [rule for rule in rules if re.search(r"font[^;]*: [^;]*var\(--mono\)", rule)]
    assert in_mono and [rule for rule in in_mono if "font-variant-ligatures: none" not in rule] == []


def test_every_style_layer_is_imported_and_exists() -> None:
    imported = set(re.findall(r'url\("(css/[^"]+)"\)', (STATIC / "style.css").read_text("utf-8")))
    assert imported == {file.relative_to(STATIC).as_posix() for file in (STATIC / "css").rglob("*.css")}


def test_every_import_of_a_script_exists() -> None:
    for file in SCRIPTS:
        for target in re.findall(r'from "(\.[^"]+)"', file.read_text("utf-8")):
            target_file = (file.parent / target).resolve()
            assert target_file.exists() or "vendor" in target_file.parts, f"{file.name} imports {target}"
