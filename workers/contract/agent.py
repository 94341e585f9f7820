"""What the wrapper needs to know of an agent's program: how to start it, feed it, and read it.

An agent is pure: it starts no process and opens no pipe. The wrapper calls, in this order:

    agent = create_agent(spec.program)
    agent.prepare(spec, run_dir)              # writes configuration into spec.config_dir; always first, once
    argv = agent.command(spec)
    env = spec.env | agent.environment(spec)  # the agent's additions win
    write(agent.open(prompt))                 # first lines for stdin

and then for every line of stdout, in the order read:

    events = agent.parse(line)                # line without its newline is fine, and so is one with it
    write(agent.outbox())                     # replies that the program waits for; drained after EVERY parse

`send`, `interrupt`, `answer` and `end` return bytes for stdin at any time; every chunk ends in a newline. An
empty list means that there is nothing to send now: the agent either kept the request and delivers it through
a later `outbox()` (a message that came before the conversation was open), or cannot do it (the wrapper then
uses signals). After `end()` the wrapper writes, closes stdin and waits for the process to exit: only that
ends a run.

`delta` events are already redacted (a secret may be cut across pieces) and thinned to four a second per
block; all other events carry whole texts, for the wrapper to redact with `AgentEvent.redact_secrets(secrets)`.

`state` follows the stream: `starting` until the first sign of work, then `running`, `waiting` (for an answer
of a person) or `idle`. A `result` event ends a turn, not a run. The `session` event names the conversation to
resume: a program may choose its own, whatever `spec.conversation_id` proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from protocol import AgentState

from .agent_events import AgentEvent
from .spec import RunSpec


class AgentAdapter(Protocol):
    """One run of one program."""

    one_turn: bool
    """Whether the program works on what `open` gave it and nothing else: its stdin is closed after that."""

    @property
    def state(self) -> AgentState:
        """What the program is doing, as far as its stream has told."""

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        """Write the program's configuration (folders 0700, files 0600) into `spec.config_dir`.

        `run_dir` is where the coordination MCP server leaves its `signal.json`.
        """

    def command(self, spec: RunSpec) -> list[str]:
        """The argv to start in `spec.workspace`."""

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """What this program needs in its environment beyond `spec.env`."""

    def open(self, prompt: str) -> list[bytes]:
        """The first lines for stdin, which start the work on `prompt`."""

    def parse(self, line: bytes) -> list[AgentEvent]:
        """The events of one line of stdout. Never raises; what it does not know becomes `raw`."""

    def take_replies(self) -> list[bytes]:
        """Replies which the program waits for since the last call, for stdin."""

    def send(self, uuid: str, body: str) -> list[bytes]:
        """A message to the agent; a `receipt` event with this uuid follows on the stream."""

    def interrupt(self) -> list[bytes]:
        """Stop the current turn and keep the conversation."""

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        """Reply to a `question` or `approval` event.

        `answer`: {request, behavior: "allow"|"deny", message?, scope?: "once"|"run", answers?: {question:
        choice}}. An unknown request (withdrawn meanwhile) gives nothing.
        """

    def end(self) -> list[bytes]:
        """Ask the program to finish the conversation and exit by itself."""

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        """The `error` event of a program that ended badly without having said why on stdout; else None."""
