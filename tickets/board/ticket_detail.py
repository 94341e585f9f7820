"""Views of a ticket's page: plain values built from rows, so that the templates need no database and no rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from models import (
    TERMINAL,
    ActorKind,
    Attachment,
    CommentKind,
    Evidence,
    EvidenceSource,
    MessageKind,
    Project,
    QueuedMessage,
    RequestState,
    Run,
    RunRequest,
    Ticket,
    TicketComment,
    TicketMessage,
    TicketStatus,
)
from protocol import ApprovalPayload, Question, TextPayload, ToolCallPayload, ToolResultPayload
from tickets.conversation import attachments, image_size, messages, timeline
from tickets.conversation.timeline import Entry
from tickets.runs import refusals
from tickets.shared import display_names, payloads
from tickets.shared.ticket_fields import FIELDS, Choices, Control, Section, TicketField
from tickets.workflow import evidence, history, quarantine, relationships

View = dict[str, Any]
AUTHOR_KINDS = {
    ActorKind.HUMAN: "person",
    ActorKind.RUN: "agent",
    ActorKind.ORCHESTRATOR: "agent",
    ActorKind.TRIAGE: "agent",
    ActorKind.REVIEWER: "agent",
    ActorKind.SERVICE: "agent",
}
HIDDEN_SOURCES = ("prompt", "message", "echo")
THUMBNAIL_BYTES = 4 << 20
"""Maximum size of a thumbnail. A larger image is loaded on request."""


# ------------------------------------------------------------------------------------------------------- conversation


def build_conversation(session: Session, ticket: Ticket, entries: list[Entry]) -> list[View]:
    """Build the views of these entries in the same order, with Markdown source in `markdown`."""
    runs = {entry.run_id for entry in entries if isinstance(entry, TicketComment) and entry.kind is CommentKind.VERDICT}
    verdicts = _load_verdicts(session, ticket.id, {run for run in runs if run})
    run_requests = _load_requests(session, ticket.id)
    question_ids = sorted(entry.id for entry in entries if _is_question(entry))
    answers = _load_answers(session, ticket.id, question_ids)
    last_question = max(question_ids, default=None)
    reports = {(entry.run_id, entry.body.strip()) for entry in entries if _is_report(entry)}
    views = []
    for entry in entries:
        if isinstance(entry, TicketComment):
            views.append(_build_comment(ticket, entry, verdicts, answers.get(entry.id), entry.id == last_question))
        elif isinstance(entry, QueuedMessage):
            views.append(_build_queued(entry))
        elif not _is_noise(entry) and (entry.run_id, _strip_signal(entry)) not in reports:
            views.append(_build_message(entry, run_requests))
    return views


def _is_question(entry: Entry) -> bool:
    return isinstance(entry, TicketComment) and entry.kind is CommentKind.QUESTION


REPORT_KINDS = (CommentKind.QUESTION, CommentKind.VERDICT)
SIGNAL = re.compile(r"(?:DONE|REVIEW|CHANGES|QUESTION):\s*")


def _is_report(entry: Entry) -> TypeGuard[TicketComment]:
    return isinstance(entry, TicketComment) and entry.kind in REPORT_KINDS


def _strip_signal(entry: TicketMessage) -> str | None:
    """Return an agent's text without the word of a signal, as the comment of the run's report has it. None for other messages."""
    return SIGNAL.sub("", entry.text.strip(), count=1) if entry.kind is MessageKind.TEXT else None


def _is_noise(entry: TicketMessage) -> bool:
    """Return whether an input is displayed elsewhere: the composed prompt, or the echo of a message with its own row."""
    return entry.kind is MessageKind.INPUT and (entry.data or {}).get("source") in HIDDEN_SOURCES


ATTENTION_KINDS = {TicketStatus.NEEDS_INPUT: CommentKind.QUESTION, TicketStatus.IN_REVIEW: CommentKind.VERDICT}
"""Kind of the comment that a person acts on, by state."""


def list_attention(session: Session, ticket: Ticket) -> list[Entry]:
    """List the entries that a person is to act on.

    They are requests of the live run, the open question or the verdict, and messages of an open ticket that were not
    delivered.
    """
    kind = ATTENTION_KINDS.get(ticket.status)
    reports = timeline.list_newest_reports(session, ticket.id) if kind else []
    undelivered = messages.list_undelivered(session, ticket.id) if ticket.status not in TERMINAL else []
    asking = timeline.list_pending_requests(session, ticket.id)
    return [*asking, *(row for row in reports if row.kind is kind), *undelivered]


def get_view_id(entry: Entry) -> str:
    """Return the id of an entry's view."""
    prefix = {TicketComment: "c", TicketMessage: "m", QueuedMessage: "q"}[type(entry)]
    return f"{prefix}{entry.id}"


ANSWERS = (
    select(TicketComment)
    .where(TicketComment.ticket_id == bindparam("ticket"), TicketComment.kind == CommentKind.ANSWER)
    .order_by(TicketComment.id)
)


def _load_answers(session: Session, ticket_id: int, question_ids: Sequence[int]) -> dict[int, TicketComment]:
    """Load the answer to each of these questions, in ascending order: the first one before the next question."""
    if not question_ids:
        return {}
    answers: dict[int, TicketComment] = {}
    for answer in session.scalars(ANSWERS, {"ticket": ticket_id}):
        earlier = [question_id for question_id in question_ids if question_id < answer.id]
        if earlier:
            answers.setdefault(earlier[-1], answer)
    return answers


def _build_comment(
    ticket: Ticket,
    row: TicketComment,
    verdicts: dict[int, View],
    answer: TicketComment | None,
    last_question: bool,
) -> View:
    view: View = {
        "kind": "comment",
        "id": get_view_id(row),
        "author": row.author,
        "author_kind": AUTHOR_KINDS.get(row.author_kind, "system"),
        "at": row.created,
        "markdown": row.body,
        "run": row.run_id,
    }
    if row.kind is CommentKind.SYSTEM and "\n" not in row.body:
        data = row.data or {}
        notice = {"level": data.get("level", "info"), "text": row.body, "href": _filter_https(data.get("address"))}
        return view | {"kind": "notice", "markdown": None, **notice}
    if row.kind is CommentKind.QUESTION:
        is_open = last_question and ticket.status is TicketStatus.NEEDS_INPUT
        return view | {"kind": "question", "question": _build_question(row, is_open, answer)}
    if row.kind is CommentKind.FEEDBACK:
        return view | {"act": "requested changes"}
    if row.kind is CommentKind.VERDICT:
        return view | {"kind": "verdict", "verdict": verdicts.get(row.run_id or 0)}
    return view


def _build_question(row: TicketComment, is_open: bool, answer: TicketComment | None) -> View:
    questions = payloads.read_questions(row.data or {})
    return {
        "request": "",
        "questions": questions,
        "open": is_open,
        "answer": answer.body if answer else None,
        "answers": _split_answer(questions, answer.body if answer else ""),
        "answered_by": answer.author if answer else None,
    }


_NUMBERED = re.compile(r"(\d+)\. ")


def _split_answer(questions: Sequence[Question], answer: Mapping[str, str] | str) -> list[str]:
    """Split an answer into one text for each question: paragraphs in their order, or with the question's number."""
    if isinstance(answer, Mapping):
        return [str(answer.get(question.text, "")) for question in questions]
    if len(questions) == 1:
        return [answer]
    paragraphs = [*answer.split("\n\n"), *[""] * len(questions)]
    numbers = {int(match[1]) - 1: text[match.end() :] for text in paragraphs if (match := _NUMBERED.match(text))}
    return [numbers.get(at, "") if numbers else paragraphs[at] for at in range(len(questions))]


def _build_queued(row: QueuedMessage) -> View:
    return {
        "kind": "input",
        "id": get_view_id(row),
        "author": row.author,
        "author_kind": "person",
        "at": row.created,
        "text": row.body,
        "state": row.state.value,
        "error": row.failure,
    }


def _build_message(row: TicketMessage, run_requests: dict[tuple[int, str], RunRequest]) -> View:
    view: View = {
        "kind": row.kind.value,
        "id": get_view_id(row),
        "author": row.author,
        "author_kind": "agent",
        "at": row.created,
        "run": row.run_id,
        "parent": row.parent,
    }
    data = row.data or {}
    if row.kind is MessageKind.TOOL_CALL:
        return view | {"kind": "tool", "tool": _build_tool(row, data)}
    if row.kind is MessageKind.TEXT:
        return view | {"markdown": row.text}
    if row.kind in (MessageKind.QUESTION, MessageKind.APPROVAL):
        return view | _build_request(row, data, run_requests.get((row.run_id or 0, row.block or "")))
    if row.kind is MessageKind.ERROR:
        return view | {"kind": "notice", "level": "warning", "text": row.text}
    text_payload = payloads.read(TextPayload, data)
    return view | {"text": row.text, "level": text_payload.level, "seconds": text_payload.seconds}


def _build_tool(row: TicketMessage, data: View) -> View:
    call, result = payloads.read(ToolCallPayload, data), payloads.read(ToolResultPayload, data)
    return {
        "name": call.name or "tool",
        "title": row.text,
        "input": _format_input(call.input),
        "output": result.output if data.get("ended") else None,
        "exit_code": result.exit_code,
        "seconds": result.seconds,
        "error": result.error,
    }


def _format_input(tool_input: Any) -> str:
    """Format a tool's input for people: its command if there is one, else its JSON."""
    if isinstance(tool_input, dict) and isinstance(tool_input.get("command"), str):
        return str(tool_input["command"])
    return json.dumps(tool_input, ensure_ascii=False, indent=2) if tool_input else ""


def _build_request(row: TicketMessage, data: View, request: RunRequest | None) -> View:
    is_open = request is not None and request.state is RequestState.PENDING
    answer = (request.answer or {}) if request else {}
    by = request.answered_by if request else None
    if row.kind is MessageKind.QUESTION:
        questions, text = payloads.read_questions(data), answer.get("message") or answer.get("answers")
        fields = {
            "request": row.block,
            "questions": questions,
            "open": is_open,
            "answers": _split_answer(questions, text or ""),
        }
        return {"question": fields | {"answer": text, "answered_by": by}}
    approval = payloads.read(ApprovalPayload, data)
    fields = {"request": row.block, "tool": approval.tool, "title": row.text, "input": _format_input(approval.input)}
    answer_fields = {"behavior": answer.get("behavior"), "scope": answer.get("scope"), "answered_by": by}
    return {"approval": fields | {"reason": approval.reason, "open": is_open} | answer_fields}


REQUESTS = (
    select(RunRequest).where(RunRequest.ticket_id == bindparam("ticket")).order_by(RunRequest.id.desc()).limit(200)
)


def _load_requests(session: Session, ticket_id: int) -> dict[tuple[int, str], RunRequest]:
    return {(row.run_id, row.request): row for row in session.scalars(REQUESTS, {"ticket": ticket_id})}


# ----------------------------------------------------------------------------------------------------------- evidence


def _load_verdicts(session: Session, ticket_id: int, runs: set[int]) -> dict[int, View]:
    """Load the outcome and evidence of each of these runs."""
    if not runs:
        return {}
    grouped: dict[int, list[Evidence]] = {}
    denied_commands = _load_denied_commands(session, ticket_id)
    rows = evidence.list_evidence(session, ticket_id)
    evidence_files = load_evidence_files(session, ticket_id, rows)
    for row in rows:
        grouped.setdefault(row.run_id or 0, []).append(row)
    return {
        run.id: {
            "outcome": run.outcome or "ended",
            "generation": run.generation,
            "evidence": build_proof(grouped.get(run.id, []), evidence_files),
            "refusals": _build_refusals(run, denied_commands),
        }
        for run in session.scalars(select(Run).where(Run.id.in_(runs)))
    }


def _load_denied_commands(session: Session, ticket_id: int) -> list[str]:
    query = select(Project.denied_commands).join(Ticket, Ticket.project_id == Project.id).where(Ticket.id == ticket_id)
    return session.scalar(query) or []


def _build_refusals(run: Run, denied_commands: list[str]) -> View | None:
    """Build the view of the commands that were refused, or None without any."""
    if not run.refusals:
        return None
    allowable = refusals.list_allowable(run.refusals, denied_commands)
    return run.refusals | {"run": run.id, "allowable": allowable}


def load_evidence_files(session: Session, ticket_id: int, rows: list[Evidence]) -> dict[int, View]:
    """Load the files that these rows may refer to, by id."""
    if all(row.kind != "attachment" for row in rows):
        return {}
    return {row.id: _build_file(row) for row in attachments.list_attachments(session, ticket_id)}


def find_file(row: Evidence, evidence_files: dict[int, View]) -> View | None:
    """Find the file to which this evidence refers."""
    return evidence_files.get((row.data or {}).get("attachment", 0))


def list_files(session: Session, ticket: Ticket) -> list[View]:
    """List the files of a ticket, marking those that are evidence."""
    rows = attachments.list_attachments(session, ticket.id)
    entered = attachments.find_evidence_ids(session, ticket.id) if rows else set()
    return [_build_file(row) | {"evidence": row.id in entered} for row in rows]


def _build_file(row: Attachment) -> View:
    """Build the view of a file, in which `shows` is picture or text if a browser can display it."""
    shows = "picture" if row.media_type in image_size.RASTER else "text" if row.media_type == attachments.TEXT else None
    return {
        "id": row.id,
        "name": row.name,
        "size": display_names.format_size(row.size),
        "author": row.author,
        "at": row.created,
        "shows": shows,
        "thumbnail": shows == "picture" and row.size <= THUMBNAIL_BYTES,
    }


def build_proof(rows: list[Evidence], evidence_files: dict[int, View]) -> View:
    """Build the view of these rows, divided into claims and facts. `evidence_files` are the files that they refer to."""
    claims = [
        {
            "text": row.summary,
            "kind": row.kind,
            "by": row.author,
            "at": row.created,
            "item": row.item,
            "file": find_file(row, evidence_files),
        }
        for row in rows
        if row.source is EvidenceSource.CLAIM
    ]
    facts = [
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status.value,
            "summary": row.summary,
            "detail": _format_detail(row),
            "base": _build_base_check(row),
            "href": _filter_https((row.data or {}).get("address")),
        }
        for row in rows
        if row.source is EvidenceSource.FACT
    ]
    return {"claims": claims, "facts": facts}


def _build_base_check(row: Evidence) -> View | None:
    """Build the result of a failed check on the base commit, as a failure there is not caused by this work."""
    check = (row.data or {}).get("check_base")
    if row.kind != "check" or not check:
        return None
    return {"failed": check.get("exit_code") != 0, "detail": _format_check(check)}


def _format_check(check: View) -> str:
    command = " ".join(check.get("argv", []))
    ending = f"exit {check.get('exit_code')} in {check.get('seconds')} s, sha256 {check.get('sha256')}"
    return f"$ {command}\n{ending}\n\n{check.get('tail', '')}"


def _format_detail(row: Evidence) -> str:
    data = row.data or {}
    if row.kind == "check":
        return _format_check(data.get("check") or {})
    if row.kind == "landing":
        facts = [f"{name}: {data[name]}" for name in ("policy", "commit", "branch", "base", "remote") if data.get(name)]
        return "\n".join(facts + ([f"\n{_format_check(data['check'])}"] if data.get("check") else []))
    if row.kind == "commit":
        return "\n".join(f"{commit['sha'][:12]} {commit['subject']}" for commit in data.get("commits", []))
    if row.kind == "uncommitted":
        return "\n".join(data.get("paths", []))
    return ""


def _filter_https(address: Any) -> str | None:
    """Return an address if it may be a link, as output of programs is not trusted."""
    return address if isinstance(address, str) and address.startswith("https://") else None


# -------------------------------------------------------------------------------------------------- runs and sidebar


def build_run(run: Run) -> View:
    tokens = run.input_tokens + run.output_tokens + run.cache_read_tokens + run.cache_write_tokens
    return {
        "id": run.id,
        "generation": run.generation,
        "agent": run.agent,
        "phase": run.phase,
        "profile": run.profile,
        "state": run.state.value,
        "outcome": run.outcome.value if run.outcome else None,
        "failure": run.failure_detail or (run.failure and run.failure.value),
        "started": run.started,
        "ended": run.ended,
        "tokens": tokens or None,
        "cost": run.cost_usd,
        "seconds": (run.ended - run.started).total_seconds() if run.ended else None,
    }


def build_side(
    session: Session, ticket: Ticket, ticket_json: Mapping[str, Any], run: Run | None, owner_kinds: dict[str, str]
) -> View:
    """Sections of the side panel. `facts` holds the fields that each lists, `shown` is the ticket as `ticket_json` has it."""
    return {
        "facts": {section.value: _facts(ticket, ticket_json, section, owner_kinds) for section in Section},
        "met": sum(bool(item.get("met")) for item in ticket.acceptance),
        "relationships": relationships.list_relations(session, ticket.id),
        "advanced": _list_advanced(session, ticket, run),
    }


def _facts(ticket: Ticket, ticket_json: Mapping[str, Any], section: Section, owner_kinds: dict[str, str]) -> list[View]:
    """Fields of a section. `drawn_as` is person, moment or text, `kind` that of a person."""
    facts = []
    for field in FIELDS:
        if field.section is section:
            value = ticket_json.get(field.name, getattr(ticket, field.column_name))
            kind = owner_kinds.get(str(value or ""), "person")
            text = field.labels.get(str(value), value)
            facts.append(
                {"name": field.name, "label": field.label, "value": text, "drawn_as": _drawn_as(field), "kind": kind}
            )
    return facts


def _drawn_as(field: TicketField) -> str:
    if field.choices is Choices.MEMBERS:
        return "person"
    return "moment" if field.control is Control.MOMENT else "text"


def _list_advanced(session: Session, ticket: Ticket, run: Run | None) -> list[tuple[str, str]]:
    quarantined = quarantine.list_quarantined(session, ticket.id)
    facts: list[tuple[str, Any]] = [
        ("Version", ticket.version),
        ("Attempts", ticket.attempts),
        ("Infrastructure faults", ticket.faults),
        ("Conversation", ticket.conversation_id),
        ("Quarantine", f"{len(quarantined)} kept" if quarantined else None),
    ]
    if run is not None:
        facts += [
            ("Run", f"{run.id}, generation {run.generation}"),
            ("Raw console", history.format_console_line(session, run)),
            ("Pane", run.tmux_target),
            ("Workspace", run.workspace),
            ("Branch", run.branch),
            ("Base", (run.base_sha or "")[:12]),
        ]
    return [(label, str(value)) for label, value in facts if value]
