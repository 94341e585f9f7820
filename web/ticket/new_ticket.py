"""A new ticket: one form, as a page of its own and in a dialog over any page; it is created whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import Ticket
from tickets.board import saved_views
from tickets.conversation import attachments
from tickets.conversation.attachments import Received, Upload
from tickets.lifecycle import transitions
from tickets.shared import display_names
from tickets.shared.errors import DomainError, Invalid, NoSuchTicket
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get
from tickets.team import projects, team_status
from web.site import forms, layout, markdown, phase_forms
from web.site.errors import invalid

from .attachments import receive

blueprint = Blueprint("new_ticket", __name__)

Form = MultiDict[str, str]
View = dict[str, Any]
Errors = dict[str, str]
STARTS = [
    ("todo", "Now", "Its owner starts as soon as nothing holds it."),
    ("inbox", "From the inbox", "Somebody looks at it first."),
    ("waiting", "Later", "It is parked until something wakes it."),
]
LINKS = [
    ("blocked_by", "Is blocked by"),
    ("blocks", "Blocks"),
    ("child_of", "Is a child of"),
    ("parent_of", "Is the parent of"),
    ("relates_to", "Relates to"),
    ("duplicate_of", "Is a duplicate of"),
    ("duplicated_by", "Is duplicated by"),
    ("caused_by", "Is caused by"),
    ("causes", "Causes"),
    ("fork_of", "Is a fork of"),
]
PLAIN = ("title", "description", "priority", "assigned_to", "project")
TIMES = ("not_before", "expected_check_in")
KEPT = ("project", "assigned_to", "priority", "status")
"""What the next of several tickets begins with."""
PARTS = {*PLAIN, *TIMES, *forms.WAKE_NAMES, "tags", "acceptance", "status", "phases", "relationships", "files"}


# ------------------------------------------------------------------------------------------------------------ the form


@blueprint.get("/ticket/new")
def ask() -> str:
    """The empty form, with what a query of the board (`query`) or the address itself says already."""
    given: Form = MultiDict(request.args)
    for name, value in saved_views.defaults(given.pop("query", "")).items():
        given.setlistdefault(name, value if isinstance(value, list) else [value])
    with reading(auth.instance().engine) as session:
        known = projects.all_projects(session)
    if len(known) == 1:
        given.setdefault("project", known[0].slug)
    return _form(given, {})


def _form(given: Form, errors: Errors, preview: str | None = None) -> str:
    """The form as it was filled in; as a fragment for a script that asks."""
    zone = auth.instance().settings.timezone
    with reading(auth.instance().engine) as session:
        choices = _choices(session)
        wake = forms.wake_field(session, given, zone)
        offered = phase_forms.choices(session)
    stray = [f"{name}: {words}" for name, words in errors.items() if name not in PARTS and name != "form"]
    context: View = {
        "form": given,
        "links": _rows(given),
        "wake": wake,
        "phases": phase_forms.typed(given) or phase_forms.rows(),
        "offered": offered,
        "choices": choices,
        "errors": errors | ({"form": "; ".join(stray)} if stray else {}),
        "preview": preview,
        "zone": zone,
        "limit": display_names.size(auth.instance().settings.attachment_limit_bytes),
    }
    if request.headers.get("HX-Request") or layout.enhanced():
        return layout.part("_ticket_form", **context)
    return layout.page("ticket_new.html", "board", [("Board", "/board"), ("New ticket", None)], **context)


def _choices(session: Session) -> View:
    found: View = dict(forms.choices(session))
    members = [(each.name, f"{each.title or each.name}: {each.words}") for each in team_status.members(session)]
    return found | {
        "project": [("", "No project"), *found["project"]],
        "assigned_to": [("", "Nobody yet"), *members],
        "start": STARTS,
        "link": LINKS,
    }


def _rows(given: Form) -> list[tuple[str, str]]:
    """The relationships that were filled in, and room for one more."""
    return [*(pair for pair in _pairs(given) if pair[1]), (LINKS[0][0], "")]


def _pairs(given: Form) -> list[tuple[str, str]]:
    tickets = [ticket.strip().upper() for ticket in given.getlist("link_ticket")]
    return list(zip(given.getlist("link_kind"), tickets, strict=False))


# ------------------------------------------------------------------------------------------------------------ creating


@blueprint.post("/ticket/new")
@auth.uploads
def create() -> Response | str | tuple[str, int]:
    """Create the ticket with its files; or draw the form anew: for a preview, for one more row, or for what is wrong."""
    form = request.form
    if "preview" in form:
        return _form(form, {}, preview=markdown.html(form.get("description", "")) or "")
    if "more" in form:
        return _form(form, {})
    try:
        made = _create(form)
    except ValidationError as error:
        return _form(form, _by_field(invalid(error))), 422
    except DomainError as refused:
        return _form(form, _by_field(refused)), refused.status
    return _another(form, made) if form.get("then") == "another" else redirect(f"/ticket/{made.identifier}", 303)


def _another(form: Form, made: Ticket) -> Response | str:
    """The form for the next ticket; a script has it already, and gets what is to be said alone."""
    layout.note(f"{made.identifier} was created.")
    if layout.enhanced():
        return layout.notes()
    kept = MultiDict((name, form[name]) for name in KEPT if form.get(name))
    return redirect(f"/ticket/new?{forms.query_string(kept)}", 303)


def _create(form: Form) -> Ticket:
    body = _body(form, auth.instance().settings.timezone)
    _require_tickets(form)
    with _received([sent for sent in request.files.getlist("files") if sent.filename]) as files:
        with writing(auth.instance().engine) as session:
            made = transitions.create(session, body, auth.actor())
            most = auth.instance().settings.attachment_limit_count
            for file in files:
                attachments.add(session, made.id, file, Upload(), auth.actor(), most)
        return made


def _body(form: Form, zone: str) -> NewTicket:
    """The ticket that the form describes. Raises pydantic's ValidationError or `Invalid` for the form to show."""
    given: View = {name: form[name] for name in PLAIN if form.get(name)}
    given |= {name: forms.moment(form[name], zone) for name in TIMES if form.get(name)}
    given["status"] = form.get("status", "todo")
    if given["status"] == "waiting":
        given["wake"] = forms.wake_from(form, zone)
    lines = [line.strip() for line in form.get("acceptance", "").splitlines()]
    return NewTicket.model_validate(
        {
            **given,
            "tags": form.getlist("tags"),
            "acceptance": [{"text": line} for line in lines if line],
            "phases": phase_forms.read(form),
            "relationships": [{"kind": kind, "ticket": ticket} for kind, ticket in _pairs(form) if ticket],
        }
    )


def _require_tickets(form: Form) -> None:
    """Name the field of a ticket that is not there: the refusal itself does not know where it was written."""
    named = [("relationships", ticket) for _, ticket in _pairs(form) if ticket]
    if form.get("status") == "waiting" and form.get("wake_kind") == "ticket":
        named.append(("wake_ticket", form.get("wake_ticket", "").strip().upper()))
    with reading(auth.instance().engine) as session:
        for name, ticket in named:
            try:
                get(session, ticket)
            except NoSuchTicket:
                raise Invalid(f"There is no ticket {ticket[:40]}.", field=name) from None


@contextmanager
def _received(sent: list[FileStorage]) -> Iterator[list[Received]]:
    """The files that were sent, received; none of them stays when the ticket does not come to be."""
    files: list[Received] = []
    try:
        for each in sent:
            files.append(_receive(each))
        yield files
    except BaseException:
        for file in files:
            file.discard()
        raise


def _receive(sent: FileStorage) -> Received:
    try:
        return receive(sent)
    except DomainError as refused:
        raise Invalid(f"{sent.filename}: {refused.message}", field="files") from None


def _by_field(refused: DomainError) -> Errors:
    """Each complaint under the name of its field; `form` holds those of none."""
    fields = refused.detail.get("fields") or {refused.detail.get("field", "form"): refused.message}
    return {_field(str(name)): str(words) for name, words in fields.items()}


def _field(name: str) -> str:
    """`wake.at` is written as `wake_at`, and what is wrong within a list as the list."""
    first, _, second = name.partition(".")
    return f"wake_{second}" if first == "wake" and f"wake_{second}" in forms.WAKE_NAMES else first
