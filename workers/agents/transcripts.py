"""What an agent's program has kept of a conversation, which it writes down a little after it has named it.

Only this much is known here of where the programs keep what they remember.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from workers.host.private_dirs import make_private

KEPT = {
    "claude": ("projects/*/{}.jsonl", b'"type":"user"'),
    "codex": ("sessions/*/*/*/rollout-*-{}.jsonl*", b""),
}
"""Where below its configuration folder a program keeps a conversation, and what a file that can be resumed holds."""


LARGEST = 1 << 30
LONGEST = 1 << 26
"""Bytes of a file, and of a line of it."""


def is_kept(program: str | None, config_dir: Path, conversation: str) -> bool:
    """Whether a conversation can be resumed; of a program that is not known, its folder is all that is asked for."""
    return bool(_files(program, config_dir, conversation)) if program in KEPT else config_dir.is_dir()


def copy(program: str | None, config_dir: Path, conversation: str, into: Path) -> bool:
    """Copy a conversation into another configuration folder, as far as it is written; False when nothing of it is kept.

    The program may be at work on it: a line that it has not ended is left out. Raises OSError.
    """
    copied = []
    for file in _files(program, config_dir, conversation):
        place = make_private(into) / file.relative_to(config_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        with _opened(file) as source, place.open("wb") as target:
            if file.suffix == ".jsonl":
                copied.append(_copied(source, target, KEPT[program or ""][1]))
            else:  # packed, and so never written to again
                shutil.copyfileobj(source, target)
                copied.append(True)
    return any(copied)


def _copied(source: IO[bytes], target: IO[bytes], mark: bytes) -> bool:
    """Copy whole lines; whether they hold the mark of a conversation that can be resumed."""
    marked = False
    for line in _lines(source):
        if line.endswith(b"\n"):
            target.write(line)
            marked = marked or mark in line
    return marked


def _files(program: str | None, config_dir: Path, conversation: str) -> list[Path]:
    """The files of a conversation that can be resumed; none of a program of which nothing is known."""
    if program not in KEPT:
        return []
    pattern, mark = KEPT[program]
    found = config_dir.glob(pattern.format(glob.escape(conversation)))
    return [file for file in found if _holds(file, mark)]


def _holds(file: Path, mark: bytes) -> bool:
    try:
        with _opened(file) as lines:
            return not mark or any(mark in line for line in _lines(lines))
    except OSError:
        return False


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Raises OSError for a line that no program writes, and for a file that has grown too large meanwhile."""
    read = 0
    while line := file.readline(LONGEST + 1):
        read += len(line)
        if len(line) > LONGEST or read > LARGEST:
            raise OSError("what is kept there is not a conversation")
        yield line


def _opened(file: Path) -> IO[bytes]:
    """A file of an agent's own folder, which may have put anything in its place: a link, or a pipe that nobody writes to.

    Raises OSError for all but a plain file of a size that a conversation can have.
    """
    opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    found = os.fstat(opened.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
        opened.close()
        raise OSError(f"{file} is not a conversation")
    return opened
