"""The agent programs, and what a run's wrapper and the server say to each other: values, messages, payloads of events.

The standard library alone, because a wrapper has no Pydantic, and nothing of this project, because everything may import
it. A run lives longer than an upgrade, so either side may be of another version: each field of a payload has a default, and
keys and kinds that are not named here are kept as they came. The server reads an event's payload into its shape with
`tickets/shared/payloads.py`; its models of the other messages (`tickets/runs/`) add the bounds of each field, and a test
holds them to the keys that stand here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

# ------------------------------------------------------------------------------------------------- runs and their ends


class RunMode(enum.StrEnum):
    HEADLESS = "headless"
    TUI = "tui"
    EXTERNAL = "external"


class RunState(enum.StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    IDLE = "idle"
    STOPPING = "stopping"
    ENDED = "ended"


AgentState = Literal["starting", "running", "waiting", "idle"]
"""State of an agent's program, as far as its stream tells."""

WrapperState = Literal[AgentState, "stopping"]
"""State of a run as its wrapper reports it: any `RunState` but the end."""

WrapperMode = Literal["headless", "tui"]
"""The modes of a run that has a wrapper; an external run is worked elsewhere."""

Permissions = Literal["workspace", "ask", "read_only", "unrestricted"]
"""The policy of a profile: its entry in `PERMISSION_POLICIES` explains it."""


@dataclass(frozen=True, slots=True)
class PermissionPolicy:
    """A policy as people choose it: its title, and one sentence on its effect."""

    title: str
    explanation: str


PERMISSION_POLICIES: Mapping[str, PermissionPolicy] = MappingProxyType(
    {
        "workspace": PermissionPolicy(
            "Work in the workspace",
            "Allows what stays inside the workspace, and the project's allowed commands; refuses everything else.",
        ),
        "ask": PermissionPolicy(
            "Ask a person",
            "Allows the same, and asks a person on the ticket about everything else.",
        ),
        "read_only": PermissionPolicy(
            "Read only",
            "Allows reading files and running commands that change nothing; refuses every change.",
        ),
        "unrestricted": PermissionPolicy(
            "Unrestricted",
            "Allows everything that your own user may do on this machine and its networks, except denied commands.",
        ),
    }
)
EARLIER_PERMISSIONS: Mapping[str, Permissions] = MappingProxyType(
    {"default": "workspace", "accept_edits": "workspace", "bypass": "unrestricted"}
)
"""The names of policies before schema 0007, with the policy that took the place of each."""
DENIED_COMMANDS = ("git push",)
"""Commands that leave the branch of a run: refused under every policy but `unrestricted`."""
COMMAND_PATTERN = r"^(?!-)[\w./~+-]+( [\w./@%+=:,~-]+)*$"
"""An allowed or denied command: a program and its first arguments, without anything that a shell or a rule interprets."""


class Outcome(enum.StrEnum):
    """End of a run. Each but `LOST`, which the server finds for itself, is a verdict of its wrapper's report."""

    DONE = "done"
    REVIEW = "review"
    CHANGES = "changes"
    QUESTION = "question"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    STOPPED = "stopped"
    USAGE_LIMITED = "usage_limited"
    PROTOCOL_VIOLATION = "protocol_violation"


AgentVerdict = Literal["done", "review", "changes", "question"]
AGENT_VERDICTS: frozenset[str] = frozenset(get_args(AgentVerdict))
"""The outcomes that only an agent itself can report."""


class Failure(enum.StrEnum):
    """Classes of failure. The consequence of each for its ticket is decided in `tickets/runs/retry_policy.py`."""

    AUTHENTICATION = "authentication"
    RATE_LIMIT = "rate_limit"
    USAGE_LIMIT = "usage_limit"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    CONTEXT_OVERFLOW = "context_overflow"
    TOOL_DENIED = "tool_denied"
    PROTOCOL_VIOLATION = "protocol_violation"
    TIMEOUT = "timeout"
    CRASH = "crash"
    KILLED = "killed"
    ENVIRONMENT = "environment"
    BUDGET = "budget"
    CHECK_FAILED = "check_failed"
    AGENT_FAILED = "agent_failed"


FAILURES: Mapping[str, str] = MappingProxyType(
    {
        Failure.AUTHENTICATION: "The agent's program is not logged in or was refused.",
        Failure.RATE_LIMIT: "Too many requests at once; the service asked to slow down.",
        Failure.USAGE_LIMIT: "The account's allowance is used up until it is reset.",
        Failure.SERVER_ERROR: "The model service failed.",
        Failure.NETWORK: "The model service could not be reached.",
        Failure.CONTEXT_OVERFLOW: "The conversation no longer fits the model.",
        Failure.TOOL_DENIED: "The agent needed a tool that its permissions deny.",
        Failure.PROTOCOL_VIOLATION: "The run ended without a verdict.",
        Failure.TIMEOUT: "The run passed one of its time limits.",
        Failure.CRASH: "The agent's program ended unexpectedly.",
        Failure.KILLED: "The agent's program was killed from outside.",
        Failure.ENVIRONMENT: "Program, model, workspace or settings are unusable.",
        Failure.BUDGET: "The allowance of money, tokens or turns is spent.",
        Failure.CHECK_FAILED: "The project's check command failed, or evidence that it requires is missing.",
        Failure.AGENT_FAILED: "The agent gave up or reported an error of its own.",
    }
)
"""The meaning of each class of failure."""


class StopCode(enum.StrEnum):
    """Reason that a run must end: the first seven by the server, the others by its wrapper."""

    PARKED = "parked"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    BLOCKED = "blocked"
    OPERATOR = "operator"
    BUDGET = "budget"
    UNANSWERED = "timeout"
    STALE = "stale"
    SIGNAL = "signal"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of one run: seconds, bytes, and None where the profile sets no bound."""

    startup_seconds: float = 60
    silence_seconds: float = 900
    turn_seconds: float = 3600
    run_seconds: float = 14400
    check_seconds: float = 900
    grace_seconds: float = 8
    turns: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    spool_bytes: int = 64 * 1024 * 1024
    line_bytes: int = 1024 * 1024


Price = TypeVar("Price")


def find_price(prices: Mapping[str, Price], model: str) -> Price | None:
    """Find the price of a model: that of the longest pattern which matches its name, or None."""
    patterns = [pattern for pattern in prices if fnmatchcase(model, pattern)]
    return prices[max(patterns, key=len)] if patterns else None


# --------------------------------------------------------------------------------------------------------- heartbeat


class DeliveryMode(enum.StrEnum):
    """Way in which a message reaches an agent at work: after its turn, or by an end of it."""

    QUEUE = "queue"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class HeartbeatMessage:
    """A wrapper's heartbeat, `POST /runs/<run>/heartbeat`."""

    state: WrapperState
    pid: int | None = None
    pid_started: str | None = None
    boot_id: str | None = None
    last_run_seq: int = 0
    agent_pid: int | None = None


@dataclass(frozen=True, slots=True)
class StopOrder:
    """Order to end a run. `code` is a `StopCode`, or another one of a newer server."""

    reason: str
    code: str
    grace_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OfferedMessage:
    """A message for the agent, offered with each heartbeat until its receipt has arrived."""

    id: int
    uuid: str
    body: str
    mode: str = DeliveryMode.QUEUE.value


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """The answer to a heartbeat. `answers` are {request, ...}, `interrupt` is {uuid}, `model` is {uuid, model}."""

    stop: StopOrder | None = None
    messages: Sequence[OfferedMessage] = ()
    answers: Sequence[Mapping[str, Any]] = ()
    interrupt: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None


class ReceiptState(enum.StrEnum):
    """Progress of a message to the agent."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    ACCEPTED = "accepted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"


# ------------------------------------------------------------------------------------------------------------ report

MAX_CLAIMS = 200
"""Claims of one report."""
MAX_RUN_PORTS = 20
"""Ports that a project may reserve for each of its runs."""


class ProofKind(enum.StrEnum):
    """The kind of proof that an agent names for a claim.

    `check` is the project's check command as Mission Control ran it, `event` a command of the run or the number of its
    event, `diff` a line of the change (`src/a.py:10`), `route` an address that Mission Control has fetched.
    """

    CHECK = "check"
    EVENT = "event"
    DIFF = "diff"
    ROUTE = "route"


MAX_PROOF_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ClaimMessage:
    """Statement of the agent about its work. `item` is the index of the acceptance item that it is about.

    `proof` is {kind, ref}, with the kind a `ProofKind`.
    """

    kind: str = "claim"
    text: str = ""
    item: int | None = None
    proof: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ObservedCommit:
    """A commit of the run's branch."""

    sha: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class ObservedCheck:
    """One run of the project's check command. `exit_code` is None when it was ended early, and `tail` ends its output."""

    argv: Sequence[str]
    exit_code: int | None = None
    seconds: float = 0
    sha256: str | None = None
    tail: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Observations:
    """Facts of a run's workspace, observed by its wrapper. `error` names what could not be observed."""

    base_sha: str | None = None
    head_sha: str | None = None
    tree_sha: str | None = None
    commits: Sequence[ObservedCommit] = ()
    files_changed: int = 0
    insertions: int = 0
    deletions: int = 0
    diff_sha256: str | None = None
    dirty: Sequence[str] = ()
    check: ObservedCheck | None = None
    check_base: ObservedCheck | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReportMessage:
    """The one final report of a run, `POST /runs/<run>/report`.

    `failure` is {class, message, retry_at}. `terminal` and `transcript_tail` come with a verdict that the agent did not give.
    """

    verdict: str
    summary: str = ""
    question: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()
    failure: Mapping[str, Any] | None = None
    exit_code: int | None = None
    usage: Mapping[str, Any] | None = None
    conversation_id: str | None = None
    observations: Mapping[str, Any] | None = None
    terminal: Mapping[str, Any] | None = None
    transcript_tail: str | None = None


# ------------------------------------------------------------------------------------------------------------ events

AgentEventKind = Literal[
    "session",
    "state",
    "text",
    "thinking",
    "delta",
    "tool_call",
    "tool_result",
    "question",
    "approval",
    "withdrawn",
    "input",
    "receipt",
    "task",
    "usage",
    "retry",
    "error",
    "result",
    "step",
    "notice",
    "raw",
    "progress",
    "coordination",
    "plan",
    "checklist",
    "model",
]
AGENT_EVENT_KINDS: frozenset[str] = frozenset(get_args(AgentEventKind))


class EventType(enum.StrEnum):
    """Types of the events that a wrapper sends: `agent.` and a kind, or `run.` and a step of the wrapper itself."""

    SESSION = "agent.session"
    STATE = "agent.state"
    TEXT = "agent.text"
    THINKING = "agent.thinking"
    DELTA = "agent.delta"
    TOOL_CALL = "agent.tool_call"
    TOOL_RESULT = "agent.tool_result"
    QUESTION = "agent.question"
    APPROVAL = "agent.approval"
    WITHDRAWN = "agent.withdrawn"
    INPUT = "agent.input"
    RECEIPT = "agent.receipt"
    TASK = "agent.task"
    USAGE = "agent.usage"
    RETRY = "agent.retry"
    ERROR = "agent.error"
    RESULT = "agent.result"
    STEP = "agent.step"
    NOTICE = "agent.notice"
    RAW = "agent.raw"
    PROGRESS = "agent.progress"
    COORDINATION = "agent.coordination"
    PLAN = "agent.plan"
    CHECKLIST = "agent.checklist"
    MODEL = "agent.model"
    RUN_STARTED = "run.started"
    RUN_ENDED = "run.ended"
    CHECK_STARTED = "run.check_started"
    CHECK_ENDED = "run.check_ended"
    RUN_OUTPUT = "run.output"


MAX_BATCH_EVENTS = 500
"""Events of one request."""


class MessageKind(enum.StrEnum):
    """The kinds of agent events that have an entry of their own in the conversation."""

    TEXT = "text"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"
    INPUT = "input"
    QUESTION = "question"
    APPROVAL = "approval"
    NOTICE = "notice"
    ERROR = "error"


COORDINATION = "mc-coord"
"""The name of the MCP server with the coordination tools."""


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of the ticket that a run is given, in `attachments.json` of its directory.

    `path` is that of the run's own copy, empty for a file that is left to the tool `mc_get_attachment`. `is_shown`: an
    image that is handed over with the prompt.
    """

    id: int
    name: str
    path: str
    media_type: str
    size: int
    is_shown: bool = False


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """An agent program as everything but its own folder knows it.

    `built_in`: part of Mission Control, so nothing is looked for on the machine. `has_screen`: it can show a screen of its
    own, on which a person takes a conversation over. `can_fork`: a conversation can begin with a copy of another one.
    `can_join`: a person can take part beside the worker. `can_change_model`: a headless run can go on with another model,
    and with `can_change_model_on_screen` a screen too. `reads_messages`: a text that is sent during a run reaches it.
    `variables`: environment variables that its agents are given where the program has no log-in of its own.
    """

    title: str
    built_in: bool = False
    reads_messages: bool = True
    has_screen: bool = False
    can_fork: bool = False
    can_join: bool = False
    can_change_model: bool = False
    can_change_model_on_screen: bool = False
    variables: tuple[str, ...] = ()

    @property
    def log_in_variables(self) -> tuple[str, ...]:
        """Variables of which each logs the program in, unlike one that names an address."""
        return tuple(name for name in self.variables if not name.endswith("_URL"))


CLAUDE_VARIABLES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN")
CODEX_VARIABLES = ("OPENAI_API_KEY", "CODEX_API_KEY")

AGENT_PROGRAMS: Mapping[str, AgentProgram] = MappingProxyType(
    {
        "script": AgentProgram("Script", built_in=True, reads_messages=False),
        "claude": AgentProgram(
            "Claude Code",
            has_screen=True,
            can_fork=True,
            can_change_model=True,
            can_change_model_on_screen=True,
            variables=CLAUDE_VARIABLES,
        ),
        "codex": AgentProgram(
            "Codex",
            has_screen=True,
            can_fork=True,
            can_join=True,
            can_change_model=True,
            variables=CODEX_VARIABLES,
        ),
    }
)
"""Every agent program by the name of its folder in `workers/agents/`, where its descriptor is; a new one is a line here."""


@dataclass(frozen=True, slots=True)
class QuestionChoice:
    """One answer that a question offers."""

    label: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a person. The answer may always be in other words than those of its choices."""

    text: str = ""
    header: str = ""
    choices: tuple[QuestionChoice, ...] = ()
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
    """The payload of an event that is mainly text: what an agent says or thinks, is told, or reports of itself.

    `refused` is the command (else the tool) that the run's permissions refused. `ignores_configuration`: the
    configuration in the workspace is not the one that was judged before the run.
    """

    text: str = ""
    title: str = ""
    message: str = ""
    level: str = "info"
    source: str = ""
    refused: str = ""
    ignores_configuration: bool = False
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


@dataclass(frozen=True, slots=True)
class CoordinationPayload(Payload):
    """The payload of `agent.coordination`: whether the program has the coordination tools: ready, restarting, missing."""

    state: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class PlanPayload(Payload):
    """The payload of `agent.plan`. Without a `request` the run ends with it, else its process waits for the decision."""

    request: str = ""
    text: str = ""


PLAN_SUMMARY = "The plan waits for a person."
PLAN_QUESTION: Mapping[str, Any] = {
    "request": "verdict",
    "questions": [
        {
            "text": "May it be carried out? Approve the plan above, or answer here with what must change in it.",
            "choices": [],
        }
    ],
}
"""The question with which a run ends whose plan waits for a person."""


ChecklistState = Literal["pending", "in_progress", "done"]


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One item of an agent's own checklist. `state` is a `ChecklistState`."""

    text: str = ""
    state: str = "pending"


@dataclass(frozen=True, slots=True)
class ChecklistPayload(Payload):
    """The payload of `agent.checklist`: the whole list as it stands now."""

    items: tuple[ChecklistItem, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelPayload(Payload):
    """The payload of `agent.model`: the program's answer to the order `uuid` to go on with another model."""

    uuid: str = ""
    model: str = ""
    ok: bool = False
    detail: str = ""


PAYLOADS: Mapping[str, type[Payload]] = MappingProxyType(
    {
        EventType.QUESTION: QuestionPayload,
        EventType.APPROVAL: ApprovalPayload,
        EventType.WITHDRAWN: WithdrawnPayload,
        EventType.TOOL_CALL: ToolCallPayload,
        EventType.TOOL_RESULT: ToolResultPayload,
        EventType.RECEIPT: ReceiptPayload,
        EventType.SESSION: SessionPayload,
        EventType.COORDINATION: CoordinationPayload,
        EventType.PLAN: PlanPayload,
        EventType.CHECKLIST: ChecklistPayload,
        EventType.MODEL: ModelPayload,
        EventType.TEXT: TextPayload,
        EventType.THINKING: TextPayload,
        EventType.INPUT: TextPayload,
        EventType.ERROR: TextPayload,
        EventType.NOTICE: TextPayload,
        EventType.PROGRESS: TextPayload,
        EventType.STEP: TextPayload,
    }
)
"""The shape of a payload by the type of its event; the payloads of other types have none."""
