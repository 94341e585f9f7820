"""The steps that the script agent runs: the fenced `sh` and `bash` blocks of a ticket."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

END_OF_DESCRIPTION = "<!-- end of description -->"
"""The line of a prompt after which nothing (comments, feedback) is ever run."""
PHASE_PATTERN = re.compile(r"<!-- phase: ([\w .-]+) -->")
"""The marker of a prompt that names the phase of the run."""
SHELLS = ("sh", "bash")
STEP_SECONDS = 600.0

_OPENING = re.compile(r"( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InvalidBlock(Exception):
    """A block's info string is invalid."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block. `cwd` is relative to the workspace, `env` is added to the environment, `phase` restricts it to one phase."""

    shell: str
    script: str
    timeout: float = STEP_SECONDS
    cwd: str = "."
    env: tuple[tuple[str, str], ...] = ()
    phase: str | None = None

    @property
    def title(self) -> str:
        """The first line that is not blank."""
        lines = (line.strip() for line in self.script.splitlines())
        return next((line for line in lines if line), "(empty)")


def parse_steps(prompt: str) -> list[Step]:
    """Parse the blocks of a prompt in order, except those inside other fences. Raises `InvalidBlock`.

    The info string may add `timeout=<seconds>`, `cwd=<folder>`, `phase=<name>` and `NAME=value` for the environment:

        ```sh timeout=60 cwd=docs LANG=C

    A block for another phase than the prompt's is left out.
    """
    described = prompt.partition(END_OF_DESCRIPTION)[0]
    phases = PHASE_PATTERN.findall(described)
    phase = phases[-1] if phases else None
    return [step for step in _find_blocks(described) if step.phase in (None, phase)]


def _find_blocks(described: str) -> list[Step]:
    block_steps: list[Step] = []
    fence, info, body, indent = "", "", [""], 0
    for line in described.splitlines():
        opening = _OPENING.fullmatch(line)
        if not fence:
            if opening:
                indent, fence, info, body = len(opening[1]), opening[2], opening[3], []
        elif opening and opening[2].startswith(fence) and not opening[3].strip():
            block_steps += _parse_step(info, body)
            fence = ""
        else:
            body.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
    return block_steps


def _parse_step(info: str, body: list[str]) -> list[Step]:
    """Parse the step of a closed fence. Empty for other languages."""
    language, _, rest = info.strip().partition(" ")
    if language not in SHELLS:
        return []
    options = dict(_parse_option(word) for word in _split_words(rest))
    timeout, cwd = options.pop("timeout", str(STEP_SECONDS)), options.pop("cwd", ".")
    phase = options.pop("phase", None)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", timeout):
        raise InvalidBlock(f"timeout={timeout} is not a number of seconds")
    if cwd.startswith("/") or ".." in cwd.split("/"):
        raise InvalidBlock(f"cwd={cwd} leaves the workspace")
    return [Step(language, "\n".join(body) + "\n", float(timeout), cwd, tuple(options.items()), phase)]


def _split_words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise InvalidBlock(f"{rest}: {error}") from error


def _parse_option(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise InvalidBlock(f"{word} is not of the form name=value")
    return name, value
