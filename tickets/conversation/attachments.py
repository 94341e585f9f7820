"""Files of a ticket: stored in a private folder under a generated name, then recorded, and served as a download.

The file is written before the transaction begins. The caller of `receive_file` discards it when no row is added.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from models import Attachment, Evidence, EvidenceSource, EvidenceStatus
from protocol import AGENT_PROGRAMS
from tickets.shared import display_names, events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound, TooLarge
from tickets.shared.inputs import Body, Prose
from tickets.shared.lookup import find_live_run, get_ticket
from tickets.shared.rights import Act

from . import image_size, messages
from .messages import NewMessage

CHUNK_BYTES = 1 << 16
NEW_PRIVATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_NAME_CHARACTERS = 120
STORED_NAME = re.compile(r"[0-9a-f]{32}")
TEXT = "text/plain"
MAX_PREVIEW_BYTES, MAX_PREVIEW_LINES = 16 << 10, 200
"""Maximum size of the displayed preview of a text."""

MAX_IMAGE_SIDE = 8000
"""Pixels of an image that a model service takes; a larger one would fail the whole request."""

SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"PK\x03\x04"), "application/zip"),
    (re.compile(rb"\x1f\x8b\x08"), "application/gzip"),
    (re.compile(rb"....ftyp(?:isom|iso\d|mp4\d|avc1|M4V )", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x1aE\xdf\xa3"), "video/webm"),
)
"""File types that may be stored besides text, by their signature. The name and headers of a client are not trusted."""


class Upload(Body):
    """Form fields of an uploaded file.

    With a `summary` the file is also recorded as evidence, for the acceptance `item` if one is named.
    """

    summary: Annotated[Prose, Field(max_length=2000)] = ""
    item: int | None = Field(None, ge=0, le=49)


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A stored file that has no row yet."""

    path: Path
    name: str
    media_type: str
    size: int
    sha256: str

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


def receive_file(folder: Path, content: IO[bytes], name: str, limit: int) -> ReceivedFile:
    """Store an uploaded file, and remove it again when it is refused.

    Raises `TooLarge` above `limit` bytes, `Invalid` for an empty file or an unsupported type.
    """
    path = folder / secrets.token_hex(16)
    try:
        with os.fdopen(os.open(path, NEW_PRIVATE_FILE, 0o600), "wb") as file:
            received_file = _copy_content(content, file, path, name, limit)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return received_file


def _copy_content(content: IO[bytes], file: IO[bytes], path: Path, name: str, limit: int) -> ReceivedFile:
    head = content.read(CHUNK_BYTES)
    if not head:
        raise Invalid("The file is empty.", field="file")
    media_type = detect_media_type(head)
    digest, size = hashlib.sha256(), 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in _read_chunks(head, content):
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"A file may have at most {display_names.format_size(limit)}.", limit=limit)
        if media_type == TEXT:
            _require_text(decoder, chunk)
        digest.update(chunk)
        file.write(chunk)
    return ReceivedFile(path, clean_name(name), media_type, size, digest.hexdigest())


def _read_chunks(head: bytes, content: IO[bytes]) -> Iterator[bytes]:
    while head:
        yield head
        head = content.read(CHUNK_BYTES)


def detect_media_type(head: bytes) -> str:
    """Detect the type from the first bytes: one of `SIGNATURES`, else text, which the rest must confirm."""
    return next((media_type for pattern, media_type in SIGNATURES if pattern.match(head)), TEXT)


def _require_text(decoder: codecs.IncrementalDecoder, chunk: bytes) -> None:
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError:
        chunk = b"\x00"
    if b"\x00" in chunk:
        media_types = ", ".join(media_type for _, media_type in SIGNATURES)
        raise Invalid(f"A file must be UTF-8 text or one of {media_types}.", field="file")


def clean_name(name: str) -> str:
    """Return the last part of a client's file name, without characters that could mislead a reader or break a header."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(letter for letter in last if letter.isprintable() and letter not in '"<>:|?*').strip(" .")
    return plain[-MAX_NAME_CHARACTERS:] or "file"


def add_attachment(
    session: Session, ticket_id: int, received_file: ReceivedFile, upload: Upload, actor: Actor, limit: int
) -> Attachment:
    """Add a received file to its ticket, and tell an agent at work on it. Raises `Invalid` at `limit` files."""
    if (session.scalar(select(func.count()).where(Attachment.ticket_id == ticket_id)) or 0) >= limit:
        raise Invalid(f"A ticket may have at most {limit} files.", field="file")
    row = Attachment(
        ticket_id=ticket_id,
        run_id=actor.run_id,
        name=received_file.name,
        media_type=received_file.media_type,
        size=received_file.size,
        sha256=received_file.sha256,
        stored_as=received_file.path.name,
        author=actor.name,
    )
    session.add(row)
    session.flush()
    events.append(session, ticket_id, "attachment_added", {"attachment": row.id, "name": row.name}, actor)
    if upload.summary:
        session.add(_build_claim(row, upload))
    _tell_agent(session, row, actor)
    return row


def _tell_agent(session: Session, row: Attachment, actor: Actor) -> None:
    """Queue a message on a new file to the live run, whose prompt does not name it, unless the run added it itself."""
    run = find_live_run(session, row.ticket_id)
    program = AGENT_PROGRAMS.get(run.program or "") if run else None
    if run is None or run.id == actor.run_id or run.stop_code or program is None or not program.reads_messages:
        return
    size = display_names.format_size(row.size)
    body = (
        f"The file {row.name} ({row.media_type}, {size}) was attached to this ticket. It is number {row.id}:"
        " mc_get_attachment saves it beside your workspace and names its path."
    )
    messages.queue_message(session, get_ticket(session, row.ticket_id), NewMessage(body=body), actor)


def remove_attachment(session: Session, row: Attachment, actor: Actor) -> None:
    """Remove a file from its ticket. The caller deletes the file with `discard_file` after the commit.

    Raises `Forbidden` for programs, `ConflictError` for a file recorded as evidence.
    """
    rights.require(actor, Act.REMOVE_FILE)
    if row.id in find_evidence_ids(session, row.ticket_id):
        raise ConflictError(f"{row.name} is evidence and cannot be removed.", attachment=row.id)
    session.delete(row)
    session.flush()
    events.append(session, row.ticket_id, "attachment_removed", {"attachment": row.id, "name": row.name}, actor)


def find_evidence_ids(session: Session, ticket_id: int) -> set[int]:
    """Return the ids of a ticket's files that were recorded as evidence."""
    entered = select(Evidence.data).where(Evidence.ticket_id == ticket_id, Evidence.kind == "attachment")
    return {data["attachment"] for data in session.scalars(entered) if data}


def _build_claim(row: Attachment, upload: Upload) -> Evidence:
    return Evidence(
        ticket_id=row.ticket_id,
        run_id=row.run_id,
        kind="attachment",
        source=EvidenceSource.CLAIM,
        status=EvidenceStatus.UNKNOWN,
        summary=upload.summary,
        data={"attachment": row.id, "sha256": row.sha256, "media_type": row.media_type},
        item=upload.item,
        author=row.author,
    )


OF_TICKET = select(Attachment).where(Attachment.ticket_id == bindparam("ticket")).order_by(Attachment.id)


def list_attachments(session: Session, ticket_id: int) -> list[Attachment]:
    """List the files of a ticket, oldest first (their number is limited)."""
    return list(session.scalars(OF_TICKET, {"ticket": ticket_id}))


def get_attachment(session: Session, attachment_id: int, actor: Actor) -> Attachment:
    """Get a file. Raises `NotFound`, and `Forbidden` for a run that is not of its ticket."""
    row = session.get(Attachment, attachment_id)
    if row is None:
        raise NotFound("There is no such file.", attachment=attachment_id)
    rights.require_own_ticket(actor, row.ticket_id)
    return row


def locate_file(folder: Path, attachment: Attachment) -> Path:
    """Return the path of a file. Raises `NotFound` when it is missing or its row does not name a file of the folder."""
    path = folder / attachment.stored_as
    if not STORED_NAME.fullmatch(attachment.stored_as) or path.is_symlink() or not path.is_file():
        raise NotFound("The file is no longer stored.", attachment=attachment.id)
    return path


def discard_file(folder: Path, stored_as: str) -> None:
    """Delete the file of a removed row."""
    if STORED_NAME.fullmatch(stored_as):
        (folder / stored_as).unlink(missing_ok=True)


def is_readable_image(path: Path, media_type: str) -> bool:
    """Return whether a model service takes this file as an image."""
    with path.open("rb") as file:
        width, height = image_size.read_size(file.read(image_size.HEAD_BYTES), media_type)
    return 0 < width <= MAX_IMAGE_SIDE and 0 < height <= MAX_IMAGE_SIDE


def is_displayable(path: Path, media_type: str) -> bool:
    """Return whether a file can be displayed in a page: a text, or an image of acceptable size."""
    if media_type == TEXT:
        return True
    with path.open("rb") as file:
        return image_size.is_displayable(file.read(image_size.HEAD_BYTES), media_type)


def read_beginning(path: Path) -> str:
    """Read the first lines of a text file for its preview."""
    with path.open("rb") as file:
        head = file.read(MAX_PREVIEW_BYTES + 1)
    lines = head[:MAX_PREVIEW_BYTES].decode("utf-8", "ignore").splitlines(keepends=True)
    is_cut = len(head) > MAX_PREVIEW_BYTES or len(lines) > MAX_PREVIEW_LINES
    return "".join(lines[:MAX_PREVIEW_LINES]) + ("\n…\n" if is_cut else "")
