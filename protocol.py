"""The agent programs that there are, and the payloads of events as a wrapper sends them and the server reads them.

The standard library alone, because a wrapper has no Pydantic, and nothing of this project, because everything may import
it. Each field has a default, because a wrapper of another version may leave it out; keys that are not named here are kept
as they came. The server reads a payload into its shape with `tickets/shared/payloads.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """An agent program as everything but its own folder knows it.

    `built_in`: part of Mission Control, so nothing is looked for on the machine. `has_screen`: it can show a screen of its
    own, on which a person takes a conversation over. `can_fork`: a conversation can begin with a copy of another one.
    `can_join`: a person can take part beside the worker. `variables`: environment variables that its agents are given
    where the program has no log-in of its own.
    """

    title: str
    built_in: bool = False
    has_screen: bool = False
    can_fork: bool = False
    can_join: bool = False
    variables: tuple[str, ...] = ()

    @property
    def log_in_variables(self) -> tuple[str, ...]:
        """The variables of which each logs the program in; one that names an address does not."""
        return tuple(name for name in self.variables if not name.endswith("_URL"))


CLAUDE_VARIABLES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN")
CODEX_VARIABLES = ("OPENAI_API_KEY", "CODEX_API_KEY")

AGENT_PROGRAMS: Mapping[str, AgentProgram] = MappingProxyType(
    {
        "script": AgentProgram("Script", built_in=True),
        "claude": AgentProgram("Claude Code", has_screen=True, can_fork=True, variables=CLAUDE_VARIABLES),
        "codex": AgentProgram("Codex", has_screen=True, can_fork=True, can_join=True, variables=CODEX_VARIABLES),
    }
)
"""Every agent program by the name of its folder in `workers/agents/`, where its descriptor is; a new one is a line here."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer that a question offers."""

    label: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a person; the answer may always be in other words than those of its choices."""

    text: str = ""
    header: str = ""
    choices: tuple[Choice, ...] = ()
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """The fields that the payload of every event may have: its place in the conversation."""

    block: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class QuestionPayload(Payload):
    """The payload of `agent.question`, and the question of a verdict."""

    request: str = ""
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalPayload(Payload):
    """The payload of `agent.approval`: the agent waits for leave to use a tool."""

    request: str = ""
    tool: str = ""
    title: str = ""
    input: Any = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WithdrawnPayload(Payload):
    """The payload of `agent.withdrawn`: a request that no longer waits."""

    request: str = ""


@dataclass(frozen=True, slots=True)
class TextPayload(Payload):
    """The payload of an event that is mainly text: what an agent says or thinks, is told, or reports of itself."""

    text: str = ""
    title: str = ""
    message: str = ""
    level: str = "info"
    source: str = ""
    uuid: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCallPayload(Payload):
    """The payload of `agent.tool_call`."""

    call: str = ""
    name: str = ""
    title: str = ""
    input: Any = None


@dataclass(frozen=True, slots=True)
class ToolResultPayload(Payload):
    """The payload of `agent.tool_result`, which belongs to the call of that name."""

    call: str = ""
    output: str = ""
    error: bool = False
    exit_code: int | None = None
    seconds: float | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptPayload(Payload):
    """The payload of `agent.receipt`: how far a message to the agent has come."""

    uuid: str = ""
    state: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionPayload(Payload):
    """The payload of `agent.session`: the program that answers, and the name of its conversation."""

    conversation_id: str = ""
    program: str = ""
    model: str = ""
    version: str = ""


PAYLOADS: Mapping[str, type[Payload]] = MappingProxyType(
    {
        "agent.question": QuestionPayload,
        "agent.approval": ApprovalPayload,
        "agent.withdrawn": WithdrawnPayload,
        "agent.tool_call": ToolCallPayload,
        "agent.tool_result": ToolResultPayload,
        "agent.receipt": ReceiptPayload,
        "agent.session": SessionPayload,
    }
    | dict.fromkeys(
        (
            "agent.text",
            "agent.thinking",
            "agent.input",
            "agent.error",
            "agent.notice",
            "agent.progress",
            "agent.step",
        ),
        TextPayload,
    )
)
"""The shape of a payload by the type of its event; the payloads of other types have none."""
