"""API of a ticket's attachments: upload, list, download, remove."""

from __future__ import annotations

import json
from io import BytesIO
from typing import IO, Any

from flask import Response, request, send_file
from werkzeug.datastructures import FileStorage

import auth
from database import reading
from models import Ticket
from redaction import SHAPES
from tickets.conversation import attachments
from tickets.conversation.attachments import ReceivedFile, Upload
from tickets.lifecycle.schemas import AttachmentJson
from tickets.shared import lookup
from tickets.shared.errors import ClaimLost, Invalid
from web.api import request_body
from web.api.page import Page
from web.api.resource import (
    ANYBODY,
    OPERATORS,
    RUNS,
    WRITERS,
    Call,
    Resource,
    parse_idempotency_key,
    perform,
    refuse_late,
)

blueprint = Resource("attachments", __name__)

FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "summary": {"type": "string", "maxLength": 2000},
        "item": {"type": "integer", "minimum": 0, "maximum": 49},
    },
}


@blueprint.reads("/tickets/<ticket>/attachments", rights=ANYBODY | RUNS)
def list_attachments(call: Call, ticket: Ticket) -> Page[AttachmentJson]:
    """List the files of a ticket, oldest first."""
    return {
        "items": [AttachmentJson.read(row) for row in attachments.list_attachments(call.session, ticket.id)],
        "next": None,
    }


@blueprint.handles(
    "POST", "/tickets/<ticket>/attachments", rights=WRITERS | RUNS, status=201, form=FORM, answer=AttachmentJson
)
def upload(ticket: str) -> Response:
    """Upload a file, whose type is detected from its content. With a `summary` it is recorded as evidence."""
    details, file = _parse_upload(), receive_file(request.files.get("file"))
    entered: list[int] = []

    def work(call: Call) -> AttachmentJson | ClaimLost:
        ticket_row = lookup.get_for(call.session, ticket, call.actor)
        refusal = refuse_late(call, "upload", file.name)
        if refusal is not None:
            return refusal
        max_count = call.settings.attachment_limit_count
        row = attachments.add_attachment(call.session, ticket_row.id, file, details, call.actor, max_count)
        entered.append(row.id)
        return AttachmentJson.read(row)

    try:
        response = perform(work, 201, parse_idempotency_key(_build_fingerprint(details, file)))
    except BaseException:
        file.discard()
        raise
    if not entered:  # a repeated request: the stored response was sent
        file.discard()
    return response


def _parse_upload() -> Upload:
    values: dict[str, Any] = {name: value for name, value in request.form.items() if name != "csrf" and value}
    return Upload.model_validate(SHAPES.clean_value(values) if request_body.is_program() else values)


def receive_file(file: FileStorage | None) -> ReceivedFile:
    """Store the file of a form, within the size limit of the settings."""
    if file is None:
        raise Invalid("The form needs a part named `file`.", fields={"file": "Field required"})
    settings = auth.get_instance().settings
    name, content = file.filename or "", file.stream
    if request_body.is_program():
        name, content = SHAPES.clean_text(name), _redact_content(content, settings.attachment_limit_bytes)
    return attachments.receive_file(settings.attachments_dir, content, name, settings.attachment_limit_bytes)


def _redact_content(content: IO[bytes], limit: int) -> IO[bytes]:
    """Redact the secrets in a program's file. One that is too large is left to the check of its size."""
    head = content.read(limit + 1)
    try:
        return BytesIO(SHAPES.clean_file(head))
    except ValueError as error:
        raise Invalid(f"The file cannot be stored: {error}.", field="file") from error


def _build_fingerprint(details: Upload, file: ReceivedFile) -> bytes:
    """Build the content that identifies an upload, since the raw body has a different boundary each time."""
    return json.dumps([file.sha256, file.name, details.model_dump()]).encode()


@blueprint.handles("GET", "/attachments/<number:attachment>", rights=ANYBODY | RUNS)
def download(attachment: int) -> Response:
    """Download a file, which browsers save and never display, whatever its content."""
    with reading(auth.get_instance().engine) as session:
        row = attachments.get_attachment(session, attachment, auth.get_actor())
    path = attachments.locate_file(auth.get_instance().settings.attachments_dir, row)
    response = send_file(path, mimetype=row.media_type, as_attachment=True, download_name=row.name, etag=row.sha256)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@blueprint.writes("DELETE", "/attachments/<number:attachment>", rights=OPERATORS)
def remove_attachment(call: Call, attachment: int) -> None:
    """Remove a file from its ticket and delete it. Evidence recorded with it is kept."""
    row = attachments.get_attachment(call.session, attachment, call.actor)
    folder, stored_as = call.settings.attachments_dir, row.stored_as
    attachments.remove_attachment(call.session, row, call.actor)
    call.after.append(lambda: attachments.discard_file(folder, stored_as))
