"""The interface between the wrapper and an agent program: how to start it, write to it and parse its output.

An adapter is pure: it starts no process and opens no pipe. The wrapper calls, in this order:

    agent = create_agent(spec.program, spec.mode, spec.argv)
    agent.prepare(spec, run_dir)              # writes configuration into spec.config_dir; always first, once
    argv = agent.command(spec)
    env = spec.env | agent.environment(spec)  # the agent's additions win
    write(agent.open(prompt))                 # first lines for stdin

and then for every line of stdout, in the order read:

    events = agent.parse(line)                # with or without its newline
    write(agent.take_replies())               # replies that the program waits for; after EVERY parse

`send`, `interrupt`, `answer` and `end` return bytes for stdin at any time; every chunk ends in a newline. An
empty list means that there is nothing to send now: the adapter either stored the request and delivers it through
a later `take_replies()` (a message that came before the conversation was open), or cannot do it (the wrapper then
uses signals). After `end()` the wrapper writes, closes stdin and waits for the process to exit: only that
ends a run.

`delta` events are already redacted (a secret may be cut across pieces) and limited to four a second per
block; all other events carry whole texts, which the wrapper redacts with `AgentEvent.redact_secrets(secrets)`.

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
    """The adapter of one program for one run."""

    one_turn: bool
    """True when the program works only on the prompt of `open`, after which its stdin is closed."""

    joins_turn: bool
    """True when a message that is sent during a turn joins it, so that the wrapper holds one that is to wait for its end."""

    @property
    def state(self) -> AgentState:
        """The program's state, as far as its stream shows it."""

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        """Write the program's configuration (directories 0700, files 0600) into `spec.config_dir`.

        The coordination MCP server writes its `signal.json` into `run_dir`, where the run's attached files are too.
        """

    def command(self, spec: RunSpec) -> list[str]:
        """Build the argv to start in `spec.workspace`."""

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """Build the environment that this program needs in addition to `spec.env`."""

    def open(self, prompt: str) -> list[bytes]:
        """Return the first lines for stdin, which start the work on `prompt`."""

    def parse(self, line: bytes) -> list[AgentEvent]:
        """Parse one line of stdout into events. Never raises: an unknown line becomes `raw`."""

    def take_replies(self) -> list[bytes]:
        """Return, for stdin, the replies that the program has waited for since the last call."""

    def send(self, uuid: str, body: str) -> list[bytes]:
        """Return the lines that send a message. A `receipt` event with this uuid follows on the stream."""

    def interrupt(self) -> list[bytes]:
        """Return the lines that stop the current turn but not the conversation."""

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        """Return the lines that reply to a `question`, `approval` or `plan` event.

        `answer`: {request, behavior: "allow"|"deny", message?, scope?: "once"|"run", answers?: {question: choice}}. For a
        plan the message is the approved text, or what must change. For an unknown request (withdrawn meanwhile) the list
        is empty.
        """

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        """Return the lines that change the model, None when the program cannot. A `model` event with this uuid follows."""

    def end(self) -> list[bytes]:
        """Return the lines that ask the program to finish the conversation and exit."""

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        """Return an `error` event when the program failed without an explanation on stdout, else None."""
