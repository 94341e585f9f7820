"""The page of one ticket: conversation, evidence, runs, events, and the moves that the law allows now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, end_read, reading, writing
from models import Run, Ticket
from tickets.board import columns, ticket_detail, ticket_header
from tickets.conversation import message_routing, requests, timeline
from tickets.dispatch import policy
from tickets.lifecycle import editing, moves, schemas, transitions, undo
from tickets.lifecycle.transitions import ActorContext
from tickets.runs import claims
from tickets.shared import display_names, paging
from tickets.shared.errors import DomainError, Invalid, NotFound
from tickets.shared.lookup import get_ticket
from tickets.workflow import evidence, landing, wake_conditions
from web.runs import changes, run_page
from web.site import forms, layout, markdown
from web.site.notify_run import notify_run
from web.team.project_pages import GATES

from . import replay, ticket_edit, ticket_files, ticket_forms, ticket_links, workflow_page

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
    """A ticket as somebody looks at it: how they stand to it, and its newest run."""

    ticket: Ticket
    standing: ActorContext
    newest: Run | None


def _load_view(session: Session, reference: str) -> TicketView:
    ticket = get_ticket(session, reference)
    actor_context = transitions.load_actor_contexts(session, [ticket], auth.get_actor())[ticket.id]
    return TicketView(ticket, actor_context, claims.find_latest(session, ticket.id))


@blueprint.get("/ticket/<reference>")
def show(reference: str) -> str:
    tab = request.args.get("tab", "conversation")
    if tab not in dict(TABS):
        raise NotFound("A ticket has no part of that name.", tab=tab[:40])
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        view = _load_view(session, reference)
        context = _build_shared_context(session, view)
        side = _load_side(session, view, context["ticket"])  # before a tab lets go of the snapshot
        context |= {"tab": tab} | _load_tab(session, view, tab) | side
    crumbs: list[tuple[str, str | None]] = [("Board", "/board"), (view.ticket.identifier, None)]
    return layout.render_page("ticket/ticket_page.html", "board", crumbs, **context)


@blueprint.get("/ticket/<reference>/part/<name>")
def show_part(reference: str, name: str) -> str:
    """One part of the page as a fragment: header, side, news of the conversation, or the body of a tab."""
    with reading(auth.get_instance().engine) as session:
        view = _load_view(session, reference)
        context = _build_shared_context(session, view)
        if name == "conversation":
            return layout.render_part("ticket/_entries", **context, **_load_news(session, view.ticket))
        if name in ("header", "description"):
            return layout.render_part(
                f"ticket/_{name}", **context, edits=ticket_edit.build_edit_forms(session, context["ticket"])
            )
        if name == "side":
            return layout.render_part("ticket/_side", **context, **_load_side(session, view, context["ticket"]))
        if name in dict(TABS):
            return layout.render_part(f"ticket/_{name}", **context, **_load_tab(session, view, name))
    raise NotFound("A ticket has no part of that name.", part=name[:40])


# -------------------------------------------------------------------------------------------------- what is shown, how


def _build_shared_context(session: Session, view: TicketView) -> View:
    ticket, actor_context = view.ticket, view.standing
    head = ticket_header.build_header(session, ticket, actor_context.live, view.newest)
    ways = landing.find_landing_options(session, [ticket]).get(ticket.id, ())
    tabs = [{"key": key, "label": label, "href": _build_href(ticket, key)} for key, label in TABS]
    return {
        "ticket": _build_ticket(session, ticket),
        "header": head,
        "moves": columns.build_buttons(transitions.build_move_context(ticket, actor_context), ways),
        "tabs": tabs,
        "may_edit": ticket_forms.may_edit(),
        "composer": {
            "can_message": actor_context.live is not None,
            "busy": head.runtime in ("starting", "running", "waiting"),
        },
    }


def _build_href(ticket: Ticket, tab: str) -> str:
    return f"/ticket/{ticket.identifier}" + ("" if tab == "conversation" else f"?tab={tab}")


def _build_ticket(session: Session, ticket: Ticket) -> View:
    payload = schemas.build_ticket_json(session, [ticket])[0]
    return payload | {
        "acceptance": [item | {"key": editing.fingerprint_value(item["text"])} for item in payload["acceptance"]],
        "description_html": markdown.render_html(ticket.description),
        "wake_text": wake_conditions.describe_wake(ticket.wake) if ticket.wake else None,
        "landing_text": landing.describe_landing(ticket),
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
        "entries": markdown.render_entries(ticket_detail.build_conversation(session, ticket, rows)),
        "cursor_seq": ticket.event_seq,
        "earlier_href": earlier,
    }


def _load_changes_tab(session: Session, view: TicketView) -> View:
    """What a run, the newest unless another is asked for, committed; and what a reviewer may do about the newest now."""
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
        "missing": [shortfall.detail for shortfall in evidence.find_shortfalls(session, ticket)],
    }
    end_read(session)  # git may take its time
    return facts | {"changes": changes.load_changes(newest) if newest else None}


def _is_split_view() -> bool:
    return request.args.get("view") == "split"


def _build_console(newest: Run | None) -> View | None:
    """Where the newest run's terminal is; the address changes with its end, so that the frame is loaded anew."""
    if newest is None:
        return None
    return {"run": newest.generation, "href": f"/runs/{newest.id}/console{'?ended=1' if newest.ended else ''}"}


def _load_news(session: Session, ticket: Ticket) -> View:
    after = paging.parse_number(request.args.get("after")) or 0
    rows = timeline.list_changes(session, ticket.id, after)
    full = len(rows) >= timeline.PAGE_SIZE
    newest = max((getattr(entry, "changed", entry.seq) for entry in rows), default=after)
    return {
        "entries": markdown.render_entries(ticket_detail.build_conversation(session, ticket, rows)),
        "cursor_seq": newest if full else ticket.event_seq,
    }


def _load_side(session: Session, view: TicketView, ticket_view: View) -> View:
    ticket, limits = view.ticket, policy.DispatchLimits.from_settings(auth.get_instance().settings)
    return {
        "workflow": workflow_page.load_box(session, ticket, view.standing),
        "operates": auth.get_caller().right is auth.Right.OPERATOR,
        "side": ticket_detail.build_side(session, ticket, view.newest, columns.load_owner_kinds(session)),
        "gates": None if ticket.closed else policy.check_ticket(session, ticket, view.standing.live, limits),
        "edits": ticket_edit.build_edit_forms(session, ticket_view),
        "gate_words": GATES[ticket.gate],
        "relations": ticket_links.RELATIONS,
        **ticket_files.load_files(session, ticket),
    }


# -------------------------------------------------------------------------------------------------- what a person does


@blueprint.get("/ticket/<reference>/move/<name>")
def ask_move(reference: str, name: str) -> str:
    """The form of a move that must be told something; as a fragment for the page's dialog."""
    return _render_move_form(reference, name, None)


def _render_move_form(reference: str, name: str, error: str | None) -> str:
    definition = moves.MOVES.get(name)
    if definition is None or not definition.label:
        raise NotFound("There is no such move.", move=name[:40])
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        ticket_view = {"identifier": ticket.identifier, "title": ticket.title, "version": ticket.version}
        ways, zone = (
            landing.find_landing_options(session, [ticket]).get(ticket.id, ()),
            auth.get_instance().settings.timezone,
        )
        fields = forms.build_move_fields(definition, session, request.form, zone, ways)
        fields = workflow_page.add_phase_choices(session, ticket, definition, fields)
    forms.fill_fields(fields, request.form.to_dict() | _read_move()[1])
    move = {"move": definition.name, "label": definition.label, "danger": definition.danger, "fields": fields}
    if request.headers.get("HX-Request"):
        return layout.render_part("ticket/_move_form", ticket=ticket_view, move=move, error=error)
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        (definition.label, None),
    ]
    return layout.render_page("ticket/move.html", "board", crumbs, ticket=ticket_view, move=move, error=error)


@blueprint.post("/ticket/<reference>/move")
def make_move(reference: str) -> Response | tuple[str, int]:
    instance = auth.get_instance()
    name, way = _read_move()
    definition = moves.MOVES.get(name)
    if definition is None:
        raise Invalid(f"there is no move named {name[:40]!r}", field="move")
    try:
        facts = forms.parse_move_input(definition, request.form, instance.settings.timezone) | way
        with writing(instance.engine) as session:
            ticket = get_ticket(session, reference)
            transitions.transition(
                session, ticket.id, name, auth.get_actor(), version=request.values.get("version", None, int), **facts
            )
            stopped_runs = [run.id for run in claims.list_runs(session, ticket.id, 1) if run.stop_code]
            offer = undo.find_undo_offer(session, ticket, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        return _render_move_form(reference, name, refusal.message), refusal.status
    _notify_runs(stopped_runs)
    if offer:
        message = f"{ticket.identifier} is {display_names.format_status(ticket.status)} now."
        layout.flash_note(message, undo={"ticket": ticket.identifier, "label": offer.says})
    return redirect(f"/ticket/{ticket.identifier}", 303)


@blueprint.post("/ticket/<reference>/undo")
def take_back(reference: str) -> Response:
    """Take the last move back, within its ten seconds."""
    try:
        with writing(auth.get_instance().engine) as session:
            undo.undo_move(session, reference, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    return redirect(f"/ticket/{reference}", 303)


def _read_move() -> tuple[str, dict[str, str]]:
    """The move that a button names, and the way to approve where it names one: see `board.Offer`."""
    name, _, way = request.form.get("move", "").partition(":")
    return name, {"landing": way} if way else {}


def _notify_runs(run_ids: list[int]) -> None:
    """After the commit: what was decided reaches a live run at once."""
    for run_id in run_ids:
        notify_run(auth.get_instance().settings, run_id)


@blueprint.post("/ticket/<reference>/say")
def say(reference: str) -> Response:
    """A comment for people, or words for the agent."""
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
    _notify_runs([outcome["run"]] if outcome and outcome["run"] else [])
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _send_text(session: Session, ticket: Ticket, body: str, mode: str) -> message_routing.RoutedMessage:
    """Under the page's own id where it made one: sent again after a cut, it is not said again."""
    message = message_routing.IncomingMessage.model_validate(
        {"body": body, "mode": mode, "id": request.form.get("id") or None}
    )
    caller = auth.get_caller()
    return message_routing.route_message(session, ticket, message, caller.actor, caller.identity)


@blueprint.post("/ticket/<reference>/answer")
def answer(reference: str) -> Response:
    """Answer the question a ticket stopped for, or a request that its live run waits with."""
    instance, actor = auth.get_instance(), auth.get_actor()
    request_id = request.form.get("request", "")
    live = []
    with writing(instance.engine) as session:
        ticket = get_ticket(session, reference)
        if request_id:
            live = [requests.answer_request(session, ticket.id, _build_reply(session, ticket, request_id), actor)]
        else:
            transitions.transition(session, ticket.id, "answer", actor, body="\n\n".join(_read_answers(request.form)))
    _notify_runs(live)
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
            "answers": dict(zip(questions, answers, strict=False)),
        }
    )


def _read_answers(form: Any) -> list[str]:
    """The answer to each question in turn: the choices made, then what was written."""
    answers = []
    for number in range(20):
        parts = [*form.getlist(f"choice-{number}"), form.get(f"text-{number}", "").strip()]
        words = ", ".join(part for part in parts if part)
        if words:
            answers.append(words)
    return answers
