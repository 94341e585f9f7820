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
from tickets.shared.lookup import get
from web.site import layout

from .attachments import receive
from .ticket_forms import Answer, change, form_again

blueprint = Blueprint("ticket_files", __name__)

TOLD = 5
"""Refusals that are told one by one: what is told is kept in a cookie until the next page."""
SEALED = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox"
"""For what somebody else made and a browser shows by itself: it may draw one picture, and nothing else."""


def files_view(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The files as a page lists them, and how large one may be."""
    return {
        "files": ticket_detail.files(session, ticket),
        "limit_bytes": auth.instance().settings.attachment_limit_bytes,
    }


@blueprint.post("/ticket/<reference>/attachments")
@auth.uploads
def attach(reference: str) -> AnyResponse:
    """Attach the files that were chosen; of each that is refused it is said why."""
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
    refusals = []
    for sent in request.files.getlist("file"):
        try:
            _enter(ticket.id, sent)
        except DomainError as refused:
            name = attachments.shown_name(sent.filename) if sent.filename else "The file"
            refusals.append(f"{name} was not attached: {refused.message}")
    for refusal in refusals[:TOLD]:
        layout.note(refusal, "bad")
    if len(refusals) > TOLD:
        layout.note(f"{len(refusals) - TOLD} more were not attached.", "bad")
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _enter(ticket_id: int, sent: FileStorage) -> None:
    received = receive(sent)
    try:
        with writing(auth.instance().engine) as session:
            most = auth.instance().settings.attachment_limit_count
            attachments.add(session, ticket_id, received, Upload(), auth.actor(), most)
    except BaseException:
        received.discard()
        raise


@blueprint.post("/ticket/<reference>/attachments/<number:attachment>/remove")
def detach(reference: str, attachment: int) -> Answer:
    """Take a file off the ticket; it is deleted once that is written."""
    removed: list[str] = []

    def made(session: Session, ticket: Ticket) -> None:
        row = attachments.find(session, attachment)
        if row.ticket_id != ticket.id:
            raise NotFound("there is no such file on this ticket", attachment=attachment)
        attachments.remove(session, row, auth.actor())
        removed.append(row.stored_as)

    answer = change(reference, made, lambda refused: form_again(reference, "_detach_form", "Attachments", refused))
    for stored_as in removed:
        attachments.discard(auth.instance().settings.attachments_dir, stored_as)
    return answer


@blueprint.get("/attachments/<number:attachment>/preview")
def preview(attachment: int) -> Response:
    """A picture as it is, or the first lines of a text as plain text; everything else is only downloaded."""
    with reading(auth.instance().engine) as session:
        row = attachments.find(session, attachment)
    path = attachments.path_of(auth.instance().settings.attachments_dir, row)
    if not attachments.is_shown(path, row.media_type):
        raise NotFound("That file cannot be shown here: it is of another kind, or too large. Download it.")
    if row.media_type == TEXT:
        response = Response(attachments.beginning(path), mimetype=TEXT)
        response.headers.set("Content-Disposition", "inline")
    else:
        response = send_file(path, mimetype=row.media_type, download_name=row.name, etag=row.sha256)
    response.headers["Content-Security-Policy"] = SEALED
    response.headers["Cache-Control"] = "no-store"
    return response
