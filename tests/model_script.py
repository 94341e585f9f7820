"""Scripts for the model server, written in the prompt of a conversation.

Directives are in double square brackets, and each is one response of the model:

    [[bash: CMD]]             call the program's shell tool
    [[tool: NAME {json}]]     call a tool, for Codex `SERVER/NAME` with its namespace; ((..)) in the JSON becomes [[..]]
    [[say: TEXT]]             say something and end the turn
    [[error: STATUS]]         answer every attempt with an HTTP error
    [[flaky: N STATUS]]       answer the first N attempts with an HTTP error, then say RECOVERED
    [[limit: EPOCH]]          report that the account has reached its usage limit until then
    [[drop]]                  break the connection in the middle of a stream
    [[hang: SECONDS]]         begin to stream, send nothing for a while, then say HUNG

and these change the next response: `[[sleep: SECONDS]]` delays it, `[[slow: SECONDS]]` extends its streaming,
`[[think: TEXT]]` puts a thought and `[[text: TEXT]]` a text before it.
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
    """A response of the model. `sleep` and `slow` are in seconds."""

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
        name, _, arguments = self.argument.partition(" ")
        return name, json.loads((arguments or "{}").replace("((", "[[").replace("))", "]]"))


def is_script(text: str) -> bool:
    """Return whether a text has directives."""
    return _DIRECTIVE.search(text) is not None


def parse(text: str) -> list[Step]:
    """Parse the directives of a text into the responses, in order."""
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
    """Return response `index` (from 0) of a script, or one that says "DONE" after its end."""
    steps = parse(text if is_script(text) else DEFAULT)
    return steps[index] if index < len(steps) else Step()


def pieces(text: str) -> list[str]:
    """Split a text into the pieces in which it is streamed, at most 40."""
    size = max(6, -(-len(text) // 40))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]
