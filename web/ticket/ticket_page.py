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
from tickets.shared.lookup import get
from tickets.workflow import evidence, landing, wake_conditions
from web.runs import changes, run_page
from web.site import forms, layout, markdown
from web.site.notify_run import nudge
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
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """A ticket as somebody looks at it: how they stand to it, and its newest run."""

    ticket: Ticket
    standing: ActorContext
    newest: Run | None


def _seen(session: Session, reference: str) -> Seen:
    ticket = get(session, reference)
    standing = transitions.load_actor_contexts(session, [ticket], auth.actor())[ticket.id]
    return Seen(ticket, standing, claims.latest(session, ticket.id))


@blueprint.get("/ticket/<reference>")
def show(reference: str) -> str:
    tab = request.args.get("tab", "conversation")
    if tab not in dict(TABS):
        raise NotFound("A ticket has no part of that name.", tab=tab[:40])
    with reading(auth.instance().engine) as session:
        layout.around(session)
        seen = _seen(session, reference)
        context = _shared(session, seen)
        side = _side(session, seen, context["ticket"])  # before a tab lets go of the snapshot
        context |= {"tab": tab} | _tab(session, seen, tab) | side
    crumbs: list[tuple[str, str | None]] = [("Board", "/board"), (seen.ticket.identifier, None)]
    return layout.page("ticket.html", "board", crumbs, **context)


@blueprint.get("/ticket/<reference>/part/<name>")
def show_part(reference: str, name: str) -> str:
    """One part of the page as a fragment: header, side, news of the conversation, or the body of a tab."""
    with reading(auth.instance().engine) as session:
        seen = _seen(session, reference)
        context = _shared(session, seen)
        if name == "conversation":
            return layout.part("_entries", **context, **_news(session, seen.ticket))
        if name in ("header", "description"):
            return layout.part(f"_{name}", **context, edits=ticket_edit.editable(session, context["ticket"]))
        if name == "side":
            return layout.part("_side", **context, **_side(session, seen, context["ticket"]))
        if name in dict(TABS):
            return layout.part(f"_{name}", **context, **_tab(session, seen, name))
    raise NotFound("A ticket has no part of that name.", part=name[:40])


# -------------------------------------------------------------------------------------------------- what is shown, how


def _shared(session: Session, seen: Seen) -> View:
    ticket, standing = seen.ticket, seen.standing
    head = ticket_header.of(session, ticket, standing.live, seen.newest)
    ways = landing.ways(session, [ticket]).get(ticket.id, ())
    tabs = [{"key": key, "label": label, "href": _href(ticket, key)} for key, label in TABS]
    return {
        "ticket": _ticket(session, ticket),
        "header": head,
        "moves": columns.offers(transitions.build_move_context(ticket, standing), ways),
        "tabs": tabs,
        "may_edit": ticket_forms.may_edit(),
        "composer": {
            "can_message": standing.live is not None,
            "busy": head.runtime in ("starting", "running", "waiting"),
        },
    }


def _href(ticket: Ticket, tab: str) -> str:
    return f"/ticket/{ticket.identifier}" + ("" if tab == "conversation" else f"?tab={tab}")


def _ticket(session: Session, ticket: Ticket) -> View:
    view = schemas.ticket_json(session, [ticket])[0]
    return view | {
        "acceptance": [item | {"key": editing.sign(item["text"])} for item in view["acceptance"]],
        "description_html": markdown.html(ticket.description),
        "wake_text": wake_conditions.words(ticket.wake) if ticket.wake else None,
        "landing_text": landing.told(ticket),
        "created": ticket.created,
    }


def _tab(session: Session, seen: Seen, tab: str) -> View:
    ticket = seen.ticket
    if tab == "evidence":
        return run_page.evidence(session, ticket)
    if tab == "changes":
        return _changes(session, seen)
    if tab == "console":
        return {"console": _console(seen.newest)}
    if tab == "runs":
        return run_page.tab(session, ticket)
    if tab == "context":
        return ticket_links.context_view(session, ticket)
    if tab == "events":
        return replay.tab(session, ticket)
    before = paging.number(request.args.get("before"))
    found = timeline.entries(session, ticket.id, before, SHOWN)
    earlier = f"/ticket/{ticket.identifier}?before={found[0].seq}" if len(found) == SHOWN else None
    return {
        "entries": markdown.drawn(ticket_detail.conversation(session, ticket, found)),
        "cursor_seq": ticket.event_seq,
        "earlier_href": earlier,
    }


def _changes(session: Session, seen: Seen) -> View:
    """What a run, the newest unless another is asked for, committed; and what a reviewer may do about the newest now."""
    ticket, standing, newest = seen.ticket, seen.standing, seen.newest
    asked = run_page.asked(session, ticket)
    if asked and newest and asked.id != newest.id:
        end_read(session)
        return {"changes": changes.shown(asked), "older": asked.id, "split": _split(), "may": set(), "live": False}
    facts: View = {
        "split": _split(),
        "may": {law.name for law in transitions.moves_from(transitions.build_move_context(ticket, standing))},
        "live": standing.live is not None,
        "missing": [shortfall.detail for shortfall in evidence.shortfalls(session, ticket)],
    }
    end_read(session)  # git may take its time
    return facts | {"changes": changes.shown(newest) if newest else None}


def _split() -> bool:
    return request.args.get("view") == "split"


def _console(newest: Run | None) -> View | None:
    """Where the newest run's terminal is; the address changes with its end, so that the frame is loaded anew."""
    if newest is None:
        return None
    return {"run": newest.generation, "href": f"/runs/{newest.id}/console{'?ended=1' if newest.ended else ''}"}


def _news(session: Session, ticket: Ticket) -> View:
    after = paging.number(request.args.get("after")) or 0
    found = timeline.news(session, ticket.id, after)
    full = len(found) >= timeline.PAGE
    newest = max((getattr(entry, "changed", entry.seq) for entry in found), default=after)
    return {
        "entries": markdown.drawn(ticket_detail.conversation(session, ticket, found)),
        "cursor_seq": newest if full else ticket.event_seq,
    }


def _side(session: Session, seen: Seen, shown: View) -> View:
    ticket, limits = seen.ticket, policy.DispatchLimits.of(auth.instance().settings)
    return {
        "workflow": workflow_page.box(session, ticket, seen.standing),
        "operates": auth.caller().right is auth.Right.OPERATOR,
        "side": ticket_detail.side(session, ticket, seen.newest, columns.owner_kinds(session)),
        "gates": None if ticket.closed else policy.runnable(session, ticket, seen.standing.live, limits),
        "edits": ticket_edit.editable(session, shown),
        "gate_words": GATES[ticket.gate],
        "relations": ticket_links.RELATIONS,
        **ticket_files.files_view(session, ticket),
    }


# -------------------------------------------------------------------------------------------------- what a person does


@blueprint.get("/ticket/<reference>/move/<name>")
def ask_move(reference: str, name: str) -> str:
    """The form of a move that must be told something; as a fragment for the page's dialog."""
    return _move_form(reference, name, None)


def _move_form(reference: str, name: str, error: str | None) -> str:
    law = moves.MOVES.get(name)
    if law is None or not law.label:
        raise NotFound("There is no such move.", move=name[:40])
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
        shown = {"identifier": ticket.identifier, "title": ticket.title, "version": ticket.version}
        ways, zone = landing.ways(session, [ticket]).get(ticket.id, ()), auth.instance().settings.timezone
        fields = forms.fields_of(law, session, request.form, zone, ways)
        fields = workflow_page.with_phases(session, ticket, law, fields)
    forms.fill(fields, request.form.to_dict() | _pressed()[1])
    move = {"move": law.name, "label": law.label, "danger": law.danger, "fields": fields}
    if request.headers.get("HX-Request"):
        return layout.part("_move_form", ticket=shown, move=move, error=error)
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        (law.label, None),
    ]
    return layout.page("move.html", "board", crumbs, ticket=shown, move=move, error=error)


@blueprint.post("/ticket/<reference>/move")
def make_move(reference: str) -> Response | tuple[str, int]:
    instance = auth.instance()
    name, way = _pressed()
    law = moves.MOVES.get(name)
    if law is None:
        raise Invalid(f"there is no move named {name[:40]!r}", field="move")
    try:
        facts = forms.facts_from(law, request.form, instance.settings.timezone) | way
        with writing(instance.engine) as session:
            ticket = get(session, reference)
            transitions.transition(
                session, ticket.id, name, auth.actor(), version=request.values.get("version", None, int), **facts
            )
            stopped = [run.id for run in claims.list_runs(session, ticket.id, 1) if run.stop_code]
            offer = undo.offered(session, ticket, auth.actor())
    except DomainError as refused:
        if layout.enhanced():
            raise
        return _move_form(reference, name, refused.message), refused.status
    _nudge(stopped)
    if offer:
        said = f"{ticket.identifier} is {display_names.state(ticket.status)} now."
        layout.note(said, undo={"ticket": ticket.identifier, "label": offer.says})
    return redirect(f"/ticket/{ticket.identifier}", 303)


@blueprint.post("/ticket/<reference>/undo")
def take_back(reference: str) -> Response:
    """Take the last move back, within its ten seconds."""
    try:
        with writing(auth.instance().engine) as session:
            undo.undo(session, reference, auth.actor())
    except DomainError as refused:
        if layout.enhanced():
            raise
        layout.note(refused.message, "bad")
    return redirect(f"/ticket/{reference}", 303)


def _pressed() -> tuple[str, dict[str, str]]:
    """The move that a button names, and the way to approve where it names one: see `board.Offer`."""
    name, _, way = request.form.get("move", "").partition(":")
    return name, {"landing": way} if way else {}


def _nudge(run_ids: list[int]) -> None:
    """After the commit: what was decided reaches a live run at once."""
    for run_id in run_ids:
        nudge(auth.instance().settings, run_id)


@blueprint.post("/ticket/<reference>/say")
def say(reference: str) -> Response:
    """A comment for people, or words for the agent."""
    body, mode = request.form.get("body", ""), request.form.get("mode", "comment")
    with writing(auth.instance().engine) as session:
        ticket = get(session, reference)
        if mode == "comment":
            timeline.comment(session, ticket.id, timeline.NewComment(body=body), auth.actor())
            spoken = None
        else:
            spoken = _speak(session, ticket, body, mode)
    if spoken and spoken["run"] is None:
        layout.note(spoken["text"])
    _nudge([spoken["run"]] if spoken and spoken["run"] else [])
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _speak(session: Session, ticket: Ticket, body: str, mode: str) -> message_routing.Spoken:
    """Under the page's own id where it made one: sent again after a cut, it is not said again."""
    said = message_routing.Said.model_validate({"body": body, "mode": mode, "id": request.form.get("id") or None})
    caller = auth.caller()
    return message_routing.say(session, ticket, said, caller.actor, caller.identity)


@blueprint.post("/ticket/<reference>/answer")
def answer(reference: str) -> Response:
    """Answer the question a ticket stopped for, or a request that its live run waits with."""
    instance, actor = auth.instance(), auth.actor()
    asked = request.form.get("request", "")
    live = []
    with writing(instance.engine) as session:
        ticket = get(session, reference)
        if asked:
            live = [requests.answer(session, ticket.id, _reply(session, ticket, asked), actor)]
        else:
            transitions.transition(session, ticket.id, "answer", actor, body="\n\n".join(_written(request.form)))
    _nudge(live)
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _reply(session: Session, ticket: Ticket, asked: str) -> requests.Reply:
    behavior = request.form.get("behavior", "allow")
    written = _written(request.form)
    questions = requests.questions(session, ticket.id, asked)
    return requests.Reply.model_validate(
        {
            "request": asked,
            "behavior": "deny" if behavior == "deny" else "allow",
            "scope": "run" if behavior == "allow_run" else "once",
            "message": request.form.get("message", ""),
            "answers": dict(zip(questions, written, strict=False)),
        }
    )


def _written(form: Any) -> list[str]:
    """The answer to each question in turn: the choices made, then what was written."""
    answers = []
    for number in range(20):
        said = [*form.getlist(f"choice-{number}"), form.get(f"text-{number}", "").strip()]
        words = ", ".join(part for part in said if part)
        if words:
            answers.append(words)
    return answers
