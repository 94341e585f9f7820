"""The form of a new ticket, on its own page or in a dialog, which creates the ticket with its files in one transaction."""

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
from tickets.conversation.attachments import ReceivedFile, Upload
from tickets.lifecycle import transitions
from tickets.planning import attempts
from tickets.schedule import task_files
from tickets.shared import display_names
from tickets.shared.errors import DomainError, Invalid, NoSuchTicket
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_ticket
from tickets.team import default_owner, projects, team_status
from web.site import forms, layout, markdown, phase_forms
from web.site.errors import convert_validation_error

from . import attempts_page, ticket_fields, ticket_line
from .attachments import receive_file

blueprint = Blueprint("new_ticket", __name__)

Form = MultiDict[str, str]
View = dict[str, Any]
Errors = dict[str, str]
STARTS = [
    ("todo", "Now", "The owner starts as soon as nothing blocks it."),
    ("inbox", "After triage", "It goes to the inbox first."),
    ("waiting", "Later", "Parked until something wakes it."),
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
REPEATED_FIELDS = ("project", "assigned_to", "priority", "status", "query")
"""Fields whose values are copied to the form of the next ticket."""
SHORT_FIELDS = {"csrf", "then", "title", "one_line", "plain", "query", "assigned_to", "project"}
"""Fields that are seen without opening the rest of the form."""
DEFAULTS = {"status": "todo", "priority": "normal"}
FORM_FIELDS = {
    *ticket_fields.ON_NEW_TICKET,
    *forms.WAKE_FIELDS,
    "status",
    "phases",
    "relationships",
    "attempts",
    "files",
    "repeat",
}


# ------------------------------------------------------------------------------------------------------------ the form


@blueprint.get("/ticket/new")
def ask() -> str:
    """Show the empty form, with values from the query string or from a query of the board (`query`)."""
    return _render_form(_add_defaults(MultiDict(request.args)), {})


def _add_defaults(form: Form) -> Form:
    """Add the values that the board's filters, the only project and the last ticket imply."""
    for name, value in saved_views.build_defaults(form.get("query", "")).items():
        form.setlistdefault(name, value if isinstance(value, list) else [value])
    with reading(auth.get_instance().engine) as session:
        available = projects.list_projects(session)
        owner = default_owner.find_default_owner(session, auth.get_actor().name)
    form.setdefault("assigned_to", owner or "")
    if len(available) == 1:
        form.setdefault("project", available[0].slug)
    return form


def _render_form(form: Form, errors: Errors, preview: str | None = None, *, is_next: bool = False) -> str:
    """Render the form with the entered values, for a script as a fragment. `is_next` is the form after another ticket."""
    zone = auth.get_instance().settings.timezone
    with reading(auth.get_instance().engine) as session:
        choices = _load_choices(session)
        wake = forms.build_wake_field(session, form, zone)
        attempt_choices = attempts_page.list_choices(session)
        phase_choices = phase_forms.load_choices(session)
        line = ticket_line.build_context(session, form)
    other_errors = [f"{name}: {words}" for name, words in errors.items() if name not in FORM_FIELDS and name != "form"]
    context: View = {
        "form": form,
        "links": _list_relationship_rows(form),
        "wake": wake,
        "phases": phase_forms.parse_rows(form) or phase_forms.build_rows(),
        "offered": phase_choices,
        "attempt_choices": attempt_choices,
        "fields": ticket_fields.build_new_inputs(form, errors, choices, zone),
        "choices": choices,
        "is_next": is_next,
        "line": line,
        "is_expanded": preview is not None or bool(errors.keys() - {"title", "form"}) or _has_more(form),
        "errors": errors | ({"form": "; ".join(other_errors)} if other_errors else {}),
        "preview": preview,
        "zone": zone,
        "limit": display_names.format_size(auth.get_instance().settings.attachment_limit_bytes),
    }
    if request.headers.get("HX-Request") or layout.is_script_request():
        return layout.render_part("ticket/_new_ticket_form", **context)
    return layout.render_page("ticket/new_ticket.html", "board", [("Board", "/board"), ("New ticket", None)], **context)


def _has_more(form: Form) -> bool:
    """Return whether a form has a value that the line and its chips do not show."""
    return any(
        value.strip() for name, value in form.items() if name not in SHORT_FIELDS and value != DEFAULTS.get(name)
    )


def _load_choices(session: Session) -> View:
    choices: View = dict(forms.load_choices(session))
    members = [
        (member.name, f"{member.title or member.name}: {member.words}") for member in team_status.list_team(session)
    ]
    return choices | {
        "assigned_to": members,
        "start": STARTS,
        "link": LINKS,
    }


def _list_relationship_rows(form: Form) -> list[tuple[str, str]]:
    """List the relationships that were entered, and an empty row."""
    return [*(pair for pair in _parse_relationships(form) if pair[1]), (LINKS[0][0], "")]


def _parse_relationships(form: Form) -> list[tuple[str, str]]:
    tickets = [ticket.strip().upper() for ticket in form.getlist("link_ticket")]
    return list(zip(form.getlist("link_kind"), tickets, strict=False))


# ------------------------------------------------------------------------------------------------------------ creating


@blueprint.post("/ticket/new")
@auth.accept_uploads
def create() -> Response | str | tuple[str, int]:
    """Create the ticket with its files, or show the form again: for a preview, for another row, or with errors."""
    form = request.form
    if "preview" in form:
        return _render_form(form, {}, preview=markdown.render_html(form.get("description", "")) or "")
    if "more" in form:
        return _render_form(form, {})
    try:
        if form.get("repeat", "").strip():
            return redirect(f"/tasks/{_create_task(form)}", 303)
        ticket = _create_ticket(form)
    except ValidationError as error:
        return _render_form(form, _by_field(convert_validation_error(error))), 422
    except DomainError as refusal:
        return _render_form(form, _by_field(refusal)), refusal.status
    return (
        _render_next_form(form, ticket)
        if form.get("then") == "another"
        else redirect(f"/ticket/{ticket.identifier}", 303)
    )


def _render_next_form(form: Form, ticket: Ticket) -> Response | str:
    """Show the form for the next ticket, to a script with the notes."""
    layout.flash_note(f"{ticket.identifier} was created.")
    repeated = MultiDict((name, form[name]) for name in REPEATED_FIELDS if name in form)
    if layout.is_script_request():
        return layout.render_notes() + _render_form(_add_defaults(repeated), {}, is_next=True)
    return redirect(f"/ticket/new?{forms.build_query_string(repeated)}", 303)


def _create_task(form: Form) -> str:
    """Create the task that creates this ticket by the schedule of the form, and return the task's name."""
    instance = auth.get_instance()
    body = _parse_body(form, instance.settings.timezone)
    task = task_files.build_ticket_task(body, form["repeat"], instance.settings.tasks_dir)
    if attempts_page.read_agents(form) or any(upload.filename for upload in request.files.getlist("files")):
        raise Invalid(
            "Files and several agents cannot be repeated. Remove them, or clear the schedule.", field="repeat"
        )
    with writing(instance.engine) as session:
        task_files.save_task(session, task, instance.settings.tasks_dir, auth.get_actor())
    layout.flash_note(f"The task {task.name} was created. It creates this ticket each time.")
    return task.name


def _create_ticket(form: Form) -> Ticket:
    body, several = _parse_body(form, auth.get_instance().settings.timezone), attempts_page.read_agents(form)
    _require_tickets(form)
    if several:
        _prepare_parent(body)
    with _receive_files([upload for upload in request.files.getlist("files") if upload.filename]) as files:
        with writing(auth.get_instance().engine) as session:
            ticket = transitions.create_ticket(session, body, auth.get_actor())
            max_count = auth.get_instance().settings.attachment_limit_count
            for file in files:
                attachments.add_attachment(session, ticket.id, file, Upload(), auth.get_actor(), max_count)
            if several:
                attempts.start_attempts(session, ticket, several, auth.get_actor())
        return ticket


def _prepare_parent(body: NewTicket) -> None:
    """Leave the owners to the attempts. Raises `Invalid` unless the ticket starts now."""
    if body.status != "todo":
        raise Invalid("Several agents start at once. Choose Now as the start.", field="attempts")
    body.assigned_to = None


def _parse_body(form: Form, zone: str) -> NewTicket:
    """Parse the form into a new ticket. Raises pydantic's ValidationError or `Invalid`."""
    fields = ticket_fields.read_new_ticket(form, zone)
    if "one_line" in form:
        fields |= _read_line(form, fields.get("tags", []))
    fields["status"] = form.get("status", "todo")
    if fields["status"] == "waiting":
        fields["wake"] = forms.parse_wake(form, zone)
    return NewTicket.model_validate(
        {
            **fields,
            "phases": phase_forms.parse_phases(form),
            "relationships": [
                {"kind": kind, "ticket": ticket} for kind, ticket in _parse_relationships(form) if ticket
            ],
        }
    )


def _read_line(form: Form, tags: list[str]) -> View:
    """Read the fields of the form's line, which count before those of the form. Tags are added to those of the form."""
    with reading(auth.get_instance().engine) as session:
        parsed = ticket_line.read_line(session, form)
    all_tags = list(dict.fromkeys([*tags, *parsed.fields.get("tags", [])]))
    return {**parsed.fields, "title": parsed.title} | ({"tags": all_tags} if all_tags else {})


def _require_tickets(form: Form) -> None:
    """Check that every ticket named in the form exists. Raises `Invalid` with the form field, unlike the domain's error."""
    references = [("relationships", ticket) for _, ticket in _parse_relationships(form) if ticket]
    if form.get("status") == "waiting" and form.get("wake_kind") == "ticket":
        references.append(("wake_ticket", form.get("wake_ticket", "").strip().upper()))
    with reading(auth.get_instance().engine) as session:
        for name, ticket in references:
            try:
                get_ticket(session, ticket)
            except NoSuchTicket:
                raise Invalid(f"There is no ticket {ticket[:40]}.", field=name) from None


@contextmanager
def _receive_files(uploads: list[FileStorage]) -> Iterator[list[ReceivedFile]]:
    """Store the uploaded files, and discard them all if the ticket is not created."""
    files: list[ReceivedFile] = []
    try:
        for upload in uploads:
            files.append(_receive_file(upload))
        yield files
    except BaseException:
        for file in files:
            file.discard()
        raise


def _receive_file(upload: FileStorage) -> ReceivedFile:
    try:
        return receive_file(upload)
    except DomainError as refusal:
        raise Invalid(f"{upload.filename}: {refusal.message}", field="files") from None


def _by_field(refusal: DomainError) -> Errors:
    """Group error messages by form field, with `form` for those of no field."""
    fields = refusal.detail.get("fields") or {refusal.detail.get("field", "form"): refusal.message}
    return {_field(str(name)): str(words) for name, words in fields.items()}


def _field(name: str) -> str:
    """Map the path of an invalid value to its form field: `wake.at` to `wake_at`, an item of a list to the list."""
    first, _, second = name.partition(".")
    return f"wake_{second}" if first == "wake" and f"wake_{second}" in forms.WAKE_FIELDS else first
