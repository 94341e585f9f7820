"""The files of a ticket on its page: attached with a plain form, taken off again, and looked at without leaving."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, request, send_file
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

import auth
from database import Session, reading, writing
from models import Ticket
from tickets.board import ticket_detail
from tickets.conversation import attachments
from tickets.conversation.attachments import TEXT, Upload
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get_ticket
from web.site import layout

from .attachments import receive_file
from .ticket_forms import Answer, apply_change, render_refused_form

blueprint = Blueprint("ticket_files", __name__)

MAX_NOTES = 5
"""Refusals that are told one by one: what is told is kept in a cookie until the next page."""
PREVIEW_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox"
"""For what somebody else made and a browser shows by itself: it may draw one picture, and nothing else."""


def load_files(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The files as a page lists them, and how large one may be."""
    return {
        "files": ticket_detail.list_files(session, ticket),
        "limit_bytes": auth.get_instance().settings.attachment_limit_bytes,
    }


@blueprint.post("/ticket/<reference>/attachments")
@auth.accept_uploads
def attach(reference: str) -> AnyResponse:
    """Attach the files that were chosen; of each that is refused it is said why."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
    messages = []
    for upload in request.files.getlist("file"):
        try:
            _attach_file(ticket.id, upload)
        except DomainError as error:
            name = attachments.clean_name(upload.filename) if upload.filename else "The file"
            messages.append(f"{name} was not attached: {error.message}")
    for message in messages[:MAX_NOTES]:
        layout.flash_note(message, "bad")
    if len(messages) > MAX_NOTES:
        layout.flash_note(f"{len(messages) - MAX_NOTES} more were not attached.", "bad")
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _attach_file(ticket_id: int, upload: FileStorage) -> None:
    file = receive_file(upload)
    try:
        with writing(auth.get_instance().engine) as session:
            max_count = auth.get_instance().settings.attachment_limit_count
            attachments.add_attachment(session, ticket_id, file, Upload(), auth.get_actor(), max_count)
    except BaseException:
        file.discard()
        raise


@blueprint.post("/ticket/<reference>/attachments/<number:attachment>/remove")
def detach(reference: str, attachment: int) -> Answer:
    """Take a file off the ticket; it is deleted once that is written."""
    stored_names: list[str] = []

    def remove(session: Session, ticket: Ticket) -> None:
        row = attachments.get_attachment(session, attachment)
        if row.ticket_id != ticket.id:
            raise NotFound("there is no such file on this ticket", attachment=attachment)
        attachments.remove_attachment(session, row, auth.get_actor())
        stored_names.append(row.stored_as)

    answer = apply_change(
        reference, remove, lambda refusal: render_refused_form(reference, "ticket/_detach_form", "Attachments", refusal)
    )
    for stored_as in stored_names:
        attachments.discard_file(auth.get_instance().settings.attachments_dir, stored_as)
    return answer


@blueprint.get("/attachments/<number:attachment>/preview")
def preview(attachment: int) -> Response:
    """A picture as it is, or the first lines of a text as plain text; everything else is only downloaded."""
    with reading(auth.get_instance().engine) as session:
        row = attachments.get_attachment(session, attachment)
    path = attachments.locate_file(auth.get_instance().settings.attachments_dir, row)
    if not attachments.is_displayable(path, row.media_type):
        raise NotFound("That file cannot be shown here: it is of another kind, or too large. Download it.")
    if row.media_type == TEXT:
        response = Response(attachments.read_beginning(path), mimetype=TEXT)
        response.headers.set("Content-Disposition", "inline")
    else:
        response = send_file(path, mimetype=row.media_type, download_name=row.name, etag=row.sha256)
    response.headers["Content-Security-Policy"] = PREVIEW_POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
