"""Who may do what: one table for API, pages, WebSocket and command line.

A move has its rights in `tickets/lifecycle/moves.py`; an entry point refuses early what a whole kind of caller never does.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from models import ActorKind

from .actors import Actor
from .errors import Forbidden, ProofRequired


class Act(StrEnum):
    """Something that not everybody may do, in the words of a refusal."""

    SPEAK = "writes to an agent"
    REPLY = "answers what a running agent waits for"
    CONTROL = "controls the conversation with an agent"
    TYPE = "types into a terminal"
    DECIDE_PLAN = "edits, approves or sends back a plan"
    CHANGE_MODEL = "changes the model of a run"
    PLAN_PHASES = "plans the phases of a ticket"
    CHOOSE_ATTEMPT = "starts several attempts at a ticket or keeps one of them"
    SCHEDULE_COMMAND = "schedules a command, which runs on this machine"
    PARK_ON_PROBE = "parks a ticket on a probe, which runs a command on this machine"
    ORDER_QUEUE = "puts the queue in order by hand"
    CHOOSE_LANDING = "chooses another way to land than the project's own"
    ADD_TAG = "brings in a tag that no ticket has yet"
    SET_TERMS = "edits gate, acceptance or campaign owner"
    REMOVE_FILE = "removes a file"
    TRUST_REPOSITORY = "trusts the configuration that a repository brings"
    GIVE_ACCESS = "issues tokens"
    CHANGE_PROFILES = "changes profiles"
    CHANGE_PROJECTS = "changes projects"
    CHANGE_ALERTS = "changes where alerts are sent"
    FILE_ITEM = "files an inbox item"
    WORK_INBOX = "works the inbox"
    ADMINISTER = "changes team, workspaces, tasks or the pause, or revokes tokens"


PEOPLE = frozenset({ActorKind.HUMAN})
ADMINISTRATORS = PEOPLE | {ActorKind.SYSTEM}
ALLOWED: dict[Act, frozenset[ActorKind]] = {
    Act.SPEAK: PEOPLE | {ActorKind.ORCHESTRATOR, ActorKind.SERVICE},
    Act.REPLY: PEOPLE,
    Act.CONTROL: PEOPLE,
    Act.TYPE: PEOPLE,
    Act.DECIDE_PLAN: PEOPLE,
    Act.CHANGE_MODEL: PEOPLE,
    Act.PLAN_PHASES: PEOPLE,
    Act.CHOOSE_ATTEMPT: PEOPLE,
    Act.SCHEDULE_COMMAND: PEOPLE,
    Act.PARK_ON_PROBE: PEOPLE,
    Act.ORDER_QUEUE: PEOPLE | {ActorKind.ORCHESTRATOR},
    Act.CHOOSE_LANDING: PEOPLE,
    Act.ADD_TAG: ADMINISTRATORS | {ActorKind.SERVICE},
    Act.SET_TERMS: PEOPLE,
    Act.REMOVE_FILE: PEOPLE,
    Act.TRUST_REPOSITORY: PEOPLE,
    Act.FILE_ITEM: ADMINISTRATORS | {ActorKind.ORCHESTRATOR, ActorKind.TRIAGE, ActorKind.SERVICE},
    Act.WORK_INBOX: PEOPLE | {ActorKind.ORCHESTRATOR},
    Act.GIVE_ACCESS: ADMINISTRATORS,
    Act.CHANGE_PROFILES: ADMINISTRATORS,
    Act.CHANGE_PROJECTS: ADMINISTRATORS,
    Act.CHANGE_ALERTS: ADMINISTRATORS,
    Act.ADMINISTER: ADMINISTRATORS,
}
"""A program never lets an agent use a tool, takes no conversation from a person, and does not lower the bar it is held to."""
EDITABLE_FIELDS: dict[ActorKind, frozenset[str]] = {
    ActorKind.TRIAGE: frozenset({"priority", "project", "assigned_to", "tags"}),
    ActorKind.REVIEWER: frozenset(),
}
"""The fields of a ticket that a program of a control loop edits. Other writers edit all but those for people."""
PROOF_REQUIRED = frozenset(
    {
        Act.GIVE_ACCESS,
        Act.CHANGE_ALERTS,
        Act.CHANGE_PROFILES,
        Act.CHANGE_PROJECTS,
        Act.SCHEDULE_COMMAND,
        Act.PARK_ON_PROBE,
        Act.TRUST_REPOSITORY,
    }
)
"""Acts that give access, send texts elsewhere or choose commands that run on this machine: a browser proves anew who uses it."""
EVENTS_OF_READERS = frozenset({"logged_out"})


def may(actor: Actor, act: Act) -> bool:
    """Return whether the actor is allowed to do this. A viewer is allowed nothing."""
    return actor.writes and actor.kind in ALLOWED[act]


def require(actor: Actor, act: Act, **detail: Any) -> None:
    """Raise `Forbidden` unless the actor is allowed to do this, and `ProofRequired` where a browser has to prove who uses it."""
    require_writer(actor)
    if actor.kind in ALLOWED[act]:
        _require_proof(actor, act)
        return
    if ALLOWED[act] == PEOPLE:
        raise Forbidden(f"Only a person {act}, and {actor.name} is of kind {actor.kind}.", **detail)
    kinds = " or ".join(sorted(kind.value for kind in ALLOWED[act]))
    raise Forbidden(f"Only an actor of kind {kinds} {act}, and {actor.name} is of kind {actor.kind}.", **detail)


def require_editable(actor: Actor, fields: Collection[str]) -> None:
    """Raise `Forbidden` when a program of a control loop edits a field that is none of its own."""
    foreign = sorted(set(fields) - EDITABLE_FIELDS.get(actor.kind, frozenset(fields)))
    if foreign:
        raise Forbidden(
            f"An actor of kind {actor.kind} does not edit {' and '.join(foreign)}.",
            fields=dict.fromkeys(foreign, "is for others"),
        )


def _require_proof(actor: Actor, act: Act) -> None:
    if act in PROOF_REQUIRED and not actor.has_proof:
        raise ProofRequired


def require_writer(actor: Actor, event_type: str = "") -> None:
    """Raise `Forbidden` for one who only reads. Every event is appended through this."""
    if not actor.writes and event_type not in EVENTS_OF_READERS:
        raise Forbidden("A viewer has read access only. Log in with another token.")


def require_own_ticket(actor: Actor, ticket_id: int) -> None:
    """Raise `Forbidden` for a run that reaches for another ticket than its own."""
    if actor.ticket_id is not None and actor.ticket_id != ticket_id:
        raise Forbidden("A run may access only its own ticket.")


def require_own_run(actor: Actor, run_id: int) -> None:
    """Raise `Forbidden` for a run that speaks for another."""
    if actor.run_id is not None and actor.run_id != run_id:
        raise Forbidden("A run may act only as itself.", run=actor.run_id)
