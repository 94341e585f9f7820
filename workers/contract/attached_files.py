"""The files of a ticket that a run is given: copies in `attachments/` of its directory, and a list of them.

They stand beside the workspace, so that git does not see them, and are named after their number and name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protocol import AttachedFile
from workers.host import files
from workers.host.private_dirs import make_private_dir

FOLDER = "attachments"
LIST_FILE = "attachments.json"
MAX_NAME_CHARACTERS = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def build_file_name(attachment_id: int, name: str) -> str:
    """Build the name of a copy: the attachment's number and its name in plain characters, the end of a long one kept."""
    return f"{attachment_id}-{_UNSAFE.sub('_', name)[-MAX_NAME_CHARACTERS:].lstrip('.-') or 'file'}"


def build_path(run_dir: Path, attachment_id: int, name: str) -> Path:
    """Build the path of the copy of an attachment."""
    return run_dir / FOLDER / build_file_name(attachment_id, name)


def save_copy(path: Path, content: bytes) -> None:
    """Write a copy, read-only for its owner. An earlier one is replaced."""
    make_private_dir(path.parent)
    path.unlink(missing_ok=True)
    files.create(path, content)
    path.chmod(0o400)


def write_list(run_dir: Path, attached_files: Sequence[AttachedFile]) -> None:
    files.replace(run_dir / LIST_FILE, json.dumps([asdict(file) for file in attached_files]).encode())


def read_list(run_dir: Path) -> list[AttachedFile]:
    """Read the list of a run. Empty for a run without files, or from before an upgrade."""
    try:
        return [AttachedFile(**row) for row in json.loads((run_dir / LIST_FILE).read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def list_missing(run_dir: Path) -> list[AttachedFile]:
    """List the files whose copy is not on this host."""
    return [file for file in read_list(run_dir) if file.path and not Path(file.path).is_file()]


def list_images(run_dir: Path) -> list[AttachedFile]:
    """List the images that are handed over with the prompt."""
    return [file for file in read_list(run_dir) if file.is_shown and Path(file.path).is_file()]


def encode_image(image: AttachedFile) -> dict[str, Any]:
    """Encode an image as a content block of Anthropic's Messages API."""
    data = base64.b64encode(Path(image.path).read_bytes()).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": data}}
