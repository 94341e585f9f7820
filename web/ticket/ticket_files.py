"""Attachments on the page of a ticket: upload with a plain form, removal, and preview."""

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
"""Number of refused files that are named one by one, since flashed notes are stored in a cookie."""
PREVIEW_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox"
"""Policy for displaying files of unknown origin: the browser's image viewer works, scripts and requests do not."""


def load_files(session: Session, ticket: Ticket) -> dict[str, Any]:
    """Load the ticket's files, and the size limit of a file."""
    return {
        "files": ticket_detail.list_files(session, ticket),
        "limit_bytes": auth.get_instance().settings.attachment_limit_bytes,
    }


@blueprint.post("/ticket/<reference>/attachments")
@auth.accept_uploads
def attach(reference: str) -> AnyResponse:
    """Attach the uploaded files, and flash a note with the reason for each refused one."""
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
    """Remove a file from the ticket, and delete it from disk after the commit."""
    stored_names: list[str] = []

    def remove(session: Session, ticket: Ticket) -> None:
        row = attachments.get_attachment(session, attachment, auth.get_actor())
        if row.ticket_id != ticket.id:
            raise NotFound("The ticket has no such file.", attachment=attachment)
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
    """Display an image, or the beginning of a text file. Other files can only be downloaded. Raises `NotFound`."""
    with reading(auth.get_instance().engine) as session:
        row = attachments.get_attachment(session, attachment, auth.get_actor())
    path = attachments.locate_file(auth.get_instance().settings.attachments_dir, row)
    if not attachments.is_displayable(path, row.media_type):
        raise NotFound("No preview: only images and text up to a size limit have one. Download the file.")
    if row.media_type == TEXT:
        response = Response(attachments.read_beginning(path), mimetype=TEXT)
        response.headers.set("Content-Disposition", "inline")
    else:
        response = send_file(path, mimetype=row.media_type, download_name=row.name, etag=row.sha256)
    response.headers["Content-Security-Policy"] = PREVIEW_POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
