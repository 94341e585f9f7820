"""How texts are written in pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models import BlockReason
from tickets.shared import display_names
from web.site.template_filters import render_code

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("`sh check.sh`: exit 0", "<code>sh check.sh</code>: exit 0"),
        ("`<b>` and <i>", "<code>&lt;b&gt;</code> and &lt;i&gt;"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_words_between_backticks_are_code_and_nothing_else_is_markup(text: str, markup: str) -> None:
    assert render_code(text) == markup


REPLACED_PHRASES = (
    r"Approve all the same|Not to be approved as it is|handed in the work",
    # The label of a control or a property
    r'>Fold<|Fold or unfold|"Look at it"|"Hand back"|leave the branch"|"Leave the branch"|"What is to change"|Tell<span',
    r"What becomes of the branch|Begin afresh|Keep (it|as it is|them as they are)<|It may act as|Take back|Put away|Let go<",
    r'"(It holds|Done when|Requester|Held by|Moves|Exhausted|Capability|Adrift|Overslept|Forgotten)"|>(Requester|Held by|Moves)<',
    # The state of something
    r"on lines`|Work goes on|did what it exists for|Nothing was claimed|is to act:|last heard|Handed in without|was told to",
    r"Nothing (holds|is wrong with)|Signs of life|gives? no sign of life|looked at \{|Somebody is on it|It explains:",
    # What happened, and what to do
    r"not reached|did not arrive|goes on by itself|starts by itself|You read along|What you wrote|Nobody has looked",
    r"is \{[^}]+\} now\.|is no longer kept|Settle th(at|is)|have to be chosen|One a line|it stays\.|has trouble",
)
"""Regular expressions of phrases that read as translated, and of earlier labels."""
TEXT_FOLDERS = ("templates", "static", "web", "tickets", "cli", "jobs", "workers/repository")


def test_no_text_has_a_phrase_that_was_replaced() -> None:
    files = [
        path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".html", ".js", ".py")
    ]
    replaced_pattern = re.compile("|".join(REPLACED_PHRASES))
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        if "vendor" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (match := replaced_pattern.search(line))
    ]
    assert lines == []


def test_each_reason_of_a_block_has_a_label() -> None:
    assert {reason for reason in BlockReason if display_names.format_block_reason(reason)} == set(BlockReason)
