"""Conditions that a control loop observes: each has one incident, and one inbox item for as long as it lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from models import InboxItem, InboxState, Incident, format_clock, now
from redaction import SHAPES
from tickets.operations import inbox_items, incident_tracking, incidents
from tickets.operations.health_check import format_count
from tickets.operations.inbox_items import NewItem
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError

MAX_CONDITIONS = 50
"""Conditions of one kind in one pass, the oldest first."""
MAX_TITLE_CHARACTERS = 200
RAISED, FILED, CLOSED = "raised", "filed", "closed"
REFUSED = "refused"
"""Counts the items that were not filed, as the inbox is full. Their incidents are raised all the same."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that needs attention, with advice for it. `fingerprint` identifies it between passes.

    `since` is when it began, where that can be told: an item that was filed later is about this occurrence.
    """

    fingerprint: str
    title: str
    advice: str
    severity: str = "warning"
    ticket_id: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The conditions of one kind that hold now, whose fingerprints begin with `prefix`.

    `problems` name the parts that could not be observed, and `unknown` their fingerprints' beginnings. An observation
    that is not complete closes nothing.
    """

    prefix: str
    conditions: list[Condition]
    is_complete: bool = True
    problems: list[str] = field(default_factory=list)
    unknown: tuple[str, ...] = ()


def limit_conditions(prefix: str, conditions: Iterable[Condition]) -> Observation:
    """Build an observation of the first conditions. It is complete when these are all."""
    condition_list = list(conditions)
    return Observation(prefix, condition_list[:MAX_CONDITIONS], len(condition_list) <= MAX_CONDITIONS)


def format_title(text: str) -> str:
    """Format a text as a title: one line without secrets or control characters."""
    return SHAPES.clean_text(" ".join(text.split()))[:MAX_TITLE_CHARACTERS]


def record_observation(session: Session, observation: Observation, actor: Actor) -> Counter[str]:
    """Raise or refresh the incident of each condition, file an item for each new one, and close what is gone.

    Returns how many incidents were raised and closed, and how many items were filed or refused. The actor's name is the
    items' kind.
    """
    counts: Counter[str] = Counter()
    open_incidents = {row.fingerprint: row for row in incident_tracking.list_open(session)}
    incident_by_condition = {
        condition: _record_incident(session, condition, open_incidents, actor, counts)
        for condition in observation.conditions
    }
    newest_items = inbox_items.load_newest_items(session, [incident.id for incident in incident_by_condition.values()])
    for condition, incident in incident_by_condition.items():
        if _needs_item(condition, incident, newest_items):
            counts[_file_item(session, condition, incident, actor)] += 1
    counts[CLOSED] += _close_past(session, observation, open_incidents, actor)
    return +counts


def _record_incident(
    session: Session, condition: Condition, open_incidents: Mapping[str, Incident], actor: Actor, counts: Counter[str]
) -> Incident:
    """Raise the incident of a condition. An open one is not counted again."""
    incident = open_incidents.get(condition.fingerprint)
    if incident is not None:
        incidents.refresh_incident(session, incident, condition.title, condition.advice)
        return incident
    counts[RAISED] += 1
    return incidents.raise_incident(
        session,
        condition.fingerprint,
        condition.title,
        condition.advice,
        severity=condition.severity,
        ticket_id=condition.ticket_id,
        actor=actor,
    )


def _needs_item(condition: Condition, incident: Incident, newest_items: Mapping[int | None, InboxItem]) -> bool:
    """Return whether no item about this occurrence of a condition was filed, and none about an earlier one is open."""
    item = newest_items.get(incident.id)
    if item is None:
        return True
    is_settled = item.state in (InboxState.ACTED, InboxState.FAILED)
    return is_settled and item.created < (condition.since or incident.opened)


def _file_item(session: Session, condition: Condition, incident: Incident, actor: Actor) -> str:
    """File the item of a condition, and return as what it counts."""
    item = NewItem(
        kind=actor.name,
        title=format_title(condition.title),
        body=condition.advice,
        ticket=str(condition.ticket_id) if condition.ticket_id else None,
    )
    try:
        inbox_items.file_item(session, item, actor, incident_id=incident.id)
    except ConflictError:  # raised before anything is written
        return REFUSED
    return FILED


def take_refusals(counts: Counter[str]) -> list[str]:
    """Take the items that were not filed out of the counts, and describe them as a problem."""
    count = counts.pop(REFUSED, 0)
    return [f"The inbox is full, so this was not filed: {format_count(count, 'item')}"] if count else []


def _close_past(
    session: Session, observation: Observation, open_incidents: Mapping[str, Incident], actor: Actor
) -> int:
    """Close the open incidents of this kind whose condition is gone, and return their number."""
    if not observation.is_complete:
        return 0
    present = {condition.fingerprint for condition in observation.conditions}
    past_incidents = [
        incident
        for fingerprint, incident in open_incidents.items()
        if fingerprint.startswith(observation.prefix)
        and fingerprint not in present
        and not fingerprint.startswith(observation.unknown)
    ]
    for incident in past_incidents:
        incidents.close_incident(session, incident.id, f"No longer the case at {format_clock(now())}.", actor)
    return len(past_incidents)
