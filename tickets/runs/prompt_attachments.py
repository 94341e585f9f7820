"""The files of a ticket in the prompt of a run."""

from __future__ import annotations

from collections.abc import Sequence

from protocol import AttachedFile
from tickets.shared import display_names

INTRODUCTION = (
    "These files are attached to the ticket; the paths are those of read-only copies. Get one without a path, or one that"
    " is attached later, with mc_get_attachment."
)


def describe_attachments(files: Sequence[AttachedFile]) -> str:
    """Describe the attached files as a section of the prompt, empty without any."""
    if not files:
        return ""
    return "\n".join(["## Attached files", "", INTRODUCTION, "", *map(_describe_file, files)])


def _describe_file(file: AttachedFile) -> str:
    facts = f"{file.media_type}, {display_names.format_size(file.size)}"
    images = ", shown with this prompt" if file.is_shown else ""
    return f"- {file.id}: {file.path or file.name} ({facts}{images})"
