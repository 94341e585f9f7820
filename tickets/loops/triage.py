"""Triage of the inbox by rules: priority, project and a proposed owner for each ticket, once while it is there.

A ticket that the rules decide goes to To do only where the settings say so and no run created it. Otherwise its owner is
proposed, on the ticket and as an inbox item. A ticket that they cannot decide stays, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, delete, false, select
from sqlalchemy.orm import Session

from models import ActorKind, Priority, Run, Ticket, TicketEvent, TicketStatus, TriageNote, now
from settings import Triage
from tickets.lifecycle import editing, inbox, schemas, transitions
from tickets.operations import inbox_items
from tickets.operations.inbox_items import NewItem
from tickets.shared import events, lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.inputs import EditTicket
from tickets.shared.word_rules import WordRule, find_values
from tickets.team import agents, default_owner, projects

TASK = "triage-untriaged"
ACTOR = Actor(ActorKind.TRIAGE, TASK)
MAX_TITLE_LENGTH = 200
PRIORITY_RULES = (
    WordRule("urgent", ("urgent*", "outage*", "data loss", "security", "vulnerab*")),
    WordRule("high", ("crash*", "regression*", "broken", "blocks", "important")),
    WordRule("low", ("typo*", "cosmetic*", "minor", "nice to have", "someday")),
)
"""The priority that a ticket of normal priority gets by the words of its title."""
OTHER_RULES = (
    ("Project", "The one that the title or the description names, or else the only one."),
    (
        "Owner",
        "The one that the setting triage.owners names for a tag. Otherwise the owner of the last ticket of the same creator,"
        " or else the only agent that can be started.",
    ),
)
"""The rules that are no table of words, for people."""


@dataclass(slots=True)
class TriageDecision:
    """The result of the rules for a ticket: fields to edit, the owner, and why; `obstacles` are what they cannot decide."""

    edits: dict[str, Any] = field(default_factory=dict)
    owner: str | None = None
    reasons: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    def describe(self) -> str:
        return " ".join(self.obstacles + self.reasons)


class TriageResult(StrEnum):
    """The result of triage for one ticket."""

    MOVED = "moved"
    PROPOSED = "proposed"
    FILED = "filed"
    EDITED = "edited"
    UNDECIDED = "undecided"


def list_untriaged(session: Session, limit: int) -> list[int]:
    """List the tickets of the inbox that have not been looked at since they came there, oldest first."""
    is_current = and_(TriageNote.ticket_id == Ticket.id, TriageNote.created >= Ticket.moved)
    query = (
        select(Ticket.id)
        .outerjoin(TriageNote, is_current)
        .where(Ticket.status == TicketStatus.INBOX, Ticket.archived == false(), TriageNote.ticket_id.is_(None))
    )
    return list(session.scalars(query.order_by(Ticket.id).limit(limit)))


def find_note(session: Session, ticket: Ticket) -> TriageNote | None:
    """Find the note of triage on a ticket of the inbox, made since it came there."""
    note = session.get(TriageNote, ticket.id) if ticket.status is TicketStatus.INBOX else None
    return note if note is not None and note.created >= ticket.moved else None


def delete_obsolete_notes(session: Session) -> None:
    """Delete the notes on tickets that have left the inbox."""
    elsewhere = select(Ticket.id).where(Ticket.id == TriageNote.ticket_id, Ticket.status != TicketStatus.INBOX)
    session.execute(delete(TriageNote).where(elsewhere.exists()).execution_options(synchronize_session=False))


def find_unknown_owners(session: Session, triage: Triage) -> list[str]:
    """Find the owners in the settings who are not in the team."""
    return sorted(set(triage.owners.values()) - {member.name for member in agents.list_members(session)})


def triage_ticket(session: Session, ticket_id: int, triage: Triage) -> TriageResult | None:
    """Apply the rules to a ticket of the inbox, in the caller's transaction. None when it has left the inbox meanwhile."""
    ticket = lookup.get_ticket(session, ticket_id)
    if ticket.status is not TicketStatus.INBOX:
        return None
    decision = decide(session, ticket, triage)
    if decision.edits:
        ticket = editing.edit_ticket(session, ticket, EditTicket(version=ticket.version, **decision.edits), ACTOR)
    if decision.obstacles or decision.owner is None:
        return _note_undecided(session, ticket, decision, triage)
    if triage.automatic and not _is_from_run(session, ticket):
        note = f"Triaged by rule. {decision.describe()}"
        transitions.transition(session, ticket.id, "triage", ACTOR, assigned_to=decision.owner, note=note)
        return TriageResult.MOVED
    _note(session, ticket, "ticket_triage_proposed", decision.describe(), decision.owner)
    _file_item(session, ticket, f"Triage proposes an owner. {decision.describe()}")
    return TriageResult.PROPOSED


def _note_undecided(session: Session, ticket: Ticket, decision: TriageDecision, triage: Triage) -> TriageResult:
    _note(session, ticket, "ticket_triage_undecided", decision.describe())
    if triage.file_undecided and _file_item(session, ticket, decision.describe()):
        return TriageResult.FILED
    return TriageResult.EDITED if decision.edits else TriageResult.UNDECIDED


def _note(session: Session, ticket: Ticket, event_type: str, reason: str, owner: str | None = None) -> None:
    session.merge(TriageNote(ticket_id=ticket.id, owner=owner, reason=reason, created=now()))
    session.flush()
    events.append(session, ticket.id, event_type, {"owner": owner, "reason": reason}, ACTOR)


def _file_item(session: Session, ticket: Ticket, body: str) -> bool:
    """File an item about a ticket. False where the orchestrator created the ticket, as the item would start it again."""
    if _is_from_orchestrator(session, ticket):
        return False
    title = f"Triage {ticket.identifier}: {ticket.title}"[:MAX_TITLE_LENGTH]
    item = NewItem(kind=inbox.TRIAGE, title=title, body=body, ticket=ticket.identifier)
    inbox_items.file_item(session, item, ACTOR)
    return True


def _is_from_orchestrator(session: Session, ticket: Ticket) -> bool:
    """Return whether the orchestrator created the ticket, by the log."""
    created = (TicketEvent.ticket_id == ticket.id, TicketEvent.event_type == "ticket_created")
    by_run = TicketEvent.run_id.in_(select(Run.id).where(Run.ticket_id == runtime_flags.get_inbox_ticket(session)))
    return session.execute(select(TicketEvent.id).where(*created, by_run)).first() is not None


def _is_from_run(session: Session, ticket: Ticket) -> bool:
    """Return whether a run may have created the ticket, by the log: agents start no work of their own accord."""
    query = select(TicketEvent.run_id).where(
        TicketEvent.ticket_id == ticket.id, TicketEvent.event_type == "ticket_created"
    )
    created = session.execute(query).first()
    return created is None or created.run_id is not None


# ---------------------------------------------------------------------------------------------------------------- rules


def decide(session: Session, ticket: Ticket, triage: Triage) -> TriageDecision:
    """Apply the rules to a ticket, without a change to it."""
    decision = TriageDecision()
    _decide_priority(ticket, decision)
    _decide_project(session, ticket, decision)
    _decide_owner(session, ticket, triage, decision)
    return decision


def _decide_priority(ticket: Ticket, decision: TriageDecision) -> None:
    priorities = find_values(PRIORITY_RULES, ticket.title) if ticket.priority is Priority.NORMAL else []
    if priorities:
        decision.edits["priority"] = priorities[0]
        decision.reasons.append(f"Priority {priorities[0]}, by a word in its title.")


def _decide_project(session: Session, ticket: Ticket, decision: TriageDecision) -> None:
    available = projects.list_projects(session)
    if ticket.project_id is not None or not available:
        return
    rules = [WordRule(project.slug, (project.slug, project.name)) for project in available]
    slugs = find_values(rules, f"{ticket.title}\n{ticket.description}")
    if not slugs and len(available) == 1:
        slugs = [available[0].slug]
    if len(slugs) == 1:
        decision.edits["project"] = slugs[0]
        decision.reasons.append(
            f"Project {slugs[0]}, {'the only one' if len(available) == 1 else 'named in its text'}."
        )
    else:
        decision.obstacles.append(f"Choose a project: its text names {' and '.join(slugs) or 'none'}.")


def _decide_owner(session: Session, ticket: Ticket, triage: Triage, decision: TriageDecision) -> None:
    present_tags = schemas.load_tags(session, [ticket.id]).get(ticket.id, [])
    tag = next((tag for tag in present_tags if tag in triage.owners), None)
    members = {member.name for member in agents.list_members(session)}
    if ticket.assigned_to:
        decision.owner, reason = ticket.assigned_to, "chosen already"
    elif tag:
        decision.owner, reason = triage.owners[tag], f"by the tag {tag}"
    else:
        decision.owner = default_owner.find_default_owner(session, ticket.requester)
        reason = f"the default owner for {ticket.requester}"
    if decision.owner in members:
        decision.reasons.append(f"Owner {decision.owner}, {reason}.")
        return
    obstacle = f"{decision.owner}, {reason}, is not in the team" if decision.owner else "no rule gives one"
    decision.obstacles.append(f"Choose an owner: {obstacle}.")
    decision.owner = None
