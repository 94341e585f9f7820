"""The data model: enums, column types and tables of the store.

SQLite (through `pysqlite3`, WAL) is the default store and PostgreSQL the store of a fleet, both served by the same code.
Columns use only the types below, because STRICT tables on SQLite accept only INTEGER, REAL, TEXT and BLOB.
The rules are in `tickets/`, the engine and transactions in `database.py`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TextClause,
    UniqueConstraint,
    bindparam,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from protocol import DeliveryMode as DeliveryMode
from protocol import Failure as Failure
from protocol import MessageKind as MessageKind
from protocol import Outcome as Outcome
from protocol import RunMode as RunMode
from protocol import RunState as RunState

Answer = TypeVar("Answer")


Columns = TypeVarTuple("Columns")


class TicketStatus(enum.StrEnum):
    INBOX = "inbox"
    TODO = "todo"
    IN_PROGRESS = "in_progress"
    NEEDS_INPUT = "needs_input"
    IN_REVIEW = "in_review"
    WAITING = "waiting"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"


TERMINAL = frozenset({TicketStatus.DONE, TicketStatus.CANCELLED})


class Priority(enum.IntEnum):
    """Priority of a ticket, stored as its rank so that one index serves the dispatch order, and displayed in lower case."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Tag(enum.StrEnum):
    """Tags that every board offers. Others exist as soon as a ticket has them."""

    BUG = "bug"
    FEATURE = "feature"
    INFRA = "infra"
    REFACTOR = "refactor"
    RESEARCH = "research"
    REVIEW = "review"


class ActorKind(enum.StrEnum):
    HUMAN = "human"
    RUN = "run"
    ORCHESTRATOR = "orchestrator"
    TRIAGE = "triage"
    REVIEWER = "reviewer"
    SERVICE = "service"
    SYSTEM = "system"


class RelationKind(enum.StrEnum):
    BLOCKS = "blocks"
    DUPLICATE_OF = "duplicate_of"
    CAUSED_BY = "caused_by"
    CHILD_OF = "child_of"
    FORK_OF = "fork_of"
    RELATES_TO = "relates_to"
    RELATED_TO = "related_to"


class WakeKind(enum.StrEnum):
    TIME = "time"
    TICKET = "ticket"
    ANSWER = "answer"
    PROBE = "probe"
    USAGE_RESET = "usage_reset"
    AGENT_IDLE = "agent_idle"
    MANUAL = "manual"


class BlockReason(enum.StrEnum):
    DEPENDENCY = "dependency"
    NEEDS_HUMAN = "needs_human"
    CAPABILITY = "capability"
    ENVIRONMENT = "environment"
    EXHAUSTED = "exhausted"


class Planning(enum.StrEnum):
    """The wish of a ticket for a plan, which a person approves before it is carried out."""

    FIRST = "first"
    NONE = "none"


class PlanState(enum.StrEnum):
    """State of one version of a plan: it waits for a person, gave way to a newer version, or was decided."""

    PROPOSED = "proposed"
    REPLACED = "replaced"
    RETURNED = "returned"
    APPROVED = "approved"


class Gate(enum.StrEnum):
    """Condition that must be satisfied after an agent reports that its phase is complete."""

    NONE = "none"
    CHECKS = "checks"
    REVIEWER = "reviewer"
    PERSON = "person"


class Landing(enum.StrEnum):
    """Action on a ticket's branch with the approval that completes it."""

    LEAVE = "leave"
    MERGE = "merge"
    SQUASH = "squash"
    PUSH = "push"
    PULL_REQUEST = "pull_request"


class LandingState(enum.StrEnum):
    PENDING = "pending"
    FAILED = "failed"


class PhaseState(enum.StrEnum):
    PENDING = "pending"
    CURRENT = "current"
    PASSED = "passed"
    WAIVED = "waived"


class AgentKind(enum.StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    COUNCIL = "council"
    CONTROLLER = "controller"


class ReviewVerdict(enum.StrEnum):
    """Verdict of a reviewer on a commit or a folder, from the mildest to the strictest."""

    APPROVE = "approve"
    REQUEST_CHANGES = "request_changes"
    NEEDS_PERSON = "needs_person"


class Severity(enum.StrEnum):
    """Severity of a finding, from the gravest."""

    CRITICAL = "CRITICAL"
    IMPORTANT = "IMPORTANT"
    MINOR = "MINOR"


class CommentKind(enum.StrEnum):
    COMMENT = "comment"
    QUESTION = "question"
    ANSWER = "answer"
    FEEDBACK = "feedback"
    VERDICT = "verdict"
    SYSTEM = "system"


class DeliveryState(enum.StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    ACCEPTED = "accepted"
    FAILED = "failed"
    EXPIRED = "expired"


class RequestState(enum.StrEnum):
    PENDING = "pending"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"


class EvidenceSource(enum.StrEnum):
    """Source of evidence: a claim of the worker, or a fact that Mission Control itself observed."""

    CLAIM = "claim"
    FACT = "fact"


class EvidenceStatus(enum.StrEnum):
    OK = "ok"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Scope(enum.StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"
    TRIAGE = "triage"
    REVIEWER = "reviewer"
    SERVICE = "service"


class TaskOutcome(enum.StrEnum):
    ACTED = "acted"
    NOOP = "noop"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


class Trigger(enum.StrEnum):
    TIMER = "timer"
    OPERATOR = "operator"
    EVENT = "event"


class CatchUp(enum.StrEnum):
    """How a task makes up for slots that it missed: not at all, by one run for all of them, or by one run for each."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class MissReason(enum.StrEnum):
    """Why a task did not do the work of a slot."""

    NOT_RUNNING = "not_running"
    ASLEEP = "asleep"
    DISABLED = "disabled"
    STILL_RUNNING = "still_running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    BUSY = "busy"


class InboxState(enum.StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    ACTED = "acted"
    FAILED = "failed"


class IncidentState(enum.StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class HealthStatus(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class AlertKind(enum.StrEnum):
    """The reason of an alert. A digest collects alerts of other kinds, and a test is sent from the settings."""

    NEEDS_YOU = "needs_you"
    INCIDENT = "incident"
    BLOCKED = "blocked"
    BUDGET = "budget"
    MESSAGE = "message"
    DONE = "done"
    DIGEST = "digest"
    TEST = "test"


class AlertState(enum.StrEnum):
    """State of an alert on one channel: an alert that was sent is settled when others need no longer react to it."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SETTLED = "settled"


class DraftState(enum.StrEnum):
    """State of a request to examine a possible project: requested, ready, or failed."""

    ASKED = "asked"
    READY = "ready"
    FAILED = "failed"


class SlotAction(enum.StrEnum):
    """A person's request for a slot: set it aside, clean it, or delete one that was set aside."""

    SET_ASIDE = "set_aside"
    CLEAN = "clean"
    DELETE = "delete"


def now() -> datetime:
    """Return the current time, aware, in UTC (the only clock of the domain)."""
    return datetime.now(UTC)


def format_timestamp(value: datetime) -> str:
    """Format a time as ISO 8601 in UTC with microseconds and `Z`, of fixed width so that text order is time order."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def format_clock(value: datetime) -> str:
    """Format a time for people: `2026-03-01 09:00 UTC`, with seconds unless they are zero."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC" if value.second else "%Y-%m-%d %H:%M UTC")


class UtcTime(TypeDecorator[datetime]):
    """Column type of an aware time: fixed-width TEXT on SQLite, TIMESTAMPTZ on PostgreSQL. Naive values are refused."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a time zone cannot be stored.")
        return format_timestamp(value) if dialect.name == "sqlite" else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        read: Callable[[Any], datetime] = datetime.fromisoformat if dialect.name == "sqlite" else _in_utc
        return lambda value: None if value is None else read(value)


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def ago(span: timedelta = timedelta()) -> ColumnElement[datetime]:
    """Bind the time of execution minus `span`, for a prebuilt statement."""
    return bindparam(None, callable_=lambda: now() - span, type_=UtcTime(), unique=True)


class Json(TypeDecorator[Any]):
    """Column type of a JSON value: TEXT on SQLite, JSONB on PostgreSQL. Python None is SQL NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        from sqlalchemy.dialects.postgresql import JSONB  # at need: it loads the whole dialect

        return dialect.type_descriptor(JSONB(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        return lambda value: None if value is None else json.loads(value)


class Flag(TypeDecorator[bool]):
    """Column type of a boolean: INTEGER on SQLite, BOOLEAN on PostgreSQL."""

    impl = Integer
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else Boolean())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        return None if value is None else int(value) if dialect.name == "sqlite" else bool(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bool | None]:
        return lambda value: None if value is None else bool(value)


class Choice(TypeDecorator[enum.Enum]):
    """Column type of an enum member, stored as its value, with the CHECK constraint of `one_of()`."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[enum.Enum]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Integer() if issubclass(self.kind, int) else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.kind(value).value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], enum.Enum | None]:
        members: dict[Any, enum.Enum | None] = {None: None} | {member.value: member for member in self.kind}
        return members.__getitem__


class Numbers(TypeDecorator[Sequence[int]]):
    """Bind type of a list of integers as one value: JSON on SQLite, an array on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(BigInteger()))

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> Any:
        return json.dumps(list(value or ())) if dialect.name == "sqlite" else list(value or ())


def one_of(column: str, kind: type[enum.Enum]) -> CheckConstraint:
    values = ", ".join(repr(member.value) for member in kind)
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")


CONSTRAINT_NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


ENUMS: tuple[type[enum.Enum], ...] = (
    TicketStatus, Priority, ActorKind, RelationKind, WakeKind, Gate, PhaseState, RunState, Outcome, RunMode, Failure,
    AgentKind, CommentKind, MessageKind, DeliveryState, DeliveryMode, RequestState, EvidenceSource, EvidenceStatus,
    Scope, TaskOutcome, Trigger, InboxState, IncidentState, HealthStatus, DraftState, Landing, LandingState, Planning, PlanState,
    SlotAction, CatchUp, MissReason, AlertKind, AlertState, ReviewVerdict, Severity,
)  # fmt: skip


BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy at class creation, never changed
        str: Text(),
        int: BigId,
        float: Double().with_variant(REAL(), "sqlite"),
        bool: Flag(),
        datetime: UtcTime(),
        dict[str, Any]: Json(),
        list[Any]: Json(),
        **{kind: Choice(kind) for kind in ENUMS},
    }


def table(*constraints: Any) -> tuple[Any, ...]:
    """Build the arguments of every table: its constraints, and STRICT on SQLite."""
    return (*constraints, {"sqlite_strict": True})


def log_table(*constraints: Any) -> tuple[Any, ...]:
    """Build table arguments like `table`, for tables whose id is a cursor and is never reused."""
    return (*constraints, {"sqlite_strict": True, "sqlite_autoincrement": True})


def partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """An index of the rows that fulfil `where`.

    The condition is handed to each dialect by `migrations/env.py`: as an argument here it would load all of them.
    """
    return Index(name, *columns, unique=unique, info={"where": where})


def ticket_key(**kwargs: Any) -> Mapped[int]:
    return mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"), **kwargs)


class Counter(Base):
    """The last number of each series of identifiers, updated in the inserting transaction."""

    __tablename__ = "counters"
    __table_args__ = table()
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = table(one_of("gate", Gate), one_of("landing", Landing))
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    folder: Mapped[str]
    base_branch: Mapped[str]
    clone_url: Mapped[str | None]
    check_command: Mapped[list[Any] | None]
    setup_command: Mapped[list[Any] | None]
    teardown_command: Mapped[list[Any] | None]
    copy_files: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    link_files: Mapped[list[Any]] = mapped_column(default=list)
    ports: Mapped[int] = mapped_column(default=4, server_default="4")
    allowed_commands: Mapped[list[Any]] = mapped_column(default=list)
    denied_commands: Mapped[list[Any]] = mapped_column(default=list)
    network: Mapped[bool] = mapped_column(default=False)
    gate: Mapped[Gate] = mapped_column(default=Gate.PERSON)
    reviewer: Mapped[str | None]
    landing: Mapped[Landing] = mapped_column(default=Landing.LEAVE)
    push_address: Mapped[str | None]
    sign_landings: Mapped[bool] = mapped_column(default=False, server_default=false())
    ticket_template: Mapped[str] = mapped_column(default="", server_default="")
    phases: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    evidence_policy: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    live_hosts: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    max_runs: Mapped[int] = mapped_column(default=2)
    trusted_digest: Mapped[str | None]
    archived: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created: Mapped[datetime] = mapped_column(default=now)


class RepositoryState(Base):
    """The last observation of a project's repository on one host. A `problem` holds the project's tickets."""

    __tablename__ = "repository_states"
    __table_args__ = table()
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    problem: Mapped[str] = mapped_column(default="")
    notes: Mapped[list[Any]] = mapped_column(default=list)
    slots: Mapped[list[Any]] = mapped_column(default=list)
    checked: Mapped[datetime] = mapped_column(default=now)


class SlotRequest(Base):
    """A person's request for a slot, which a job of its host carries out."""

    __tablename__ = "slot_requests"
    __table_args__ = table(UniqueConstraint("project_id", "host", "slot"), one_of("action", SlotAction))
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    host: Mapped[str]
    slot: Mapped[str]
    action: Mapped[SlotAction]
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class ProjectDraft(Base):
    """A folder or clone URL to become a project, examined by a job that stores its result here."""

    __tablename__ = "project_drafts"
    __table_args__ = table(one_of("state", DraftState), Index("project_drafts_state", "state", "id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    clone: Mapped[bool]
    state: Mapped[DraftState] = mapped_column(default=DraftState.ASKED)
    facts: Mapped[dict[str, Any] | None]
    message: Mapped[str] = mapped_column(default="")
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)
    answered: Mapped[datetime | None]


class Program(Base):
    """The last observation of an agent program or tool on one host."""

    __tablename__ = "programs"
    __table_args__ = table()
    host: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str | None]
    version: Mapped[str | None]
    found: Mapped[bool]
    logged_in: Mapped[bool | None]
    advice: Mapped[str] = mapped_column(default="")
    checked: Mapped[datetime] = mapped_column(default=now)


class Profile(Base):
    """Settings for running a program: model, effort, mode, permissions and limits."""

    __tablename__ = "profiles"
    __table_args__ = table(one_of("mode", RunMode))
    name: Mapped[str] = mapped_column(primary_key=True)
    program: Mapped[str]
    provider: Mapped[str | None]
    model: Mapped[str | None]
    context_size: Mapped[int | None]
    effort: Mapped[str | None]
    mode: Mapped[RunMode] = mapped_column(default=RunMode.HEADLESS)
    permissions: Mapped[str] = mapped_column(default="workspace")
    plan_first: Mapped[bool] = mapped_column(default=False)
    argv: Mapped[list[Any]] = mapped_column(default=list)
    env_allow: Mapped[list[Any]] = mapped_column(default=list)
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    own_configuration: Mapped[bool] = mapped_column(default=True)
    instruction: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)


class Agent(Base):
    """One member of the team, person or program, to whom work can be assigned. `members` are the agents of a council."""

    __tablename__ = "agents"
    __table_args__ = table(one_of("kind", AgentKind))
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[AgentKind]
    title: Mapped[str] = mapped_column(default="")
    aliases: Mapped[list[Any]] = mapped_column(default=list)
    runnable: Mapped[bool] = mapped_column(default=False)
    profile: Mapped[str | None] = mapped_column(ForeignKey("profiles.name"))
    capacity: Mapped[int] = mapped_column(default=1)
    cooldown_until: Mapped[datetime | None]
    cooldown_reason: Mapped[str | None]
    members: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    created: Mapped[datetime] = mapped_column(default=now)


ACCEPTANCE_COLUMN = text("expected_check_in IS NOT NULL AND closed IS NULL")


TRIED = text("attempts > 0 AND closed IS NULL")


UNRANKED = 1_000_000
"""The rank of a ticket that nobody has put in order by hand."""


class Ticket(Base):
    """A ticket, with `moved` the time when it came into its current state.

    `rank` is its place in the queue of its project as a person ordered it, from 1, or `UNRANKED`.
    """

    __tablename__ = "tickets"
    __table_args__ = log_table(
        one_of("status", TicketStatus),
        one_of("priority", Priority),
        one_of("gate", Gate),
        one_of("planning", Planning),
        one_of("next_mode", RunMode),
        one_of("landing", LandingState),
        Index("tickets_by_status", "status", "archived", "updated", "id"),
        Index("tickets_by_priority", "status", "archived", "priority", "updated", "id"),
        Index("tickets_by_age", "status", "archived", "moved", "id"),
        Index("tickets_by_number", "status", "archived", "id"),
        partial_index(
            "tickets_wake_at",
            "wake_at",
            where=text("wake_at IS NOT NULL"),
        ),
        partial_index("tickets_check_in", "expected_check_in", where=ACCEPTANCE_COLUMN),
        partial_index("tickets_tried", "attempts", where=TRIED),
        Index("tickets_wake_ticket", "wake_ticket_id"),
        Index("tickets_assigned", "assigned_to", "status", "id"),
        Index("tickets_project", "project_id", "status", "id"),
        Index("tickets_updated", "updated", "id"),
        Index("tickets_closed", "status", "closed"),
        partial_index(
            "tickets_landing",
            "landing",
            "id",
            where=text("landing IS NOT NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    status: Mapped[TicketStatus]
    priority: Mapped[Priority] = mapped_column(default=Priority.NORMAL)
    assigned_to: Mapped[str | None]
    requester: Mapped[str]
    campaign_owner: Mapped[str | None]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    phase: Mapped[str | None]
    gate: Mapped[Gate] = mapped_column(default=Gate.PERSON)
    planning: Mapped[Planning | None]
    resume: Mapped[bool] = mapped_column(default=False)
    rank: Mapped[int] = mapped_column(default=UNRANKED, server_default=str(UNRANKED))
    next_mode: Mapped[RunMode | None]
    return_to: Mapped[str | None]
    not_before: Mapped[datetime | None]
    wake: Mapped[dict[str, Any] | None]
    wake_at: Mapped[datetime | None]
    wake_ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="SET NULL"))
    block: Mapped[dict[str, Any] | None]
    landing: Mapped[LandingState | None]
    landing_plan: Mapped[dict[str, Any] | None]
    expected_check_in: Mapped[datetime | None]
    failure_reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    faults: Mapped[int] = mapped_column(default=0)
    last_failure: Mapped[str | None]
    acceptance: Mapped[list[Any]] = mapped_column(default=list)
    conversation_id: Mapped[str | None]
    last_gate: Mapped[str | None]
    archived: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    event_seq: Mapped[int] = mapped_column(default=0)
    pruned_seq: Mapped[int] = mapped_column(default=0)
    created: Mapped[datetime] = mapped_column(default=now)
    updated: Mapped[datetime] = mapped_column(default=now)
    moved: Mapped[datetime] = mapped_column(default=now)
    closed: Mapped[datetime | None]


Index("tickets_queue", Ticket.status, Ticket.resume.desc(), Ticket.rank, Ticket.priority.desc(), Ticket.id)
"""The order of pickup, `tickets.shared.paging.QUEUE`."""


class TicketPhase(Base):
    __tablename__ = "ticket_phases"
    __table_args__ = table(UniqueConstraint("ticket_id", "position"), one_of("gate", Gate), one_of("state", PhaseState))
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    position: Mapped[int]
    name: Mapped[str]
    agent: Mapped[str | None]
    gate: Mapped[Gate]
    state: Mapped[PhaseState] = mapped_column(default=PhaseState.PENDING)
    choices: Mapped[list[Any]] = mapped_column(default=list)
    runbook: Mapped[str | None]
    note: Mapped[str | None]


class TicketTag(Base):
    __tablename__ = "ticket_tags"
    __table_args__ = table(Index("ticket_tags_by_tag", "tag", "ticket_id"))
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True)


class TriageNote(Base):
    """The result of triage for a ticket of the inbox that it has not moved: the proposed owner, if any, and the reason."""

    __tablename__ = "triage_notes"
    __table_args__ = table()
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    owner: Mapped[str | None]
    reason: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class TicketRelationship(Base):
    """A relationship `ticket_id <kind> other_id`, such as MC-1 blocks MC-2."""

    __tablename__ = "ticket_relationships"
    __table_args__ = table(
        UniqueConstraint("ticket_id", "kind", "other_id"),
        one_of("kind", RelationKind),
        Index("ticket_relationships_other", "other_id", "kind"),
        CheckConstraint("ticket_id <> other_id", name="two_tickets"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    kind: Mapped[RelationKind]
    other_id: Mapped[int] = ticket_key()
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class Attempt(Base):
    """A ticket that is one of several attempts at its parent. At most one is kept, and completes the parent."""

    __tablename__ = "attempts"
    __table_args__ = table(Index("attempts_by_parent", "parent_id"))
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    parent_id: Mapped[int] = ticket_key()
    kept: Mapped[bool] = mapped_column(default=False)


class BranchState(Base):
    """The last observation of a ticket's branch, and the result of the last trial merge into its base.

    `spans` are the touched lines of each file, counted in `tried_base`. `overlaps` are those that other open work touches.
    """

    __tablename__ = "branch_states"
    __table_args__ = table()
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    head_sha: Mapped[str]
    tree_sha: Mapped[str | None]
    base: Mapped[str | None]
    tried_base: Mapped[str | None]
    tried_head: Mapped[str | None]
    conflicts: Mapped[list[Any]] = mapped_column(default=list)
    spans: Mapped[dict[str, Any]] = mapped_column(default=dict)
    overlaps: Mapped[list[Any]] = mapped_column(default=list)
    problem: Mapped[str] = mapped_column(default="")
    checked: Mapped[datetime] = mapped_column(default=now)


class TicketContext(Base):
    __tablename__ = "ticket_context"
    __table_args__ = table(Index("ticket_context_by_ticket", "ticket_id", "id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    kind: Mapped[str]
    reference: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class TicketComment(Base):
    """A comment. `seq`, the ticket's event sequence at its time, orders comments and messages of the conversation."""

    __tablename__ = "ticket_comments"
    __table_args__ = log_table(
        Index("ticket_comments_by_ticket", "ticket_id", "seq"),
        one_of("kind", CommentKind),
        one_of("author_kind", ActorKind),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int | None]
    author: Mapped[str]
    author_kind: Mapped[ActorKind]
    kind: Mapped[CommentKind] = mapped_column(default=CommentKind.COMMENT)
    body: Mapped[str]
    data: Mapped[dict[str, Any] | None]
    seq: Mapped[int]
    created: Mapped[datetime] = mapped_column(default=now)


class TicketMessage(Base):
    """An entry of the conversation with the agent, derived from its events. A tool call and its result share a row.

    `seq` is the number of the event that created the row and its position, `changed` that of the last event to change it.
    """

    __tablename__ = "ticket_messages"
    __table_args__ = log_table(
        Index("ticket_messages_by_ticket", "ticket_id", "seq"),
        Index("ticket_messages_changed", "ticket_id", "changed"),
        UniqueConstraint("run_id", "block"),
        one_of("kind", MessageKind),
        Index("ticket_messages_created", "created"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    kind: Mapped[MessageKind]
    author: Mapped[str]
    block: Mapped[str | None]
    parent: Mapped[str | None]
    text: Mapped[str] = mapped_column(default="")
    data: Mapped[dict[str, Any] | None]
    seq: Mapped[int]
    changed: Mapped[int]
    created: Mapped[datetime] = mapped_column(default=now)


NOTIFIED_EVENTS = text("run_seq IS NULL")
"""Events of people and of Mission Control, without those reported by worker processes line by line."""


class TicketEvent(Base):
    """An event of the log. `id` is the cursor of every stream, and `seq` counts within a ticket.

    `block` is set on typing deltas only, which are deleted when their block is complete.
    """

    __tablename__ = "ticket_events"
    __table_args__ = log_table(
        UniqueConstraint("ticket_id", "seq"),
        UniqueConstraint("run_id", "run_seq"),
        Index("ticket_events_ts", "ts"),
        partial_index("ticket_events_told", "id", where=NOTIFIED_EVENTS),
        partial_index("ticket_events_told_by_actor", "actor", "id", where=NOTIFIED_EVENTS),
        partial_index(
            "ticket_events_told_by_ticket",
            "ticket_id",
            "id",
            where=NOTIFIED_EVENTS,
        ),
        partial_index(
            "ticket_events_told_by_type",
            "ticket_id",
            "event_type",
            "seq",
            where=NOTIFIED_EVENTS,
        ),
        partial_index(
            "ticket_events_typing",
            "run_id",
            "block",
            where=text("block IS NOT NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"))
    seq: Mapped[int | None]
    event_type: Mapped[str]
    payload_json: Mapped[dict[str, Any]]
    actor: Mapped[str]
    run_id: Mapped[int | None]
    run_seq: Mapped[int | None]
    block: Mapped[str | None]
    ts: Mapped[datetime] = mapped_column(default=now)


LIVE = text("state <> 'ended'")


class Run(Base):
    """One attempt at a ticket. A unique index ensures that at most one is live.

    `prompt` is the text as sent, without secrets. `waiting_since` is when the run last began to wait or had a request
    settled. An external run counts as silent from `silent_after`, which is `silence_seconds` after its last sign.
    `board_token_hash` is that of the token with which a run of an orchestrator works the board while it is live.
    """

    __tablename__ = "runs"
    __table_args__ = log_table(
        UniqueConstraint("ticket_id", "generation"),
        partial_index("runs_one_live", "ticket_id", unique=True, where=LIVE),
        partial_index("runs_live", "state", where=LIVE),
        Index("runs_started", "started"),
        Index("runs_ended", "ended"),
        partial_index("runs_board_token", "board_token_hash", unique=True, where=text("board_token_hash IS NOT NULL")),
        one_of("state", RunState),
        one_of("outcome", Outcome),
        one_of("mode", RunMode),
        one_of("failure", Failure),
        CheckConstraint("(state = 'ended') = (ended IS NOT NULL)", name="ended_has_time"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    generation: Mapped[int]
    agent: Mapped[str]
    phase: Mapped[str | None]
    profile: Mapped[str | None]
    program: Mapped[str | None]
    mode: Mapped[RunMode] = mapped_column(default=RunMode.HEADLESS)
    host: Mapped[str]
    tmux_target: Mapped[str | None]
    pid: Mapped[int | None]
    pid_started: Mapped[str | None]
    boot_id: Mapped[str | None]
    workspace: Mapped[str | None]
    repository: Mapped[str | None]
    branch: Mapped[str | None]
    base_sha: Mapped[str | None]
    conversation_id: Mapped[str | None]
    config_dir: Mapped[str | None]
    token_hash: Mapped[str] = mapped_column(unique=True)
    board_token_hash: Mapped[str | None]
    nonce: Mapped[str]
    resumes: Mapped[bool] = mapped_column(default=False)
    forks: Mapped[str | None]
    configuration: Mapped[dict[str, Any] | None]
    plans: Mapped[bool] = mapped_column(default=False)
    model: Mapped[str | None]
    model_order: Mapped[dict[str, Any] | None]
    checklist: Mapped[list[Any] | None]
    last_run_seq: Mapped[int] = mapped_column(default=0)
    state: Mapped[RunState] = mapped_column(default=RunState.STARTING)
    outcome: Mapped[Outcome | None]
    failure: Mapped[Failure | None]
    failure_detail: Mapped[str | None]
    stop_code: Mapped[str | None]
    stop_reason: Mapped[str | None]
    summary: Mapped[str | None]
    exit_code: Mapped[int | None]
    report_sha256: Mapped[str | None]
    refusals: Mapped[dict[str, Any]] = mapped_column(default=dict)
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    cache_read_tokens: Mapped[int] = mapped_column(default=0)
    cache_write_tokens: Mapped[int] = mapped_column(default=0)
    cost_usd: Mapped[float | None]
    turns: Mapped[int] = mapped_column(default=0)
    live_line: Mapped[str | None]
    prompt: Mapped[str | None] = mapped_column(deferred=True)
    waiting_since: Mapped[datetime | None]
    silence_seconds: Mapped[int | None]
    silent_after: Mapped[datetime | None]
    started: Mapped[datetime] = mapped_column(default=now)
    heartbeat: Mapped[datetime | None]
    slot_released: Mapped[datetime | None]
    """When it gave its slot back, as it waits for a person."""
    ended: Mapped[datetime | None]


class AgentSession(Base):
    """A conversation of an agent program, with the location of its transcript."""

    __tablename__ = "sessions"
    __table_args__ = table(Index("sessions_by_ticket", "ticket_id"))
    id: Mapped[str] = mapped_column(primary_key=True)
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="SET NULL"))
    program: Mapped[str]
    agent: Mapped[str | None]
    config_dir: Mapped[str | None]
    cwd: Mapped[str | None]
    origin: Mapped[str] = mapped_column(default="mc")
    started: Mapped[datetime] = mapped_column(default=now)
    last_seen: Mapped[datetime] = mapped_column(default=now)


UNDELIVERED = text("state IN ('expired', 'failed') AND dismissed IS NULL")


class QueuedMessage(Base):
    __tablename__ = "queued_messages"
    __table_args__ = log_table(
        Index("queued_messages_drain", "ticket_id", "state", "id"),
        Index("queued_messages_by_ticket", "ticket_id", "seq"),
        Index("queued_messages_changed", "ticket_id", "changed"),
        Index("queued_messages_state", "state", "created"),
        partial_index("queued_messages_undelivered", "ticket_id", where=UNDELIVERED),
        one_of("state", DeliveryState),
        one_of("mode", DeliveryMode),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int | None]
    author: Mapped[str]
    body: Mapped[str]
    mode: Mapped[DeliveryMode] = mapped_column(default=DeliveryMode.QUEUE)
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.QUEUED)
    tries: Mapped[int] = mapped_column(default=0)
    failure: Mapped[str | None]
    seq: Mapped[int]
    changed: Mapped[int]
    created: Mapped[datetime] = mapped_column(default=now)
    offered: Mapped[datetime | None]
    delivered: Mapped[datetime | None]
    accepted: Mapped[datetime | None]
    dismissed: Mapped[datetime | None]
    """When a person sent it again or dismissed it. Until then one that was not delivered needs a person."""


class Controller(Base):
    """The current controller of a conversation, under a lease until `until` that its page renews.

    `holder` and `asked_by` identify a page, so that two windows of one person are distinct.
    """

    __tablename__ = "controllers"
    __table_args__ = table()
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    holder: Mapped[str]
    name: Mapped[str]
    asked_by: Mapped[str | None]
    asked_name: Mapped[str | None]
    since: Mapped[datetime] = mapped_column(default=now)
    until: Mapped[datetime]


class RunRequest(Base):
    """A request of a running agent that waits for a tool approval or an answer."""

    __tablename__ = "run_requests"
    __table_args__ = table(
        UniqueConstraint("run_id", "request"),
        one_of("state", RequestState),
        Index("run_requests_by_ticket", "ticket_id", "state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    request: Mapped[str]
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    state: Mapped[RequestState] = mapped_column(default=RequestState.PENDING)
    answer: Mapped[dict[str, Any] | None]
    answered_by: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)
    answered: Mapped[datetime | None]


class TicketPlan(Base):
    """One version of a ticket's plan, as an agent proposed it or a person edited it. `request` waits in a live run."""

    __tablename__ = "ticket_plans"
    __table_args__ = log_table(
        UniqueConstraint("ticket_id", "version"),
        one_of("state", PlanState),
        one_of("author_kind", ActorKind),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    version: Mapped[int]
    run_id: Mapped[int | None]
    request: Mapped[str | None]
    author: Mapped[str]
    author_kind: Mapped[ActorKind]
    body: Mapped[str]
    state: Mapped[PlanState] = mapped_column(default=PlanState.PROPOSED)
    comment: Mapped[str | None]
    decided_by: Mapped[str | None]
    decided: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(default=now)


class LineComment(Base):
    """A reviewer's comment on a line of a file, numbered as in commit `commit_sha`, with the agent's answer.

    The commit is the head of the branch, or the commit that it was compared with for a line as it was (`is_old`).
    """

    __tablename__ = "line_comments"
    __table_args__ = log_table(Index("line_comments_by_ticket", "ticket_id", "id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    author: Mapped[str]
    path: Mapped[str]
    line: Mapped[int]
    is_old: Mapped[bool]
    commit_sha: Mapped[str]
    body: Mapped[str]
    answer: Mapped[str | None]
    answered_by: Mapped[str | None]
    resolved_by: Mapped[str | None]
    resolved: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(default=now)


class ReviewedCommit(Base):
    """The commit that a person reviewed last on a ticket."""

    __tablename__ = "reviewed_commits"
    __table_args__ = table()
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    commit_sha: Mapped[str]
    reviewed: Mapped[datetime] = mapped_column(default=now)


class CodeReview(Base):
    """A review by an agent or a council: of a ticket's changes at one commit, or of a `folder` of its project.

    `verdict` is None until it has ended, and for one that was withdrawn. `note` says why a verdict was only recorded.
    """

    __tablename__ = "code_reviews"
    __table_args__ = log_table(
        UniqueConstraint("ticket_id", "commit_sha", "reviewer"),
        Index("code_reviews_open", "ended", "id"),
        one_of("verdict", ReviewVerdict),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    reviewer: Mapped[str]
    commit_sha: Mapped[str]
    base_sha: Mapped[str | None]
    folder: Mapped[str | None]
    verdict: Mapped[ReviewVerdict | None]
    summary: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)
    ended: Mapped[datetime | None]


class ReviewAssessment(Base):
    """The part of one agent in a review, made by a run of a ticket of its own, with the findings as it reported them."""

    __tablename__ = "review_assessments"
    __table_args__ = table(
        UniqueConstraint("ticket_id"),
        Index("review_assessments_by_review", "review_id"),
        one_of("verdict", ReviewVerdict),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    review_id: Mapped[int] = mapped_column(ForeignKey("code_reviews.id", ondelete="CASCADE"))
    ticket_id: Mapped[int] = ticket_key()
    agent: Mapped[str]
    verdict: Mapped[ReviewVerdict | None]
    summary: Mapped[str] = mapped_column(default="")
    findings: Mapped[list[Any]] = mapped_column(default=list)
    settled: Mapped[datetime | None]


class ReviewFinding(Base):
    """A finding of a review at a line: the facts of that line comment, and the ticket that was created from it."""

    __tablename__ = "review_findings"
    __table_args__ = table(
        Index("review_findings_by_review", "review_id"),
        Index("review_findings_by_ticket", "created_ticket_id"),
        one_of("severity", Severity),
    )
    comment_id: Mapped[int] = mapped_column(ForeignKey("line_comments.id", ondelete="CASCADE"), primary_key=True)
    review_id: Mapped[int] = mapped_column(ForeignKey("code_reviews.id", ondelete="CASCADE"))
    severity: Mapped[Severity]
    category: Mapped[str]
    title: Mapped[str]
    found_by: Mapped[list[Any]] = mapped_column(default=list)
    created_ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="SET NULL"))


class Evidence(Base):
    __tablename__ = "evidence"
    __table_args__ = log_table(
        Index("evidence_by_ticket", "ticket_id", "id"),
        partial_index(
            "evidence_pending_routes",
            "id",
            where=text("kind = 'live_route' AND status = 'unknown'"),
        ),
        one_of("source", EvidenceSource),
        one_of("status", EvidenceStatus),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    kind: Mapped[str]
    source: Mapped[EvidenceSource]
    status: Mapped[EvidenceStatus]
    summary: Mapped[str]
    data: Mapped[dict[str, Any] | None]
    item: Mapped[int | None]
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class Attachment(Base):
    __tablename__ = "attachments"
    __table_args__ = table(Index("attachments_by_ticket", "ticket_id", "id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int | None]
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]
    stored_as: Mapped[str] = mapped_column(unique=True)
    author: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class Quarantined(Base):
    """A late write of a run that had lost its claim, stored for inspection and never applied."""

    __tablename__ = "quarantine"
    __table_args__ = log_table(Index("quarantine_by_ticket", "ticket_id", "id"), Index("quarantine_created", "created"))
    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = ticket_key()
    run_id: Mapped[int]
    kind: Mapped[str]
    reason: Mapped[str]
    payload: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class InboxItem(Base):
    __tablename__ = "inbox_items"
    __table_args__ = log_table(
        Index("inbox_items_state", "state", "id"),
        Index("inbox_items_by_ticket", "ticket_id", "kind", "created"),
        Index("inbox_items_settled", "settled"),
        Index("inbox_items_incident", "incident_id", "id"),
        one_of("state", InboxState),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"))
    run_id: Mapped[int | None]
    incident_id: Mapped[int | None]
    title: Mapped[str]
    body: Mapped[str] = mapped_column(default="")
    state: Mapped[InboxState] = mapped_column(default=InboxState.PENDING)
    lease_until: Mapped[datetime | None]
    delivered_to: Mapped[str | None]
    deliveries: Mapped[int] = mapped_column(default=0, server_default="0")
    action: Mapped[dict[str, Any] | None]
    failure: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)
    settled: Mapped[datetime | None]


class Incident(Base):
    __tablename__ = "incidents"
    __table_args__ = log_table(Index("incidents_state", "state", "last_seen"), one_of("state", IncidentState))
    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    severity: Mapped[str] = mapped_column(default="warning")
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="SET NULL"))
    state: Mapped[IncidentState] = mapped_column(default=IncidentState.OPEN)
    count: Mapped[int] = mapped_column(default=1)
    recurrence: Mapped[int] = mapped_column(default=0)
    acknowledged_by: Mapped[str | None]
    closed_by: Mapped[str | None]
    evidence: Mapped[str | None]
    escalations: Mapped[int] = mapped_column(default=0)
    first_seen: Mapped[datetime] = mapped_column(default=now)
    last_seen: Mapped[datetime] = mapped_column(default=now)
    opened: Mapped[datetime] = mapped_column(default=now)
    """When it was opened or reopened. Escalation counts from here."""


class AlertChannel(Base):
    """The rules of a channel. `kinds` maps each kind of alert that is sent to `now` or `digest`, `projects` lists slugs.

    `cursor` is the id of the last event that was read for it. `options` are its settings that are no secrets.
    """

    __tablename__ = "alert_channels"
    __table_args__ = table()
    name: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=False)
    kinds: Mapped[dict[str, Any]]
    projects: Mapped[list[Any]]
    quiet_hours: Mapped[str | None]
    digest_time: Mapped[str | None]
    options: Mapped[dict[str, Any]]
    cursor: Mapped[int] = mapped_column(default=0)
    changed: Mapped[datetime] = mapped_column(default=now)


class AlertDelivery(Base):
    """One alert on one channel, found by `key` so that each is delivered once.

    `due` is when it is to be sent or, with a `settlement`, when that is to be told; `reference` names what was sent.
    """

    __tablename__ = "alert_deliveries"
    __table_args__ = log_table(
        UniqueConstraint("channel", "key"),
        Index("alert_deliveries_due", "channel", "due"),
        Index("alert_deliveries_by_subject", "subject", "channel"),
        Index("alert_deliveries_by_ticket", "ticket_id"),
        Index("alert_deliveries_created", "created"),
        one_of("kind", AlertKind),
        one_of("state", AlertState),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str]
    key: Mapped[str]
    kind: Mapped[AlertKind]
    subject: Mapped[str | None]
    """Question, incident or ticket state whose end settles the alert."""
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"))
    alert: Mapped[dict[str, Any]]
    state: Mapped[AlertState] = mapped_column(default=AlertState.PENDING)
    reason: Mapped[str] = mapped_column(default="")
    in_digest: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    due: Mapped[datetime | None]
    reference: Mapped[str | None]
    settlement: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)
    sent: Mapped[datetime | None]


class PushSubscription(Base):
    """A browser that a person has subscribed to push notifications."""

    __tablename__ = "push_subscriptions"
    __table_args__ = table()
    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(unique=True)
    p256dh: Mapped[str]
    auth: Mapped[str]
    person: Mapped[str]
    agent: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)


class TelegramBot(Base):
    """The bot whose updates are received. `next_update` is stored with the effect of the update before it.

    `problem` says why its updates cannot be received. `changed` is the time of the last change of the row.
    """

    __tablename__ = "telegram_bots"
    __table_args__ = table()
    bot_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="")
    next_update: Mapped[int] = mapped_column(default=0)
    problem: Mapped[str] = mapped_column(default="")
    changed: Mapped[datetime] = mapped_column(default=now)


class TelegramCode(Base):
    """A person's open pairing code, as a hash. `attempts` counts the wrong codes that were sent since it was issued."""

    __tablename__ = "telegram_codes"
    __table_args__ = table()
    person: Mapped[str] = mapped_column(primary_key=True)
    code_hash: Mapped[str] = mapped_column(unique=True)
    attempts: Mapped[int] = mapped_column(default=0)
    expires: Mapped[datetime]


class TelegramPerson(Base):
    """A Telegram account that acts as a person of Mission Control. `label` is its name there."""

    __tablename__ = "telegram_people"
    __table_args__ = table()
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    person: Mapped[str]
    label: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)


class TelegramChat(Base):
    """A chat that gets alerts, since a person was paired in it. With a `problem` it gets none until somebody writes there."""

    __tablename__ = "telegram_chats"
    __table_args__ = table()
    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(default="")
    is_forum: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)


class TelegramThread(Base):
    """The place of a ticket in a chat: a topic of a forum, or else the message that others reply to."""

    __tablename__ = "telegram_threads"
    __table_args__ = table(
        Index("telegram_threads_by_ticket", "ticket_id"), Index("telegram_threads_by_topic", "chat_id", "topic_id")
    )
    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ticket_id: Mapped[int] = ticket_key(primary_key=True)
    topic_id: Mapped[int | None]
    message_id: Mapped[int | None]


class TelegramMessage(Base):
    """A part of an alert for a chat, which has a `message_id` once it was sent.

    Buttons name it by its random `key`, as their data is short.
    """

    __tablename__ = "telegram_messages"
    __table_args__ = log_table(
        UniqueConstraint("alert_key", "chat_id", "part"),
        Index("telegram_messages_by_message", "chat_id", "message_id"),
        Index("telegram_messages_by_ticket", "ticket_id"),
        Index("telegram_messages_created", "created"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int]
    message_id: Mapped[int | None]
    alert_key: Mapped[str]
    part: Mapped[int]
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(unique=True)
    alert: Mapped[dict[str, Any]]
    created: Mapped[datetime] = mapped_column(default=now)


class HealthResult(Base):
    """The result of one health check on one host, as of the last look. Checks of the store have no host.

    `since` is when the status began, `right_since` when a check that is still reported as wrong was first seen right.
    """

    __tablename__ = "health_checks"
    __table_args__ = table(one_of("status", HealthStatus))
    host: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[HealthStatus]
    detail: Mapped[str]
    remedy: Mapped[str] = mapped_column(default="")
    since: Mapped[datetime] = mapped_column(default=now)
    right_since: Mapped[datetime | None]
    seen: Mapped[datetime] = mapped_column(default=now)


class TaskRun(Base):
    __tablename__ = "task_runs"
    __table_args__ = log_table(
        Index("task_runs_by_task", "task", "id"),
        Index("task_runs_started", "started"),
        one_of("outcome", TaskOutcome),
        one_of("trigger", Trigger),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    trigger: Mapped[Trigger]
    outcome: Mapped[TaskOutcome | None]
    exit_code: Mapped[int | None]
    summary: Mapped[dict[str, Any] | None]
    output_tail: Mapped[str] = mapped_column(default="")
    started: Mapped[datetime] = mapped_column(default=now)
    ended: Mapped[datetime | None]


class TaskSlot(Base):
    """A time at which a task was due, or a sequence of such times that were missed for one reason.

    `until` is the last time of a sequence of `count`, and equals `due` otherwise. `ticket_id` is the ticket that the run
    created, or the open one that prevented it.
    """

    __tablename__ = "task_slots"
    __table_args__ = log_table(
        Index("task_slots_by_task", "task", "due"),
        Index("task_slots_by_host", "task", "host", "until"),
        Index("task_slots_until", "until"),
        partial_index("task_slots_open", "host", where=text("started IS NOT NULL AND ended IS NULL")),
        one_of("trigger", Trigger),
        one_of("catch_up", CatchUp),
        one_of("outcome", TaskOutcome),
        one_of("reason", MissReason),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str]
    task: Mapped[str]
    trigger: Mapped[Trigger]
    due: Mapped[datetime]
    until: Mapped[datetime]
    count: Mapped[int] = mapped_column(default=1)
    catch_up: Mapped[CatchUp]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    outcome: Mapped[TaskOutcome | None]
    reason: Mapped[MissReason | None]
    ticket_id: Mapped[int | None]


class TaskState(Base):
    """A person's decision to enable or disable a task, independent of its file."""

    __tablename__ = "task_states"
    __table_args__ = table()
    task: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    changed_by: Mapped[str]
    changed: Mapped[datetime] = mapped_column(default=now)


class Heartbeat(Base):
    __tablename__ = "heartbeats"
    __table_args__ = table()
    check: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    ts: Mapped[datetime] = mapped_column(default=now)


class ApiToken(Base):
    __tablename__ = "api_tokens"
    __table_args__ = table(one_of("scope", Scope))
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    prefix: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[Scope]
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]
    last_used: Mapped[datetime | None]


class Login(Base):
    """A login of a browser. The cookie holds a random secret, this row its hash.

    A login by API token is valid only as long as the token. `proof_at` is the last proof of who uses it after the log-in.
    """

    __tablename__ = "logins"
    __table_args__ = table(Index("logins_expires", "expires"))
    id: Mapped[int] = mapped_column(primary_key=True)
    secret_hash: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(ForeignKey("api_tokens.id", ondelete="CASCADE"))
    agent: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)
    proof_at: Mapped[datetime | None]
    expires: Mapped[datetime]
    revoked: Mapped[datetime | None]


class PersonVisit(Base):
    """When a person was last seen. `away_since` is the end of the visit before the last absence, until it is dismissed."""

    __tablename__ = "visits"
    __table_args__ = table()
    person: Mapped[str] = mapped_column(primary_key=True)
    last_seen: Mapped[datetime] = mapped_column(default=now)
    away_since: Mapped[datetime | None]


class LoginLink(Base):
    __tablename__ = "login_links"
    __table_args__ = table()
    secret_hash: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    expires: Mapped[datetime]
    consumed: Mapped[datetime | None]


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    __table_args__ = table(Index("idempotency_keys_created", "created"))
    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    response: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now)


class Lease(Base):
    """A lease between hosts that share a store. On one host the file lock is enough."""

    __tablename__ = "leases"
    __table_args__ = table()
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class Switch(Base):
    """A flag of the installation: maintenance pause, stream epoch."""

    __tablename__ = "switches"
    __table_args__ = table()
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    changed_by: Mapped[str]
    changed: Mapped[datetime] = mapped_column(default=now)


class SavedView(Base):
    """A person's named set of the board's filters, as in its URL."""

    __tablename__ = "saved_views"
    __table_args__ = table()
    author: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    query: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)
