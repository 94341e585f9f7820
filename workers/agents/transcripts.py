"""Files in which an agent's program keeps a conversation, which it writes a little after it has named the conversation.

Their places are in the program's descriptor (`TranscriptFiles`).
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from protocol import AGENT_PROGRAMS
from workers.host.private_dirs import make_private_dir

from .descriptor import TranscriptFiles, load_descriptor

MAX_FILE_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 26
"""Bytes of a file, and of a line of it."""


def has_conversation(program: str | None, config_dir: Path, conversation: str) -> bool:
    """Whether a conversation can be resumed; of a program that is not known, its folder is all that is asked for."""
    layout = _layout(program)
    return bool(_find_files(layout, config_dir, conversation)) if layout else config_dir.is_dir()


def copy_conversation(program: str | None, config_dir: Path, conversation: str, into: Path) -> bool:
    """Copy a conversation into another configuration folder, as far as it is written; False when nothing of it is kept.

    The program may be at work on it: a line that it has not ended is left out. Raises OSError.
    """
    layout = _layout(program)
    if layout is None:
        return False
    copied = []
    for file in _find_files(layout, config_dir, conversation):
        place = make_private_dir(into) / file.relative_to(config_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        with _open_file(file) as source, place.open("wb") as target:
            if file.suffix == ".jsonl":
                copied.append(_copy_lines(source, target, layout.mark))
            else:  # packed, and so never written to again
                shutil.copyfileobj(source, target)
                copied.append(True)
    return any(copied)


def _copy_lines(source: IO[bytes], target: IO[bytes], mark: bytes) -> bool:
    """Copy whole lines; whether they hold the mark of a conversation that can be resumed."""
    has_mark = False
    for line in _read_lines(source):
        if line.endswith(b"\n"):
            target.write(line)
            has_mark = has_mark or mark in line
    return has_mark


def _layout(program: str | None) -> TranscriptFiles | None:
    """The places of a program's conversations; None where they are not known."""
    return load_descriptor(program).transcripts if program and program in AGENT_PROGRAMS else None


def _find_files(layout: TranscriptFiles, config_dir: Path, conversation: str) -> list[Path]:
    """The files of a conversation that can be resumed."""
    candidates = config_dir.glob(layout.pattern.format(glob.escape(conversation)))
    return [file for file in candidates if _has_mark(file, layout.mark)]


def _has_mark(file: Path, mark: bytes) -> bool:
    try:
        with _open_file(file) as lines:
            return not mark or any(mark in line for line in _read_lines(lines))
    except OSError:
        return False


def _read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Raises OSError for a line that no program writes, and for a file that has grown too large meanwhile."""
    read = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        read += len(line)
        if len(line) > MAX_LINE_BYTES or read > MAX_FILE_BYTES:
            raise OSError("what is kept there is not a conversation")
        yield line


def _open_file(file: Path) -> IO[bytes]:
    """A file of an agent's own folder, which may have put anything in its place: a link, or a pipe that nobody writes to.

    Raises OSError for all but a plain file of a size that a conversation can have.
    """
    stream = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        stream.close()
        raise OSError(f"{file} is not a conversation")
    return stream
