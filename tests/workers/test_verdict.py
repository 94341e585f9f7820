from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from protocol import Failure, Outcome
from redaction import SHAPES, Redaction
from tickets.runs.reports import RunReport
from workers.host import files
from workers.run import failure_record, verdict
from workers.run.run_facts import RunFacts
from workers.run.signal_watch import SignalWatch
from workers.run.verdict import Cause, FailureReport, Verdict

from .runs import build_spec

NONCE = "0123456789abcdef0123456789abcdef"


def build_facts(*events: tuple[str, dict[str, Any]]) -> RunFacts:
    run_facts = RunFacts()
    for kind, payload in events:
        run_facts.take(f"agent.{kind}", payload)
    return run_facts


def build_result(text: str, **payload: Any) -> tuple[str, dict[str, Any]]:
    return ("result", {"ok": True, "text": text, **payload})


@pytest.mark.parametrize(
    ("message", "kind", "summary"),
    [
        ("DONE: it works", "done", "it works"),
        ("I looked.\n\nREVIEW: two files\nand a test", "review", "two files\nand a test"),
        ("**QUESTION:** Red?", "question", "Red?"),
        ("CHANGES: greet.txt lacks a line\nand a test", "changes", "greet.txt lacks a line\nand a test"),
        ("- `DONE`: listed", "done", "listed"),
        ("DONE: first\nthen more\nREVIEW: last", "review", "last"),
        ("All is well.\nDONE:", "done", "All is well.\nDONE:"),
        ("✅ DONE: a check mark", "done", "a check mark"),
        ("DONE ✔️: behind it", "done", "behind it"),
        ("DONE：全部", "done", "全部"),
        ("QUESTION : Red?", "question", "Red?"),
        ("Done: it works", "done", "it works"),
        ("## Question: Red?", "question", "Red?"),
        ("1. DONE: numbered", "done", "numbered"),
        ("(2) **REVIEW:** both", "review", "both"),
        ("**1. DONE:** inside", "done", "inside"),
        ("1️⃣ DONE: a keycap", "done", "a keycap"),
        ("**DONE: all of it**", "done", "all of it"),
        ("__REVIEW:__ *two* **files**", "review", "*two* **files**"),
        ("“DONE: quoted”", "done", "quoted"),
        ("> DONE: as a block", "done", "as a block"),
        ("DONE: /etc/hosts is right", "done", "/etc/hosts is right"),
        ("DONE: it works\n\nReview: I read it twice.", "done", "it works\n\nReview: I read it twice."),
    ],
)
def test_the_last_verdict_line_of_a_message_counts_with_what_follows_it(message: str, kind: str, summary: str) -> None:
    result = verdict.parse_message(message)
    assert result
    assert (result.kind, result.summary) == (kind, summary)


@pytest.mark.parametrize(
    "message",
    [
        *("", "I am done: really", "done: x", "UNDONE: x", "It is not DONE: yet", "```\nDONE: in code\n```"),
        *("Done.", "Done with it: yes", "Well done: x", "Reviewed: x", "Questions: none", "DONE without a colon"),
        *("Done:\n- the parser\n\nTo do:\n- the rest", "Changes:\n- a.py", "Changes: a.py, b.py", "not_DONE: x"),
        *("DONE:, REVIEW:, or QUESTION: ends it", "`DONE:` / `REVIEW:` are the words", "DONE/REVIEW: either"),
        *("All DONE: x", "12:30 DONE: x", "@review: please", "DONE_AT: 3", "$DONE: 1", "- [ ] DONE: a box to tick"),
    ],
)
def test_prose_and_code_are_no_verdict(message: str) -> None:
    """Regression: completion was judged by keywords."""
    assert verdict.parse_message(message) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"verdict":"done"}',
        json.dumps({"verdict": "failed", "nonce": NONCE}).encode(),
        json.dumps({"verdict": "done", "nonce": "f" * 32}).encode(),
    ],
)
def test_a_signal_that_is_not_this_runs_own_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signal.json").write_bytes(content)
    assert verdict.read_signal(tmp_path, NONCE, SHAPES) is None


def test_a_signals_claims_and_question_are_kept(tmp_path: Path) -> None:
    question = {"questions": [{"text": "Red?", "choices": [{"label": "yes"}]}]}
    proofs = [{"kind": "diff", "ref": "src/a.py:10"}, {"kind": "check", "ref": ""}, None]
    claims = [{"kind": "test", "text": "all pass", "item": 0, "proof": proof} for proof in proofs]
    signal = {"verdict": "question", "summary": "Red?", "question": question, "claims": claims, "nonce": NONCE}
    (tmp_path / "signal.json").write_text(json.dumps(signal))
    result = verdict.read_signal(tmp_path, NONCE, SHAPES)
    assert result == Verdict(Outcome.QUESTION, "Red?", {"request": "verdict", **question}, tuple(claims))


def test_a_claim_out_of_shape_does_not_cost_the_verdict(tmp_path: Path) -> None:
    """Regression: the server refused the whole report, and finished work was taken for lost and done again."""
    odd = [
        {"text": "x", "item": -1, "proof": {"kind": ["diff"]}},
        {"text": "y", "proof": "check"},
        {"kind": "y" * 300, "text": "nul \0" + "z" * 200_000},
        {"text": " "},
        "?",
        {},
    ]
    signal = {"verdict": "done", "summary": "s\0", "claims": odd + [{"text": "more"}] * 300, "nonce": NONCE}
    (tmp_path / "signal.json").write_text(json.dumps(signal))
    result = verdict.read_signal(tmp_path, NONCE, SHAPES)
    assert result and result.summary == "s"
    report = RunReport.model_validate(verdict.build_report(build_spec(tmp_path), result, build_facts(), 0, None))
    assert (len(report.claims) <= 200, report.claims[0].item, report.claims[2].text[:6]) == (True, None, "nul zz")
    assert {claim.proof for claim in report.claims} == {None}


def test_a_secret_that_is_a_word_of_the_protocol_costs_no_verdict(tmp_path: Path) -> None:
    """Regression: a variable with such a value ended every run without its verdict."""
    redaction = Redaction(["question", "verdict", "summary", "observations"])
    signal = {"verdict": "question", "summary": "Is question a word?", "nonce": NONCE}
    (tmp_path / "signal.json").write_text(json.dumps(signal))
    result = verdict.read_signal(tmp_path, NONCE, redaction)
    assert result and (result.kind, result.summary) == (Outcome.QUESTION, "Is [redacted] a word?")
    report = redaction.clean_fields(verdict.build_report(build_spec(tmp_path), result, build_facts(), 0, None))
    assert RunReport.model_validate_json(json.dumps(report)).verdict is Outcome.QUESTION


SIGNALLED = Verdict(Outcome.DONE, "signalled")
LATE = Cause("timed_out", "too late", "turn")


@pytest.mark.parametrize(
    ("run_facts", "signal", "cause", "code", "expected"),
    [
        (build_facts(build_result("DONE: x")), None, Cause("finished"), 0, "done"),
        (build_facts(build_result("DONE: x")), None, None, 1, "done"),
        (build_facts(build_result("DONE: x")), None, Cause("stopped", "parked", "parked"), 0, "stopped"),
        (build_facts(), SIGNALLED, LATE, -15, "done"),
        (build_facts(), SIGNALLED, Cause("stopped", "parked", "parked"), 0, "stopped"),
        (build_facts(), None, LATE, -15, "timed_out"),
        (build_facts(), None, None, 0, "protocol_violation"),
        (build_facts(), None, None, 2, "failed"),
        (build_facts(build_result("DONE: x"), ("text", {"text": "More work."})), None, None, 0, "protocol_violation"),
        (
            build_facts(("result", {"ok": False, "text": "x", "failure": "network"})),
            None,
            Cause("finished"),
            1,
            "failed",
        ),
        (build_facts(("result", {"ok": False, "stop_reason": "interrupted"})), None, None, 0, "protocol_violation"),
        (build_facts(("error", {"failure": "usage_limit", "message": "x"})), None, None, 1, "usage_limited"),
        (
            build_facts(("error", {"failure": "network", "message": "x"}), build_result("DONE: y")),
            None,
            None,
            0,
            "done",
        ),
    ],
)
def test_the_verdict_of_a_run(
    run_facts: RunFacts, signal: Verdict | None, cause: Cause | None, code: int, expected: str
) -> None:
    assert verdict.conclude(run_facts, signal, cause, code).kind == expected


def test_a_question_that_waited_too_long_becomes_the_verdict() -> None:
    question = {"request": "q-1", "questions": [{"text": "Red?", "choices": []}]}
    result = verdict.conclude(build_facts(("question", question)), None, Cause("stopped", "No answer.", "timeout"), 0)
    assert (result.kind, result.summary, result.question) == ("question", "Red?", question)


def test_a_plan_that_waited_too_long_waits_on_the_ticket() -> None:
    facts = build_facts(("plan", {"request": "r-1", "text": "# Plan"}))
    result = verdict.conclude(facts, None, Cause("stopped", "No answer.", "timeout"), 0)
    assert (result.kind, result.summary) == ("question", "The plan waits for a person.")


def test_a_run_without_a_verdict_leaves_its_terminal_state_and_last_words(tmp_path: Path) -> None:
    spec = build_spec(tmp_path)
    own = Verdict(Outcome.FAILED, "No login.", failure=FailureReport(Failure.AUTHENTICATION, "No login."))
    run_facts = build_facts(("text", {"text": "│ Thinking… │"}), ("tool_result", {"output": "last output"}))
    report = verdict.build_report(spec, own, run_facts, 1, None)
    record = report["terminal"]
    assert set(record) == {"status", "summary", "root_cause", "stop_condition", "artifacts"}
    assert record["root_cause"] == "The agent's program is not logged in or was refused. No login."
    assert record["artifacts"][:2] == ["ticket:MC-3", "pane_log:runs/12/mc-MC-3.tmux.log"]
    assert report["transcript_tail"] == "Thinking…\nlast output"


def test_a_sweep_keeps_words_and_drops_decoration_redraws_and_footers() -> None:
    screen = "\x1b[2J╭────╮\n│ The fix │\n╰────╯\n⠋ Working\n⠙ Working\n⠹ Working\n✻ esc to interrupt\nis in place.\n"
    swept = failure_record.extract_tail(screen)
    assert swept
    assert [line.strip() for line in swept.splitlines() if line.strip()] == ["The fix", "Working", "is in place."]
    assert failure_record.extract_tail("╭──╮\n\x1b[0m\n") is None


def test_a_signal_is_judged_without_the_clock(tmp_path: Path) -> None:
    """Regression: a clock set back made a verdict older than the message before it, and one set ahead ended the agent."""
    watch, file = SignalWatch(tmp_path), tmp_path / verdict.SIGNAL_FILE
    assert (watch.is_fresh, watch.measure_age(100.0)) == (False, 0.0)
    watch.mark_message()
    files.replace(file, b"{}")
    os.utime(file, (0, 0))
    assert (watch.is_fresh, watch.measure_age(200.0), watch.measure_age(207.0)) == (True, 0.0, 7.0)

    watch.mark_message()
    assert not watch.is_fresh, "it is from before the message"
    files.replace(file, b"{}")
    assert (watch.is_fresh, watch.measure_age(300.0)) == (True, 0.0)
