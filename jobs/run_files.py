"""The copies of a ticket's attachments that a run is given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from models import Attachment, Run
from protocol import AttachedFile
from tickets.conversation import attachments
from tickets.runs import claims
from tickets.shared.errors import NotFound
from tickets.workflow import attempts
from workers.contract import attached_files
from workers.contract.spec import RunSpec

BEGINNING = datetime.min.replace(tzinfo=UTC)
MAX_COPIED_BYTES = 100 << 20
"""Of all copies of one run, as each run has copies of its own. Files beyond it are left to the tool."""
MAX_SHOWN_BYTES = 3_500_000
"""Of all images that are handed over with the prompt, since a service takes at most 5 MB of base64 for one."""


def load_files(session: Session, run: Run) -> tuple[list[Attachment], datetime | None]:
    """Load the files of the run's ticket, with those of the ticket that it is an attempt at, and the start of the run before."""
    runs = claims.list_runs(session, run.ticket_id, limit=2)
    start = next((earlier.started for earlier in runs if earlier.id != run.id), None)
    group = attempts.find_group(session, run.ticket_id)
    parent_files = (
        attachments.list_attachments(session, group.parent.id) if group and group.parent.id != run.ticket_id else []
    )
    return [*parent_files, *attachments.list_attachments(session, run.ticket_id)], start


def choose_first_moment(spec: RunSpec, earlier_start: datetime | None) -> datetime | None:
    """Choose from when on images are new to the conversation. None for a screen, which takes none with its prompt."""
    if spec.mode == "tui":
        return None
    return earlier_start if spec.resume and earlier_start else BEGINNING


def copy_files(folder: Path, run_dir: Path, rows: list[Attachment], since: datetime | None) -> list[AttachedFile]:
    """Copy files of `folder` beside the run's workspace, and write their list. Raises OSError.

    Images that people attached after `since` are handed over with the prompt, none when it is None.
    """
    copied_bytes = shown_bytes = 0
    copied_files: list[AttachedFile] = []
    for row in rows:
        file = AttachedFile(row.id, row.name, "", row.media_type, row.size)
        if copied_bytes + row.size <= MAX_COPIED_BYTES:
            file = replace(file, path=_copy_file(folder, run_dir, row))
            copied_bytes += row.size
        is_new = row.run_id is None and since is not None and row.created > since
        if is_new and shown_bytes + row.size <= MAX_SHOWN_BYTES and _is_image(file):
            file = replace(file, is_shown=True)
            shown_bytes += row.size
        copied_files.append(file)
    attached_files.write_list(run_dir, copied_files)
    return copied_files


def _copy_file(folder: Path, run_dir: Path, row: Attachment) -> str:
    """Copy a file and return the path of the copy, empty when the file is no longer stored.

    A link would let the agent, which runs as the same user, change the stored file.
    """
    target = attached_files.build_path(run_dir, row.id, row.name)
    try:
        attached_files.save_copy(target, attachments.locate_file(folder, row).read_bytes())
    except NotFound:
        return ""
    return str(target)


def _is_image(file: AttachedFile) -> bool:
    return bool(file.path) and attachments.is_readable_image(Path(file.path), file.media_type)
