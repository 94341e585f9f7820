"""Scripts for the model server: a conversation's own prompt says what the model answers.

Directives stand in double square brackets; each is one answer of the model:

    [[bash: CMD]]             call the program's shell tool
    [[tool: NAME {json}]]     call a tool, for Codex `SERVER/NAME` with its namespace; ((..)) in the JSON becomes [[..]]
    [[say: TEXT]]             say something and end the turn
    [[error: STATUS]]         answer every attempt with an HTTP error
    [[flaky: N STATUS]]       answer the first N attempts with an HTTP error, then say RECOVERED
    [[limit: EPOCH]]          the account's allowance is used up until then
    [[drop]]                  break the connection in the middle of a stream
    [[hang: SECONDS]]         begin to stream, fall silent, then say HUNG

and these change the next answer: `[[sleep: SECONDS]]` before it, `[[slow: SECONDS]]` over its streaming,
`[[think: TEXT]]` a thought and `[[text: TEXT]]` a text in front of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

DEFAULT = "[[bash: echo hello > out.txt]][[say: DONE: wrote out.txt]]"
_DIRECTIVE = re.compile(
    r"\[\[(bash|tool|say|error|flaky|limit|drop|hang|sleep|slow|think|text)(?::\s*(.*?))?\]\]", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Step:
    """One answer of the model; `sleep` and `slow` are seconds."""

    kind: str = "say"
    argument: str = "DONE"
    sleep: float = 0.0
    slow: float = 0.0
    think: str = ""
    text: str = ""

    @property
    def calls_tool(self) -> bool:
        return self.kind in ("bash", "tool")

    @property
    def tool(self) -> tuple[str, dict[str, Any]]:
        """Name and input of the tool that a `tool` step calls."""
        name, _, given = self.argument.partition(" ")
        return name, json.loads((given or "{}").replace("((", "[[").replace("))", "]]"))


def is_script(text: str) -> bool:
    """Whether a text has directives."""
    return _DIRECTIVE.search(text) is not None


def parse(text: str) -> list[Step]:
    """The answers that a text asks for, in order."""
    steps, coming = [], Step()
    for kind, argument in _DIRECTIVE.findall(text):
        argument = argument.strip()
        if kind in ("sleep", "slow"):
            coming = (
                replace(coming, sleep=float(argument)) if kind == "sleep" else replace(coming, slow=float(argument))
            )
        elif kind in ("think", "text"):
            coming = replace(coming, think=argument) if kind == "think" else replace(coming, text=argument)
        else:
            steps.append(replace(coming, kind=kind, argument=argument))
            coming = Step()
    return steps


def step_at(text: str, index: int) -> Step:
    """The answer number `index` (from 0) of a script; "DONE" where it is over."""
    steps = parse(text if is_script(text) else DEFAULT)
    return steps[index] if index < len(steps) else Step()


def pieces(text: str) -> list[str]:
    """A text in the pieces in which it is streamed, at most 40."""
    size = max(6, -(-len(text) // 40))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]
