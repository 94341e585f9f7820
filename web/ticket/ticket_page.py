"""The page of one ticket: conversation, evidence, runs, events, and the moves that are possible now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response

import auth
from database import Session, end_read, reading, writing
from models import Run, Ticket, TicketStatus
from tickets.board import attempts_view, columns, ticket_detail, ticket_header
from tickets.conversation import message_routing, requests, timeline
from tickets.conversation.timeline import Entry
from tickets.dispatch import policy
from tickets.lifecycle import editing, moves, schemas, transitions, undo
from tickets.lifecycle.transitions import ActorContext
from tickets.planning import attempts
from tickets.runs import claims
from tickets.runs.notify_run import notify_run, stopping_run
from tickets.shared import display_names, paging, rights
from tickets.shared.errors import DomainError, EvidenceMissing, Invalid, NotFound
from tickets.shared.lookup import get_ticket
from tickets.shared.rights import Act
from tickets.team import permission_view
from tickets.team.evidence_policy import Stage
from tickets.team.permission_view import PermissionView
from tickets.workflow import branch_states, evidence, landing, wake_conditions
from tickets.workflow.attempts import AttemptGroup, find_group
from tickets.workflow.evidence import Shortfall
from web.runs import changes, run_page
from web.site import forms, layout, markdown

from . import (
    approval,
    plan_page,
    replay,
    review_page,
    ticket_edit,
    ticket_files,
    ticket_forms,
    ticket_links,
    workflow_page,
)

blueprint = Blueprint("ticket_page", __name__)

View = dict[str, Any]
TABS = (
    ("conversation", "Conversation"),
    ("changes", "Changes"),
    ("console", "Console"),
    ("evidence", "Evidence"),
    ("runs", "Runs"),
    ("context", "Context"),
    ("events", "Events"),
)
PAGE_SIZE = 60


@dataclass(frozen=True, slots=True)
class TicketView:
    """A ticket with its newest run, and the caller's relation to it."""

    ticket: Ticket
    standing: ActorContext
    newest: Run | None
    group: AttemptGroup | None


def _load_view(session: Session, reference: str) -> TicketView:
    ticket = get_ticket(session, reference)
    actor_context = transitions.load_actor_contexts(session, [ticket], auth.get_actor())[ticket.id]
    newest, group = claims.find_latest(session, ticket.id), find_group(session, ticket.id)
    return TicketView(ticket, actor_context, newest, group)


@blueprint.get("/ticket/<reference>")
def show(reference: str) -> str:
    tab = request.args.get("tab", "conversation")
    if tab not in dict(TABS):
        raise NotFound("Unknown tab.", tab=tab[:40])
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        view = _load_view(session, reference)
        context = _build_shared_context(session, view)
        side = _load_side(session, view, context["ticket"])  # first, since loading a tab may end the read transaction
        context |= {"tab": tab} | _load_tab(session, view, tab) | side
    crumbs: list[tuple[str, str | None]] = [("Board", "/board"), (view.ticket.identifier, None)]
    return layout.render_page("ticket/ticket_page.html", "board", crumbs, **context)


@blueprint.get("/ticket/<reference>/part/<name>")
def show_part(reference: str, name: str) -> str:
    """Render a part of the page as a fragment: header, description, plan, side panel, new entries, or a tab."""
    with reading(auth.get_instance().engine) as session:
        view = _load_view(session, reference)
        context = _build_shared_context(session, view)
        if name == "conversation":
            return layout.render_part("ticket/_entries", **context, **_load_news(session, view.ticket))
        if name == "attention":
            return layout.render_part("ticket/_attention", **context, **_load_conversation(session, view.ticket, []))
        if name == "attempts":
            return layout.render_part("ticket/_attempts", **context, **_load_attempts(session, view))
        if name in ("header", "description", "bar"):
            return layout.render_part(
                f"ticket/_{name}", **context, edits=ticket_edit.build_edit_forms(session, context["ticket"])
            )
        if name == "side":
            return layout.render_part("ticket/_side", **context, **_load_side(session, view, context["ticket"]))
        if name == "plan":
            return layout.render_part(
                "ticket/_plan", **context, **plan_page.load_plan(session, view.ticket, view.newest)
            )
        if name in dict(TABS):
            return layout.render_part(f"ticket/_{name}", **context, **_load_tab(session, view, name))
    raise NotFound("Unknown part of the page.", part=name[:40])


# --------------------------------------------------------------------------------------- loading the parts of the page


def _build_shared_context(session: Session, view: TicketView) -> View:
    ticket, actor_context = view.ticket, view.standing
    head = ticket_header.build_header(session, ticket, actor_context.live, view.newest)
    ways = landing.find_landing_options(session, [ticket]).get(ticket.id, ())
    buttons = columns.build_buttons(transitions.build_move_context(ticket, actor_context), ways)
    shortfalls = _list_shortfalls(session, ticket)
    tabs = [{"key": key, "label": label, "href": _build_href(ticket, key)} for key, label in TABS]
    return {
        "ticket": _build_ticket(session, ticket),
        "header": head,
        "moves": columns.mark_unmet(buttons, shortfalls),
        "missing": [shortfall.detail for shortfall in shortfalls],
        "merge": branch_states.load_notes(session, [ticket]).get(ticket.id),
        "tabs": tabs,
        "may_edit": ticket_forms.may_edit(),
        "may_try": attempts.may_start(ticket, actor_context.live, view.group, auth.get_actor()),
        "may_allow": rights.may(auth.get_actor(), Act.ADMINISTER),
        "composer": {
            "can_message": actor_context.live is not None,
            "busy": head.runtime in ("starting", "running", "waiting"),
        },
    }


def _list_shortfalls(session: Session, ticket: Ticket) -> list[Shortfall]:
    """List what an approval lacks. Only a ticket in review can be approved."""
    return evidence.find_shortfalls(session, ticket, Stage.APPROVE) if ticket.status is TicketStatus.IN_REVIEW else []


def _build_href(ticket: Ticket, tab: str) -> str:
    return f"/ticket/{ticket.identifier}" + ("" if tab == "conversation" else f"?tab={tab}")


def _build_ticket(session: Session, ticket: Ticket) -> View:
    payload = schemas.build_ticket_json(session, [ticket])[0]
    return payload | {
        "acceptance": [item | {"key": editing.fingerprint_value(item["text"])} for item in payload["acceptance"]],
        "description_html": markdown.render_html(ticket.description),
        "resumes_at": ticket.wake_at if wake_conditions.is_usage_reset(ticket.wake) else None,
        "wake_text": wake_conditions.describe_wake(ticket.wake) if ticket.wake else None,
        "landing_text": landing.describe_landing(ticket),
        "landed_text": landing.describe_landed(session, ticket),
        "created": ticket.created,
    }


def _load_tab(session: Session, view: TicketView, tab: str) -> View:
    ticket = view.ticket
    if tab == "evidence":
        return run_page.load_evidence_tab(session, ticket)
    if tab == "changes":
        return _load_changes_tab(session, view)
    if tab == "console":
        return {"console": _build_console(view.newest)}
    if tab == "runs":
        return run_page.load_runs_tab(session, ticket)
    if tab == "context":
        return ticket_links.load_context_tab(session, ticket)
    if tab == "events":
        return replay.load_events_tab(session, ticket)
    before = paging.parse_number(request.args.get("before"))
    rows = timeline.list_entries(session, ticket.id, before, PAGE_SIZE)
    earlier = f"/ticket/{ticket.identifier}?before={rows[0].seq}" if len(rows) == PAGE_SIZE else None
    return {
        **_load_conversation(session, ticket, rows),
        **_load_attempts(session, view),
        "cursor_seq": ticket.event_seq,
        "earlier_href": earlier,
        **plan_page.load_plan(session, ticket, view.newest),
    }


def _load_attempts(session: Session, view: TicketView) -> View:
    group = view.group
    loaded = attempts_view.load_comparison(session, view.ticket, group, auth.get_actor()) if group else None
    return {"comparison": loaded}


def _load_conversation(session: Session, ticket: Ticket, rows: Sequence[Entry], updates: Sequence[Entry] = ()) -> View:
    """Build the `entries` of the conversation and, above it, those that a person acts on (`attention`).

    `updates` are entries that the page may have, and is to show as they are now.
    """
    pinned = ticket_detail.list_attention(session, ticket)
    others = [row for row in pinned if row not in rows and row not in updates]
    views = markdown.render_entries(ticket_detail.build_conversation(session, ticket, [*others, *updates, *rows]))
    pinned_ids, other_ids, update_ids = (
        {ticket_detail.get_view_id(row) for row in some} for some in (pinned, others, updates)
    )
    return {
        "attention": [view for view in views if view["id"] in pinned_ids],
        "entries": [
            view | {"pinned": view["id"] in pinned_ids, "is_update": view["id"] in update_ids}
            for view in views
            if view["id"] not in other_ids
        ],
    }


def _load_changes_tab(session: Session, view: TicketView) -> View:
    """Load the commits of the requested or newest run and, for the newest, the moves that a reviewer may make."""
    ticket, actor_context, newest = view.ticket, view.standing, view.newest
    run = run_page.find_requested_run(session, ticket)
    if run and newest and run.id != newest.id:
        end_read(session)
        return {
            "changes": changes.load_changes(run),
            "older": run.id,
            "split": _is_split_view(),
            "may": set(),
            "live": False,
        }
    facts: View = {
        "split": _is_split_view(),
        "may": {
            definition.name
            for definition in transitions.list_moves(transitions.build_move_context(ticket, actor_context))
        },
        "live": actor_context.live is not None,
    }
    history = review_page.load_history(session, ticket)
    facts["code_reviews"] = history.reviews
    end_read(session)  # reading with git may be slow: hold no transaction meanwhile
    return facts | (review_page.build_changes(newest, history) if newest else {"changes": None})


def load_bar(session: Session, reference: str) -> View:
    """Load the ticket and the moves of the line that stays in view."""
    return _build_shared_context(session, _load_view(session, reference))


def load_review(session: Session, reference: str) -> View:
    """Load what is needed to decide a ticket: question, verdict, acceptance and changes. It may end the transaction."""
    view = _load_view(session, reference)
    ticket = view.ticket
    context = _build_shared_context(session, view) | _load_conversation(session, ticket, [])
    context |= run_page.load_evidence_tab(session, ticket) | {"edits": {}}
    return context | (_load_changes_tab(session, view) if ticket.status is TicketStatus.IN_REVIEW else {})


@blueprint.get("/ticket/<reference>/changes/lines")
def show_context_lines(reference: str) -> str:
    """Render unchanged lines of a changed file, as rows of its diff."""
    section = changes.ContextLines.model_validate(request.args.to_dict())
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        run = run_page.find_requested_run(session, ticket) or claims.find_latest(session, ticket.id)
        end_read(session)
    if run is None:
        raise NotFound("The ticket has no run.")
    return layout.render_part("ticket/_context_lines", lines=changes.load_context(run, section), split=_is_split_view())


def _is_split_view() -> bool:
    return request.args.get("view") == "split"


def _build_console(newest: Run | None) -> View | None:
    """Build the URL of the newest run's console, which changes when the run ends, so that the iframe is reloaded."""
    if newest is None:
        return None
    return {"run": newest.generation, "href": f"/runs/{newest.id}/console{'?ended=1' if newest.ended else ''}"}


def _load_news(session: Session, ticket: Ticket) -> View:
    """Load the new and changed entries, with the newest question and verdict, which change with the ticket's state."""
    after = paging.parse_number(request.args.get("after")) or 0
    rows = timeline.list_changes(session, ticket.id, after)
    full = len(rows) >= timeline.PAGE_SIZE
    newest = max((getattr(entry, "changed", entry.seq) for entry in rows), default=after)
    reports = [row for row in timeline.list_newest_reports(session, ticket.id) if row.seq <= after]
    return {
        **_load_conversation(session, ticket, rows, reports),
        "cursor_seq": newest if full else ticket.event_seq,
    }


def _load_side(session: Session, view: TicketView, ticket_view: View) -> View:
    ticket, limits = view.ticket, policy.DispatchLimits.from_settings(auth.get_instance().settings)
    return {
        "workflow": workflow_page.load_box(session, ticket, view.standing),
        "operates": auth.get_caller().right is auth.Right.OPERATOR,
        "side": ticket_detail.build_side(session, ticket, ticket_view, view.newest, columns.load_owner_kinds(session)),
        "permissions": _load_permissions(session, view),
        "gates": None if ticket.closed else policy.check_ticket(session, ticket, view.standing.live, limits),
        "edits": ticket_edit.build_edit_forms(session, ticket_view),
        "relations": ticket_links.RELATIONS,
        **ticket_files.load_files(session, ticket),
    }


def _load_permissions(session: Session, view: TicketView) -> PermissionView | None:
    """Load the permissions of the live run, or else those under which the owner would work."""
    ticket, live = view.ticket, view.standing.live
    if live:
        return permission_view.describe_permissions(session, live.profile, ticket.project_id, live.host)
    host = auth.get_instance().settings.machine_name
    return permission_view.describe_member_permissions(session, ticket.assigned_to, ticket.project_id, host)


# ------------------------------------------------------------------------------------------------- actions of a person


@blueprint.get("/ticket/<reference>/move/<name>")
def ask_move(reference: str, name: str) -> str:
    """Show the form of a move that needs input, for a script as a fragment for the page's dialog."""
    return _render_move_form(reference, name, None)


def _render_move_form(reference: str, name: str, error: str | None) -> str:
    definition = moves.MOVES.get(name)
    if definition is None or not definition.label:
        raise NotFound("Unknown move.", move=name[:40])
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        ticket_view = {"identifier": ticket.identifier, "title": ticket.title, "version": ticket.version}
        ways, zone = (
            landing.find_landing_options(session, [ticket]).get(ticket.id, ()),
            auth.get_instance().settings.timezone,
        )
        fields = forms.build_move_fields(definition, session, request.form, zone, ways)
        fields = workflow_page.add_phase_choices(session, ticket, definition, fields)
        shortfalls = _list_shortfalls(session, ticket)
        question = _find_question(session, ticket) if definition.name == "answer" else None
    move: View = {"move": definition.name, "label": definition.label, "danger": definition.danger}
    if definition.name == "approve":
        move |= approval.build_view(ways, shortfalls)
        fields = approval.select_fields(fields, shortfalls)
    forms.fill_fields(fields, request.form.to_dict() | _read_move()[1])
    move |= {"fields": fields, "question": question}
    if request.headers.get("HX-Request") or layout.is_script_request():
        return layout.render_part("ticket/_move_form", ticket=ticket_view, move=move, error=error)
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        (definition.label, None),
    ]
    return layout.render_page("ticket/move.html", "board", crumbs, ticket=ticket_view, move=move, error=error)


def _find_question(session: Session, ticket: Ticket) -> Markup | None:
    """Return the open question of a ticket as HTML, or None without one."""
    return next(
        (view["html"] for view in _load_conversation(session, ticket, [])["attention"] if view["kind"] == "question"),
        None,
    )


@blueprint.post("/ticket/<reference>/move")
def make_move(reference: str) -> Response | tuple[str, int]:
    instance = auth.get_instance()
    name, way = _read_move()
    definition = moves.MOVES.get(name)
    if definition is None:
        raise Invalid(f"There is no move named {name[:40]!r}.", field="move")
    try:
        facts = forms.parse_move_input(definition, request.form, instance.settings.timezone) | way
        with writing(instance.engine) as session:
            ticket = get_ticket(session, reference)
            transitions.transition(
                session, ticket.id, name, auth.get_actor(), version=request.values.get("version", None, int), **facts
            )
            stopping = stopping_run(session, ticket.id)
            offer = undo.find_undo_offer(session, ticket, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request() and not isinstance(refusal, EvidenceMissing):
            raise  # a page shows the form of an approval that lacks something
        problem = None if isinstance(refusal, EvidenceMissing) else refusal.message
        return _render_move_form(reference, name, problem), refusal.status
    notify_run(instance.settings, stopping)
    if offer:
        message = f"{ticket.identifier} moved to {display_names.format_status_label(ticket.status)}."
        layout.flash_note(message, undo={"ticket": ticket.identifier, "label": "Undo"})
    return redirect(f"/ticket/{ticket.identifier}", 303)


@blueprint.post("/ticket/<reference>/undo")
def take_back(reference: str) -> Response:
    """Undo the last move, which is possible for ten seconds."""
    try:
        with writing(auth.get_instance().engine) as session:
            undo.undo_move(session, reference, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    return redirect(f"/ticket/{reference}", 303)


def _read_move() -> tuple[str, dict[str, str]]:
    """Parse the value of a button into the move and, for an approval with a way of landing (`move:way`), its input."""
    name, _, way = request.form.get("move", "").partition(":")
    return name, {"landing": way} if way else {}


@blueprint.post("/ticket/<reference>/say")
def say(reference: str) -> Response:
    """Add a comment for people, or send a message to the agent."""
    body, mode = request.form.get("body", ""), request.form.get("mode", "comment")
    with writing(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        if mode == "comment":
            timeline.add_comment(session, ticket.id, timeline.NewComment(body=body), auth.get_actor())
            outcome = None
        else:
            outcome = _send_text(session, ticket, body, mode)
    if outcome and outcome["run"] is None:
        layout.flash_note(outcome["text"])
    notify_run(auth.get_instance().settings, outcome["run"] if outcome else None)
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _send_text(session: Session, ticket: Ticket, body: str, mode: str) -> message_routing.RoutedMessage:
    """Send a message with the id that the page generated, so that sending it again after a disconnection is safe."""
    message = message_routing.IncomingMessage.model_validate(
        {"body": body, "mode": mode, "id": request.form.get("id") or None}
    )
    caller = auth.get_caller()
    return message_routing.route_message(session, ticket, message, caller.actor, caller.identity)


@blueprint.post("/ticket/<reference>/answer")
def answer(reference: str) -> Response:
    """Answer the question that a ticket waits for, or an open request of its live run.

    The former may be another one by now, so that answer is for the version of the ticket that was shown.
    """
    instance, actor = auth.get_instance(), auth.get_actor()
    request_id = request.form.get("request", "")
    live = None
    with writing(instance.engine) as session:
        ticket = get_ticket(session, reference)
        if request_id:
            live = requests.answer_request(session, ticket.id, _build_reply(session, ticket, request_id), actor)
        else:
            words, version = _join_answers(_read_answers(request.form)), request.form.get("version", None, int)
            transitions.transition(session, ticket.id, "answer", actor, version=version, body=words)
    notify_run(instance.settings, live)
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _build_reply(session: Session, ticket: Ticket, request_id: str) -> requests.Reply:
    behavior = request.form.get("behavior", "allow")
    answers = _read_answers(request.form)
    questions = requests.list_questions(session, ticket.id, request_id)
    return requests.Reply.model_validate(
        {
            "request": request_id,
            "behavior": "deny" if behavior == "deny" else "allow",
            "scope": "run" if behavior == "allow_run" else "once",
            "message": request.form.get("message", ""),
            "answers": {question: answers[n] for n, question in enumerate(questions) if n in answers},
        }
    )


def _read_answers(form: Any) -> dict[int, str]:
    """Read the answers by the numbers of their questions: the selected choices, then the entered text."""
    answers = {}
    for number in range(20):
        parts = [*form.getlist(f"choice-{number}"), form.get(f"text-{number}", "").strip()]
        words = ", ".join(part for part in parts if part)
        if words:
            answers[number] = words
    return answers


def _join_answers(answers: dict[int, str]) -> str:
    """Join the answers to a ticket's questions, numbered where one of several was left out."""
    if list(answers) == list(range(len(answers))):
        return "\n\n".join(answers.values())
    return "\n\n".join(f"{number + 1}. {words}" for number, words in answers.items())
