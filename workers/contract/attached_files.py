"""The files of a ticket that a run is given: copies in `attachments/` of its directory, and a list of them.

They stand beside the workspace, so that git does not see them, and are named after their number and name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workers.host import files
from workers.host.private_dirs import make_private_dir

FOLDER = "attachments"
LIST_FILE = "attachments.json"
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""The types that model services take."""
MAX_NAME_CHARACTERS = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of the ticket. `is_shown`: an image that is handed over with the prompt."""

    id: int
    file: str
    media_type: str
    size: int
    is_shown: bool = False


def build_file_name(attachment_id: int, name: str) -> str:
    """Build the name of a copy: the attachment's number and its name in plain characters, the end of a long one kept."""
    return f"{attachment_id}-{_UNSAFE.sub('_', name)[-MAX_NAME_CHARACTERS:].lstrip('.-') or 'file'}"


def save(run_dir: Path, file: str, content: bytes) -> Path:
    """Write a copy, read-only for its owner, and return its path. An earlier one is replaced."""
    path = make_private_dir(run_dir / FOLDER) / file
    path.unlink(missing_ok=True)
    files.create(path, content)
    path.chmod(0o400)
    return path


def write_list(run_dir: Path, attached: Sequence[AttachedFile]) -> None:
    files.replace(run_dir / LIST_FILE, json.dumps([asdict(file) for file in attached]).encode())


def read_list(run_dir: Path) -> list[AttachedFile]:
    """Read the list of a run. Empty for a run without files, or from before an upgrade."""
    try:
        return [AttachedFile(**row) for row in json.loads((run_dir / LIST_FILE).read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def list_shown_images(run_dir: Path) -> list[tuple[Path, str]]:
    """List path and type of the images that are handed over with the prompt."""
    paths = [(run_dir / FOLDER / file.file, file.media_type) for file in read_list(run_dir) if file.is_shown]
    return [(path, media_type) for path, media_type in paths if path.is_file()]


def encode_image(path: Path, media_type: str) -> dict[str, Any]:
    """Encode an image as a content block of Anthropic's Messages API."""
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
