"""Inbound hooks: a signed request of another program creates a ticket or starts a task.

A hook is a file of `MC_HOME/hooks`, and its secret one of `MC_HOME/secrets`. Requests are signed as Standard Webhooks
(https://www.standardwebhooks.com) define it: HMAC-SHA256 over id, timestamp and raw body. Its body is data that a stranger
wrote: it is redacted, cut, and quoted in the ticket.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import frontmatter
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ActorKind, IdempotencyKey, now
from redaction import SHAPES
from settings import Settings
from tickets.lifecycle import transitions
from tickets.shared import events, idempotency, rights
from tickets.shared.actors import Actor
from tickets.shared.display_names import format_code_block
from tickets.shared.errors import ConflictError, DomainError, Invalid, NotFound
from tickets.shared.idempotency import KeyedRequest, StoredResponse
from tickets.shared.inputs import Level, Line, Name, NewTicket, TagName, is_control
from tickets.shared.rights import Act

from . import cron, home_files, task_files, tasks

TOLERANCE = timedelta(minutes=5)
"""How far the timestamp of a request may be from this server's clock, before or after."""
RATE_PERIOD = timedelta(hours=1)
MAX_SIGNATURES = 16
MAX_TITLE_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 20_000
SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
SECRET_BYTES = 32
MIN_KEY_BYTES = 24
"""The shortest key of Standard Webhooks. With a shorter one, such as that of an empty file, anybody could sign."""
SIGNATURE_PREFIX = "v1,"
NAME_PATTERN = cron.NAME_PATTERN
ID_PATTERN = re.compile(r"[\x21-\x7e]{1,200}")
TIMESTAMP_PATTERN = re.compile(r"[0-9]{1,12}")
FieldPath = Line
"""The names of nested objects with dots between them: `issue.title`."""


class HookRefused(DomainError):
    """The request is not signed by the secret of this hook."""

    code, status = "hook_refused", 401


class TooManyRequests(DomainError):
    """This hook accepts no more requests for now. Try again in an hour."""

    code, status = "too_many_requests", 429


class HookTicket(BaseModel):
    """The ticket that a hook creates, with the fields of the body that its title and description are taken from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: FieldPath = "title"
    description: FieldPath | None = None
    start: Literal["inbox", "todo"] = "inbox"
    assigned_to: Name | None = None
    project: Name | None = None
    priority: Level = "normal"
    tags: list[TagName] = Field(default=[], max_length=12)


class HookFile(BaseModel):
    """The front matter of a hook's file: the task that it starts, or the ticket that it creates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Line
    enabled: bool = True
    per_hour: int = Field(60, ge=1, le=3600, description="accepted requests")
    task: str | None = Field(None, pattern=NAME_PATTERN.pattern)
    ticket: HookTicket | None = None

    @model_validator(mode="after")
    def _require_one_kind(self) -> Self:
        if (self.task is None) == (self.ticket is None):
            raise ValueError("a hook has either a task or a ticket")
        return self


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request to a hook: the headers webhook-id, webhook-timestamp and webhook-signature, and the raw body."""

    id: str
    timestamp: str
    signatures: str
    body: bytes

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


# ----------------------------------------------------------------------------------------------------------- receiving


def authenticate(settings: Settings, name: str, delivery: Delivery, moment: datetime) -> None:
    """Check that a request is signed by the hook's secret and new. Raises `NotFound` or `HookRefused`."""
    key = _read_key(settings, name)
    if not ID_PATTERN.fullmatch(delivery.id) or not TIMESTAMP_PATTERN.fullmatch(delivery.timestamp):
        raise HookRefused("The headers webhook-id and webhook-timestamp are missing or malformed.")
    if abs(moment.timestamp() - int(delivery.timestamp)) > TOLERANCE.total_seconds():
        raise HookRefused("The webhook-timestamp is more than five minutes from this server's clock.")
    expected = sign(key, delivery).encode()
    candidates = delivery.signatures.split(" ")[:MAX_SIGNATURES]
    matches = [hmac.compare_digest(candidate.encode("utf-8", "replace"), expected) for candidate in candidates]
    if not any(matches):
        raise HookRefused("No signature of webhook-signature fits this hook, id, timestamp and body.")


def sign(key: bytes, delivery: Delivery) -> str:
    """Compute the signature of a request."""
    content = f"{delivery.id}.{delivery.timestamp}.".encode() + delivery.body
    return SIGNATURE_PREFIX + base64.b64encode(hmac.digest(key, content, "sha256")).decode()


def receive(session: Session, settings: Settings, name: str, delivery: Delivery) -> tuple[StoredResponse, bool]:
    """Do what the hook says for an authenticated request, once for each id.

    Returns the answer, and whether it is that of an earlier request with this id. Raises `ConflictError` when that had
    another body or the hook cannot be used, `TooManyRequests`, `Invalid` for a body without a title.
    """
    request = KeyedRequest(f"hook:{name}", delivery.id, delivery.fingerprint)
    try:
        previous = idempotency.find_response(session, request)
    except idempotency.KeyReused:
        raise ConflictError("This webhook-id was used for another body already.") from None
    if previous is not None:
        return StoredResponse(200, previous.text), True
    hook = _require_usable(settings, name)
    _limit_rate(session, request.caller, hook.head.per_hour)
    actor = Actor(ActorKind.SERVICE, f"hook-{name}")
    if hook.head.ticket:
        ticket = transitions.create_ticket(session, _build_ticket(hook, delivery.body), actor)
        answer = StoredResponse(201, json.dumps({"ticket": ticket.identifier}))
    else:
        answer = _start_task(session, settings, str(hook.head.task), actor)
    idempotency.store_response(session, request, answer)
    return answer, False


def _limit_rate(session: Session, caller: str, per_hour: int) -> None:
    recent = (IdempotencyKey.actor == caller, IdempotencyKey.created > now() - RATE_PERIOD)
    if (session.scalar(select(func.count()).where(*recent)) or 0) >= per_hour:
        raise TooManyRequests(f"This hook accepts {per_hour} requests an hour. Try again later.")


def _start_task(session: Session, settings: Settings, task: str, actor: Actor) -> StoredResponse:
    """Request a run of the task that the hook's author chose. Raises `ConflictError` without a scheduler."""
    if task not in task_files.load(settings.tasks_dir)[0]:
        raise ConflictError("The task of this hook does not exist.")
    tasks.require_scheduler(session, task)
    tasks.request_run(session, task, actor)
    return StoredResponse(202, json.dumps({"task": task}))


def _build_ticket(hook: InboundHook, body: bytes) -> NewTicket:
    """Build the ticket of a request: its own text below that of the hook's file, quoted as data."""
    template = hook.head.ticket
    assert template is not None
    content = _parse_body(body)
    title = _read_text(content, template.title, MAX_TITLE_CHARACTERS, is_line=True)
    if not title:
        raise Invalid(f"The body has no text at {template.title}.", field=template.title)
    text = _read_text(content, template.description, MAX_DESCRIPTION_CHARACTERS) if template.description else ""
    quoted = f"Received by the hook `{hook.name}`:\n\n{format_code_block(text)}" if text else ""
    fields = template.model_dump(include={"assigned_to", "project", "priority", "tags"})
    description = "\n\n".join(filter(None, (hook.prompt, quoted)))
    return NewTicket.model_validate(fields | {"title": title, "description": description, "status": template.start})


def _parse_body(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("The body is not valid JSON.") from None
    if not isinstance(content, dict):
        raise Invalid("The body is not a JSON object.")
    return content


def _read_text(content: Any, path: str, limit: int, *, is_line: bool = False) -> str:
    """Read a text of the body, redacted like that of a program and then cut. Empty where there is none."""
    for name in path.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    if not isinstance(content, str):
        return ""
    text = SHAPES.clean_text(content)
    if is_line:
        text = " ".join("".join(" " if is_control(character) else character for character in text).split())
    return text.strip()[:limit]


# --------------------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class InboundHook:
    """A hook, named after its file, whose text is the beginning of each ticket's description."""

    name: str
    head: HookFile
    prompt: str = ""


def list_hooks(settings: Settings) -> tuple[list[InboundHook], list[str]]:
    """List the hooks by name, and the problems of the files that cannot be used."""
    hooks, problems = [], []
    for path in cron.list_files(settings.hooks_dir):
        try:
            hooks.append(_load(path))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            problems.append(f"{path.name}: {cron.format_error(error, path)}")
    return hooks, problems


def _load(path: Path) -> InboundHook:
    metadata, prompt = frontmatter.parse(cron.read_text(path))
    return InboundHook(path.stem, HookFile.model_validate(metadata), prompt)


def _require_usable(settings: Settings, name: str) -> InboundHook:
    """Load an enabled hook. The refusal says nothing of its file, which is for the operator."""
    try:
        hook = _load(settings.hooks_dir / f"{name}.md")
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise ConflictError("This hook cannot be used: its file has a problem, see bin/mc hook list.") from None
    if not hook.head.enabled:
        raise ConflictError("This hook is disabled.")
    return hook


def create_hook(
    session: Session, settings: Settings, name: str, fields: dict[str, Any], prompt: str, actor: Actor
) -> str:
    """Write a hook's file and secret, and return the secret, which is shown this once."""
    rights.require(actor, Act.GIVE_ACCESS)
    if not NAME_PATTERN.fullmatch(name):
        raise Invalid("The name is made of up to 41 lower-case letters, digits and hyphens.", field="name")
    try:
        head = HookFile.model_validate(fields)
    except ValidationError as error:
        problems = {
            ".".join(map(str, item["loc"])) or "hook": str(item["msg"]).removeprefix(cron.VALUE_ERROR)
            for item in error.errors()
        }
        raise Invalid(f"The hook is not valid: {problems}.", fields=problems) from None
    if head.task:
        task_files.require(head.task, settings.tasks_dir)
    file = settings.hooks_dir / f"{name}.md"
    if file.exists():
        raise ConflictError(f"A hook is called {name} already. Choose another name.", field="name")
    events.append(session, None, "hook_created", {"hook": name}, actor)
    session.flush()  # the event is refused before the files are written
    secret = _write_secret(settings, name)
    post = frontmatter.Post(prompt, **head.model_dump(mode="json", exclude_none=True))
    home_files.write_file(file, (frontmatter.dumps(post, sort_keys=False) + "\n").encode(), is_new=True)
    return secret


def rotate_secret(session: Session, settings: Settings, name: str, actor: Actor) -> str:
    """Replace the secret of a hook, and return the new one. Requests with the old one are refused at once."""
    rights.require(actor, Act.GIVE_ACCESS)
    if not NAME_PATTERN.fullmatch(name) or not (settings.hooks_dir / f"{name}.md").exists():
        raise NotFound("There is no hook with this name.", hook=name[:40])
    events.append(session, None, "hook_rotated", {"hook": name}, actor)
    session.flush()
    return _write_secret(settings, name)


def _write_secret(settings: Settings, name: str) -> str:
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    home_files.write_file(_locate_secret(settings, name), secret.encode(), is_new=False)
    return secret


def _locate_secret(settings: Settings, name: str) -> Path:
    return settings.secrets_dir / f"hook-{name}"


def _read_key(settings: Settings, name: str) -> bytes:
    """Read the key of a hook's secret. Raises `NotFound` for an unknown hook or one without a usable secret."""
    try:
        if NAME_PATTERN.fullmatch(name):
            text = _locate_secret(settings, name).read_text("ascii").strip()
            key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
            if len(key) >= MIN_KEY_BYTES:
                return key
    except (OSError, ValueError, binascii.Error):
        pass
    raise NotFound("There is no hook with this name.", hook=name[:40])
