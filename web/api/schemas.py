"""JSON schemas of everything except tickets (see `tickets/lifecycle/schemas.py`), and their construction from rows."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from pydantic import Field
from typing_extensions import TypedDict

from models import (
    Agent,
    ApiToken,
    Attachment,
    Profile,
    Project,
    QueuedMessage,
    Run,
    TicketComment,
    TicketContext,
    format_timestamp,
)
from tickets.lifecycle.schemas import format_moment
from tickets.shared.inputs import Body, Line
from tickets.workflow.relationships import Relation

Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    """A page of items, and the cursor of the next page."""

    items: list[Item]
    next: str | None


class Paging(Body):
    """Part of a list: at most `limit` items after `cursor`."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Line | None = None


class CommentJson(TypedDict):
    id: int
    author: str
    author_kind: str
    kind: str
    body: str
    data: dict[str, Any] | None
    run_id: int | None
    created: str


def build_comment_json(row: TicketComment) -> CommentJson:
    return {
        "id": row.id,
        "author": row.author,
        "author_kind": row.author_kind.value,
        "kind": row.kind.value,
        "body": row.body,
        "data": row.data,
        "run_id": row.run_id,
        "created": format_timestamp(row.created),
    }


class MessageJson(TypedDict):
    id: int
    uuid: str
    author: str
    body: str
    mode: str
    state: str
    failure: str | None
    run_id: int | None
    created: str
    delivered: str | None
    accepted: str | None


def build_message_json(row: QueuedMessage) -> MessageJson:
    return {
        "id": row.id,
        "uuid": row.uuid,
        "author": row.author,
        "body": row.body,
        "mode": row.mode.value,
        "state": row.state.value,
        "failure": row.failure,
        "run_id": row.run_id,
        "created": format_timestamp(row.created),
        "delivered": format_moment(row.delivered),
        "accepted": format_moment(row.accepted),
    }


def build_message_of_comment(row: TicketComment, mode: str) -> MessageJson:
    """Build the JSON of a message that became a comment at once, as an answer or a request for changes."""
    created = format_timestamp(row.created)
    return {
        "id": row.id,
        "uuid": "",
        "author": row.author,
        "body": row.body,
        "mode": mode,
        "state": "accepted",
        "failure": None,
        "run_id": row.run_id,
        "created": created,
        "delivered": created,
        "accepted": created,
    }


class EventJson(TypedDict):
    id: int
    ticket: str | None
    ticket_id: int | None
    seq: int | None
    event_type: str
    actor: str
    run_id: int | None
    ts: str
    payload: dict[str, Any]


class RunJson(TypedDict):
    id: int
    ticket_id: int
    generation: int
    agent: str
    phase: str | None
    profile: str | None
    program: str | None
    mode: str
    host: str
    state: str
    outcome: str | None
    failure: str | None
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
    started: str
    heartbeat: str | None
    ended: str | None


COPIED_COLUMNS = (
    "id", "ticket_id", "generation", "agent", "phase", "profile", "program", "host", "failure_detail", "stop_code",
    "summary", "exit_code", "workspace", "branch", "base_sha", "conversation_id", "input_tokens", "output_tokens",
    "cost_usd", "turns",
)  # fmt: skip


def build_run_json(row: Run) -> RunJson:
    plain = {name: getattr(row, name) for name in COPIED_COLUMNS}
    words = {
        "mode": row.mode.value,
        "state": row.state.value,
        "outcome": row.outcome.value if row.outcome else None,
        "failure": row.failure.value if row.failure else None,
    }
    times = {
        "started": format_timestamp(row.started),
        "heartbeat": format_moment(row.heartbeat),
        "ended": format_moment(row.ended),
    }
    return cast(RunJson, plain | words | times)


class ContextJson(TypedDict):
    id: int
    kind: str
    path: str
    title: str
    note: str
    author: str
    created: str


def build_context_json(row: TicketContext) -> ContextJson:
    return {
        "id": row.id,
        "kind": row.kind,
        "path": row.reference,
        "title": row.title,
        "note": row.note,
        "author": row.author,
        "created": format_timestamp(row.created),
    }


class RelationJson(TypedDict):
    id: int
    kind: str
    words: str
    ticket: str
    title: str
    status: str


def build_relation_json(row: Relation) -> RelationJson:
    return {
        "id": row.id,
        "kind": row.kind,
        "words": row.words,
        "ticket": row.identifier,
        "title": row.title,
        "status": row.status,
    }


class AttachmentJson(TypedDict):
    id: int
    ticket_id: int
    name: str
    media_type: str
    size: int
    sha256: str
    author: str
    run_id: int | None
    created: str
    href: str


def build_attachment_json(row: Attachment) -> AttachmentJson:
    return {
        "id": row.id,
        "ticket_id": row.ticket_id,
        "name": row.name,
        "media_type": row.media_type,
        "size": row.size,
        "sha256": row.sha256,
        "author": row.author,
        "run_id": row.run_id,
        "created": format_timestamp(row.created),
        "href": f"/api/v1/attachments/{row.id}",
    }


class ProjectJson(TypedDict):
    id: int
    slug: str
    name: str
    folder: str
    base_branch: str
    clone_url: str | None
    check_command: list[str] | None
    setup_command: list[str] | None
    link_files: list[str]
    gate: str
    landing: str
    max_runs: int
    version: int
    created: str


def build_project_json(row: Project) -> ProjectJson:
    return {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "folder": row.folder,
        "base_branch": row.base_branch,
        "clone_url": row.clone_url,
        "check_command": row.check_command,
        "setup_command": row.setup_command,
        "link_files": row.link_files,
        "gate": row.gate.value,
        "landing": row.landing.value,
        "max_runs": row.max_runs,
        "version": row.version,
        "created": format_timestamp(row.created),
    }


class AgentJson(TypedDict):
    name: str
    kind: str
    title: str
    aliases: list[str]
    runnable: bool
    profile: str | None
    capacity: int
    live_runs: int
    cooldown_until: str | None
    cooldown_reason: str | None


def build_agent_json(row: Agent, live_runs: int = 0) -> AgentJson:
    return {
        "name": row.name,
        "kind": row.kind.value,
        "title": row.title,
        "aliases": row.aliases,
        "runnable": row.runnable,
        "profile": row.profile,
        "capacity": row.capacity,
        "live_runs": live_runs,
        "cooldown_until": format_moment(row.cooldown_until),
        "cooldown_reason": row.cooldown_reason,
    }


class ProfileJson(TypedDict):
    name: str
    program: str
    provider: str | None
    model: str | None
    context_size: int | None
    effort: str | None
    mode: str
    permissions: str
    argv: list[str]
    env_allow: list[str]
    limits: dict[str, float]


def build_profile_json(row: Profile) -> ProfileJson:
    return {
        "name": row.name,
        "program": row.program,
        "provider": row.provider,
        "model": row.model,
        "context_size": row.context_size,
        "effort": row.effort,
        "mode": row.mode.value,
        "permissions": row.permissions,
        "argv": row.argv,
        "env_allow": row.env_allow,
        "limits": row.limits,
    }


class TokenJson(TypedDict):
    id: int
    name: str
    prefix: str
    scope: str
    created: str
    expires: str | None
    revoked: str | None
    last_used: str | None


class NewTokenJson(TokenJson):
    token: str


def build_token_json(row: ApiToken) -> TokenJson:
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scope": row.scope.value,
        "created": format_timestamp(row.created),
        "expires": format_moment(row.expires),
        "revoked": format_moment(row.revoked),
        "last_used": format_moment(row.last_used),
    }
