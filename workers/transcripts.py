"""What an agent's program has kept of a conversation, which it writes down a little after it has named it.

Only this much is known here of where the programs keep what they remember.
"""

from __future__ import annotations

import glob
from pathlib import Path

from workers import files
from workers.folders import make_private

KEPT = {
    "claude": ("projects/*/{}.jsonl", b'"type":"user"'),
    "codex": ("sessions/*/*/*/rollout-*-{}.jsonl*", b""),
}
"""Where below its configuration folder a program keeps a conversation, and what a file that can be resumed holds."""


def is_kept(program: str | None, config_dir: Path, conversation: str) -> bool:
    """Whether a conversation can be resumed; of a program that is not known, its folder is all that is asked for."""
    return bool(_files(program, config_dir, conversation)) if program in KEPT else config_dir.is_dir()


def copy(program: str | None, config_dir: Path, conversation: str, into: Path) -> bool:
    """Copy a conversation into another configuration folder, as far as it is written; False when it is not kept.

    The program may be at work on it: a line that it has not ended is left out. Raises OSError.
    """
    found = _files(program, config_dir, conversation)
    for file in found:
        place = make_private(into) / file.relative_to(config_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        written = file.read_bytes()
        files.replace(place, written[: written.rfind(b"\n") + 1] if file.suffix == ".jsonl" else written)
    return bool(found)


def _files(program: str | None, config_dir: Path, conversation: str) -> list[Path]:
    """The files of a conversation that can be resumed; none of a program of which nothing is known."""
    if program not in KEPT:
        return []
    pattern, mark = KEPT[program]
    found = config_dir.glob(pattern.format(glob.escape(conversation)))
    return [file for file in found if _holds(file, mark)]


def _holds(file: Path, mark: bytes) -> bool:
    try:
        with file.open("rb") as lines:
            return not mark or any(mark in line for line in lines)
    except OSError:
        return False
