"""Whether an agent's program has kept a conversation: it writes one down a little after it has named it.

Only this much is known here of where the programs keep what they remember.
"""

from __future__ import annotations

import glob
from pathlib import Path

KEPT = {
    "claude": ("projects/*/{}.jsonl", b'"type":"user"'),
    "codex": ("sessions/*/*/*/rollout-*-{}.jsonl*", b""),
}
"""Where below its configuration folder a program keeps a conversation, and what a file that can be resumed holds."""


def is_kept(program: str | None, config_dir: Path, conversation: str) -> bool:
    """Whether a conversation can be resumed; of a program that is not known, its folder is all that is asked for."""
    if program not in KEPT:
        return config_dir.is_dir()
    pattern, mark = KEPT[program]
    return any(_holds(file, mark) for file in config_dir.glob(pattern.format(glob.escape(conversation))))


def _holds(file: Path, mark: bytes) -> bool:
    try:
        with file.open("rb") as lines:
            return not mark or any(mark in line for line in lines)
    except OSError:
        return False
