"""The payloads of events, as a wrapper sends them and the server reads them.

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
