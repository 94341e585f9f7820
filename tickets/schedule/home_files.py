"""Files of the home that people's forms and commands write: private, and complete or absent."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tickets.shared.errors import ConflictError


def write_file(file: Path, content: bytes, *, is_new: bool) -> None:
    """Write a file (0600) under another name, then give it its own. Raises `ConflictError` for a new one that exists."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            file.hardlink_to(draft)
        else:
            draft.replace(file)
    except FileExistsError:
        raise ConflictError(f"{file.name} exists already. Choose another name.", field="name") from None
    finally:
        draft.unlink(missing_ok=True)
