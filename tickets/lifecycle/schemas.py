"""Responses: each kind of row as the JSON that programs see, declared once for reader, JSON and OpenAPI.

Field names are the columns' names, in the order of the JSON; moments are ISO 8601 UTC. A response reads the columns of
its row, never what would ask the store again: names from other tables are given to `read` beside the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AliasPath, BeforeValidator, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import CatchUp, MissReason, Project, TaskOutcome, Ticket, TicketComment, TicketTag, Trigger
from tickets.shared.responses import Moment, Number, Response
from tickets.shared.ticket_fields import LandingJson, TicketJson
from tickets.workflow import landing

AttachmentPath = Annotated[str, BeforeValidator(lambda number: f"/api/v1/attachments/{number}")]


# ------------------------------------------------------------------------------------------------------------- tickets


def read_tickets(session: Session, tickets: Sequence[Ticket]) -> list[TicketJson]:
    """Build the JSON of these tickets in the order given, with one query for tags and one for project names."""
    tags = load_tags(session, [ticket.id for ticket in tickets])
    slugs = _load_slugs(session, {ticket.project_id for ticket in tickets if ticket.project_id})
    return [
        TicketJson.read(
            ticket,
            tags=tags.get(ticket.id, []),
            project=slugs.get(ticket.project_id or 0),
            landing=_read_landing(ticket),
        )
        for ticket in tickets
    ]


def build_ticket_json(session: Session, tickets: Sequence[Ticket]) -> list[dict[str, Any]]:
    """The JSON objects of these tickets."""
    return [ticket.as_json() for ticket in read_tickets(session, tickets)]


def _read_landing(ticket: Ticket) -> LandingJson | None:
    plan = landing.get_plan(ticket)
    return LandingJson.read(plan, state=ticket.landing) if plan and ticket.landing else None


TAGS = (
    select(TicketTag.ticket_id, TicketTag.tag)
    .where(in_ids(TicketTag.ticket_id, "tickets"))
    .order_by(TicketTag.ticket_id, TicketTag.tag)
)


def load_tags(session: Session, ticket_ids: Sequence[int]) -> dict[int, list[str]]:
    """Load the tags of each of these tickets in alphabetical order, without tickets that have none."""
    tags_by_ticket: dict[int, list[str]] = {}
    for ticket_id, tag in fetch_rows(session, TAGS, tickets=ticket_ids):
        tags_by_ticket.setdefault(ticket_id, []).append(tag)
    return tags_by_ticket


def _load_slugs(session: Session, project_ids: set[int]) -> dict[int, str]:
    rows = session.execute(select(Project.id, Project.slug).where(Project.id.in_(project_ids))) if project_ids else ()
    return {number: slug for number, slug in rows}  # noqa: C416 - rows are not pairs to mypy


class RelationJson(Response):
    id: int
    kind: str
    words: str
    ticket: str = Field(validation_alias="identifier")
    title: str
    status: str


class PhaseJson(Response):
    name: str
    state: str
    agent: str | None
    gate: str
    choices: list[str]
    decided: str | None
    note: str | None
    runbook: str | None


class ItemProofJson(Response):
    """One proof of an acceptance item. `problem` says why it does not hold, `href` opens it on the board."""

    label: str
    href: str
    by: str
    run_id: int | None
    commit: str | None
    is_stale: bool
    problem: str


class ItemJson(Response):
    """An acceptance item with its state (verified, gaps or not_verified), the reason, and its proofs, newest first."""

    text: str
    met: bool
    state: str
    reason: str
    is_stale: bool
    judge: str | None
    proofs: list[ItemProofJson]


class AttemptJson(Response):
    """One attempt at a ticket. `check` is null while no check has run, `files` while there is no diff."""

    ticket: str
    agent: str | None
    profile: str | None
    status: str
    is_kept: bool
    check: bool | None
    files: int | None
    insertions: int
    deletions: int
    cost_usd: float | None
    seconds: float | None


class GateJson(Response):
    name: str
    ok: bool
    detail: str


# -------------------------------------------------------------------------------------------------------- conversation


class CommentJson(Response):
    id: int
    author: str
    author_kind: str
    kind: str
    body: str
    data: dict[str, Any] | None
    run_id: int | None
    created: Moment


class LineCommentJson(Response):
    id: int
    author: str
    path: str
    line: int
    is_old: bool
    commit_sha: str
    body: str
    answer: str | None
    answered_by: str | None
    resolved_by: str | None
    resolved: Moment | None
    created: Moment


class MessageJson(Response):
    id: int
    uuid: str
    author: str
    body: str
    mode: str
    state: str
    failure: str | None
    run_id: int | None
    created: Moment
    delivered: Moment | None
    accepted: Moment | None

    @classmethod
    def read_comment(cls, row: TicketComment, mode: str, **values: object) -> Self:
        """Text that was taken at once, as a comment, in the shape of a message."""
        times = {"delivered": row.created, "accepted": row.created}
        return cls.read(row, uuid="", mode=mode, state="accepted", failure=None, **times, **values)


class EventJson(Response):
    id: int
    ticket: str | None = Field(validation_alias="identifier")
    ticket_id: int | None
    seq: int | None
    event_type: str
    actor: str
    run_id: int | None
    ts: str
    payload: dict[str, Any]


class RequestJson(Response):
    request: str
    run_id: int
    kind: str
    payload: dict[str, Any]
    state: str
    answer: dict[str, Any] | None
    answered_by: str | None
    created: Moment


class PlanJson(Response):
    """One version of a ticket's plan. `comment` says why it was sent back."""

    version: int
    state: str
    body: str
    author: str
    author_kind: str
    run_id: int | None
    comment: str | None
    decided_by: str | None
    decided: Moment | None
    created: Moment


class FoundJson(Response):
    kind: str
    ticket: str = Field(validation_alias="identifier")
    title: str
    status: str
    by: str
    at: Moment
    snippet: str
    href: str


class NeedJson(Response):
    ticket: str = Field(validation_alias="identifier")
    title: str
    status: str
    line: str
    since: Moment


class ContextJson(Response):
    id: int
    kind: str
    path: str = Field(validation_alias="reference")
    title: str
    note: str
    author: str
    created: Moment


class AttachmentJson(Response):
    id: int
    ticket_id: int
    name: str
    media_type: str
    size: int
    sha256: str
    author: str
    run_id: int | None
    created: Moment
    href: AttachmentPath = Field(validation_alias=AliasPath("id"))


# ------------------------------------------------------------------------------------------------------- runs and team


class RunJson(Response):
    id: int
    ticket_id: int
    generation: int
    agent: str
    phase: str | None
    profile: str | None
    program: str | None
    host: str
    failure_detail: str | None
    stop_code: str | None
    summary: str | None
    exit_code: int | None
    workspace: str | None
    branch: str | None
    base_sha: str | None
    conversation_id: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    turns: int
    mode: str
    plans: bool
    model: str | None
    model_order: dict[str, Any] | None
    checklist: list[dict[str, Any]] | None
    state: str
    outcome: str | None
    failure: str | None
    started: Moment
    heartbeat: Moment | None
    ended: Moment | None


class FileJson(Response):
    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None


class ProjectJson(Response):
    id: int
    slug: str
    name: str
    folder: str
    base_branch: str
    clone_url: str | None
    check_command: list[str] | None
    setup_command: list[str] | None
    teardown_command: list[str] | None
    copy_files: list[str]
    link_files: list[str]
    ports: int
    allowed_commands: list[str]
    denied_commands: list[str]
    network: bool
    gate: str
    landing: str
    push_address: str | None
    sign_landings: bool
    ticket_template: str
    phases: list[dict[str, Any]]
    max_runs: int
    trusted_digest: str | None
    version: int
    created: Moment


class AgentJson(Response):
    name: str
    kind: str
    title: str
    aliases: list[str]
    runnable: bool
    profile: str | None
    capacity: int
    live_runs: int
    cooldown_until: Moment | None
    cooldown_reason: str | None


class ProfileJson(Response):
    name: str
    program: str
    provider: str | None
    model: str | None
    context_size: int | None
    effort: str | None
    mode: str
    permissions: str
    plan_first: bool
    argv: list[str]
    env_allow: list[str]
    limits: dict[str, Number]
    own_configuration: bool
    instruction: str | None


# ---------------------------------------------------------------------------------------------------------- operations


class CheckJson(Response):
    name: str
    status: str
    detail: str
    remedy: str
    since: Moment | None
    host: str


class TokenJson(Response):
    id: int
    name: str
    prefix: str
    scope: str
    created: Moment
    expires: Moment | None
    revoked: Moment | None
    last_used: Moment | None


class NewTokenJson(TokenJson):
    token: str


class IncidentJson(Response):
    id: int
    title: str
    detail: str
    severity: str
    state: str
    count: int
    recurrence: int
    closed_by: str | None
    evidence: str | None
    first_seen: Moment
    last_seen: Moment


class InboxItemJson(Response):
    id: int
    kind: str
    ticket: str | None
    run_id: int | None
    title: str
    body: str
    state: str
    delivered_to: str | None
    deliveries: int
    lease_until: Moment | None
    action: dict[str, Any] | None
    failure: str | None
    created: Moment
    settled: Moment | None


class TaskRunJson(Response):
    id: int
    task: str
    trigger: str
    outcome: str | None
    exit_code: int | None
    output_tail: str
    started: Moment
    ended: Moment | None


class TaskJson(Response):
    """A scheduled task. `due` is the next time of its schedule, enabled or not, null when there is none.

    `last_work` is when it last did its work and `missed` how many slots it missed, both among its newest slots.
    """

    name: str
    description: str
    schedule: str
    zone: str
    catch_up: CatchUp
    command: list[str]
    ticket: dict[str, Any] | None
    prompt: str
    is_shipped: bool
    enabled: bool
    due: Moment | None
    last_work: Moment | None
    missed: int
    latest: TaskRunJson | None


class TaskSlotJson(Response):
    """A time at which a task was due, or `count` times from `due` to `until` that were missed for one `reason`.

    `did_work` is null while that is open: the run has not ended, or its ticket is not closed.
    """

    id: int
    due: Moment
    until: Moment
    count: int
    trigger: Trigger
    started: Moment | None
    ended: Moment | None
    outcome: TaskOutcome | None
    reason: MissReason | None
    ticket: str | None
    did_work: bool | None
