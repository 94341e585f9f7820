"""The board as columns of cards by state, loaded page by page with a constant number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import false, func, or_, select, true
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import TERMINAL, UNRANKED, AgentKind, Landing, Priority, Project, Run, Ticket, TicketStatus, TicketTag, now
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.lifecycle.moves import MOVES, Move
from tickets.lifecycle.schemas import load_tags
from tickets.lifecycle.transitions import MoveContext
from tickets.runs import runtime
from tickets.shared.actors import Actor
from tickets.shared.canary import IS_ORDINARY_TICKET
from tickets.shared.errors import Invalid
from tickets.shared.label_colors import Label, label_project, label_tag
from tickets.shared.paging import NEWEST, QUEUE, Conditions, Lists, Order, count_tickets, load_pages
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents, projects
from tickets.workflow import branch_states, evidence, landing
from tickets.workflow.branch_states import MergeNote
from tickets.workflow.evidence import Shortfall

from . import status_reason
from .status_reason import StatusReason

PAGE_SIZE = 30
FIRST_PAGE_SIZE = 9
"""Number of cards of a column with which the board opens. More are loaded as it is scrolled."""
CACHE_SIZE = 64
"""Number of board configurations whose prebuilt statements are cached."""
OVERDUE_AFTER = timedelta(days=1)
"""How long a ticket may wait for a person before the board marks it."""
ATTENTION_STATES = {TicketStatus.NEEDS_INPUT, TicketStatus.IN_REVIEW, TicketStatus.BLOCKED}


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the board, in which empty values do not narrow it. Several values are separated by commas."""

    project: str = ""
    assigned_to: str = ""
    tag: str = ""
    priority: str = ""
    q: str = ""
    archived: str = ""

    def build_board_conditions(self) -> Conditions:
        """Return all conditions, including the one for archived tickets."""
        return [*select_archived(bool(self.archived)), *self.conditions()]

    def conditions(self) -> Conditions:
        """Return the conditions of the filters. Raises `Invalid` for an unknown priority."""
        clauses: Conditions = []
        if self.project:
            project_ids = select(Project.id).where(Project.slug.in_(split_values(self.project)))
            clauses.append(Ticket.project_id.in_(project_ids))
        if self.assigned_to:
            clauses.append(Ticket.assigned_to.in_(split_values(self.assigned_to)))
        if self.tag:
            tagged = select(TicketTag.ticket_id).where(TicketTag.tag.in_(split_values(self.tag)))
            clauses.append(Ticket.id.in_(tagged))
        if self.priority:
            clauses.append(Ticket.priority.in_([_parse_priority(name) for name in split_values(self.priority)]))
        if self.q:
            clauses.append(or_(Ticket.title.icontains(self.q, autoescape=True), Ticket.identifier == self.q.upper()))
        return clauses


def split_values(text: str) -> list[str]:
    """Split the values of a filter."""
    return [value for value in text.split(",") if value]


def _parse_priority(name: str) -> Priority:
    return Priority[_require_choice("priority", name, [priority.label for priority in Priority]).upper()]


def select_archived(archived: bool) -> Conditions:
    """Return the conditions for archived tickets or for the others. Those of the canary are in neither list."""
    return [Ticket.archived == true(), IS_ORDINARY_TICKET] if archived else [Ticket.archived == false()]


def _require_choice(name: str, value: str, choices: list[str]) -> str:
    if value not in choices:
        raise Invalid(f"There is no {name} named {value[:40]!r}.", field=name, choices=choices)
    return value


@dataclass(frozen=True, slots=True, eq=False)  # `build_buttons` caches the instances
class MoveButton:
    """A move as a button, with its target state and whether it needs input first.

    `landing` is the landing of an approval, `ways` are the other ways to approve. The label of an `unmet` approval says
    what is missing, and its form asks for a reason.
    """

    move: str
    label: str
    to: str
    fields: bool
    danger: bool
    landing: str = ""
    ways: tuple[MoveButton, ...] = ()
    unmet: bool = False

    @property
    def value(self) -> str:
        """The value that the button sends: the move, and the way to approve."""
        return f"{self.move}:{self.landing}" if self.landing else self.move


def _build_button(move: Move, to: TicketStatus, ways: tuple[Landing, ...]) -> MoveButton:
    asks = any(field.is_required() for field in move.facts.model_fields.values())
    plain = MoveButton(move.name, move.label, to.value, asks, move.danger)
    if not ways:
        return plain
    own, *others = _list_ways(plain, ways)
    return replace(own, ways=tuple(others))


def _list_ways(button: MoveButton, ways: Iterable[Landing]) -> list[MoveButton]:
    return [replace(button, label=landing.APPROVE_LABELS[way], landing=way.value) for way in ways]


@cache
def list_card_actions() -> list[MoveButton]:
    """List every action that the menu of a card may offer, each way to approve among them."""
    buttons = [_build_button(move, move.targets[0], ()) for move in MOVES.values() if move.label]
    approve = next(button for button in buttons if button.move == "approve")
    return [*buttons, *_list_ways(approve, landing.APPROVE_LABELS)]


@cache  # without it the board takes twice as long
def build_buttons(context: MoveContext, ways: tuple[Landing, ...] = ()) -> tuple[MoveButton, ...]:
    """Build the buttons of the moves that a page offers. `ways` are the options of `landing.find_landing_options`."""
    return tuple(
        _build_button(move, transitions.find_target(move, context), ways if move.name == "approve" else ())
        for move in transitions.list_moves(context)
        if move.label
    )


def mark_unmet(buttons: Sequence[MoveButton], shortfalls: Sequence[Shortfall]) -> list[MoveButton]:
    """Let the approval say what is missing, and ask first."""
    if not shortfalls:
        return list(buttons)
    changes: dict[str, Any] = {"label": evidence.describe_shortfalls(shortfalls), "fields": True, "unmet": True}
    return [
        replace(button, landing="", ways=(), **changes) if button.move == "approve" else button for button in buttons
    ]


@dataclass(frozen=True, slots=True)
class Viewer:
    """The actor who views the board, and the limits of the settings."""

    actor: Actor
    limits: DispatchLimits


class Card(NamedTuple):
    """A ticket as a card, with `since` the time when it came into its state and `reason` its status in one line.

    It is `overdue` when it has waited for a person for too long or has missed its check-in, `ranked` by hand.
    """

    identifier: str
    title: str
    status: str
    priority: str
    project: Label | None
    tags: tuple[Label, ...]
    owner: str | None
    owner_kind: str
    since: datetime
    created: datetime
    updated: datetime
    live: bool
    live_line: str | None
    cost: float | None
    reason: StatusReason | None
    needs_you: bool
    overdue: bool
    ranked: bool
    version: int
    moves: tuple[MoveButton, ...]
    merge: MergeNote | None = None


@dataclass(frozen=True, slots=True)
class CardList:
    """A column or a lane with the number of its tickets and the cards of one page.

    `slots` are the live and the maximum number of runs, set for the column of tickets in progress.
    """

    name: str
    count: str
    cards: list[Card]
    next_cursor: str | None
    slots: tuple[int, int] | None = None


def load_columns(session: Session, filters: Filters, viewer: Viewer) -> list[CardList]:
    """Load the first cards of all nine columns, each named by its state."""
    return _load_columns(session, list(TicketStatus), filters, viewer, None, FIRST_PAGE_SIZE)


def load_column(
    session: Session, status: str, filters: Filters, viewer: Viewer, cursor: str | None = None, size: int = PAGE_SIZE
) -> CardList:
    """Load one column from a cursor on. Raises `Invalid` for an unknown state or a malformed cursor."""
    state = TicketStatus(_require_choice("status", status, [state.value for state in TicketStatus]))
    return _load_columns(session, [state], filters, viewer, cursor, size)[0]


def _load_columns(
    session: Session, states: Sequence[TicketStatus], filters: Filters, viewer: Viewer, cursor: str | None, size: int
) -> list[CardList]:
    card_lists = load_card_lists(session, _build_state_lists(tuple(states), filters), ORDERS, viewer, cursor, size)
    slots = sum(agents.count_live_runs(session).values()), viewer.limits.total
    return [replace(pile, slots=slots) if pile.name == TicketStatus.IN_PROGRESS else pile for pile in card_lists]


ORDERS = {status.value: QUEUE if status is TicketStatus.TODO else NEWEST for status in TicketStatus}
"""The order of each column: that of pickup for what may start, else the newest change first."""


@lru_cache(CACHE_SIZE)  # without it the board takes 40 % longer
def _build_state_lists(states: tuple[TicketStatus, ...], filters: Filters) -> Lists:
    """Build one list per state."""
    return Lists({status.value: [[Ticket.status == status, *filters.build_board_conditions()]] for status in states})


def load_card_lists(
    session: Session,
    lists: Lists,
    orders: Mapping[str, Order],
    viewer: Viewer,
    cursor: str | None = None,
    size: int = PAGE_SIZE,
) -> list[CardList]:
    """Load these lists, each in its order, from a cursor on, sharing the queries of all their cards."""
    ticket_pages = load_pages(session, lists, orders, size + 1, cursor)
    cards_by_id = build_cards(session, [ticket for page in ticket_pages.values() for ticket in page[:size]], viewer)
    counts_by_list = count_tickets(session, lists)
    return [
        CardList(
            name,
            counts_by_list[name],
            [cards_by_id[ticket.id] for ticket in page[:size]],
            orders[name].place(page[size - 1]) if len(page) > size else None,
        )
        for name, page in ticket_pages.items()
    ]


def count_by_state(session: Session, filters: Filters) -> dict[str, str]:
    """Count the tickets in each state."""
    return count_tickets(session, _build_state_lists(tuple(TicketStatus), filters))


ANY_TICKET = select(Ticket.id).where(IS_ORDINARY_TICKET).limit(1)


def is_board_empty(session: Session) -> bool:
    """Return whether the store has no ticket but those of the canary."""
    return fetch_rows(session, ANY_TICKET).first() is None


# --------------------------------------------------------------------------------------------------------------- cards


def build_cards(session: Session, tickets: Sequence[AnyTicket], viewer: Viewer) -> dict[int, Card]:
    """Build the card of each of these tickets, in a constant number of queries."""
    ids = [ticket.id for ticket in tickets]
    contexts = transitions.load_actor_contexts(session, tickets, viewer.actor)
    live = {ticket_id: context.live for ticket_id, context in contexts.items() if context.live}
    reasons = status_reason.load_reasons(session, tickets, live, viewer.limits)
    tags, costs, kinds = load_tags(session, ids), load_costs(session, ids), load_owner_kinds(session)
    labels = {project.id: label_project(project) for project in projects.list_all_projects(session)}
    ways, notes = landing.find_landing_options(session, tickets), branch_states.load_notes(session, tickets)
    return {
        ticket.id: Card(
            identifier=ticket.identifier,
            title=ticket.title,
            status=ticket.status.value,
            priority=ticket.priority.label,
            project=labels.get(ticket.project_id or 0),
            tags=tuple(map(label_tag, tags.get(ticket.id, ()))),
            owner=ticket.assigned_to,
            owner_kind=kinds.get(ticket.assigned_to or "", "person"),
            since=ticket.moved,
            created=ticket.created,
            updated=ticket.updated,
            live=_is_working(live.get(ticket.id)),
            live_line=_get_live_line(live.get(ticket.id)),
            cost=costs.get(ticket.id),
            reason=reasons.get(ticket.id),
            needs_you=needs_a_person(ticket) or _is_asking(live.get(ticket.id)),
            overdue=is_overdue(ticket),
            ranked=ticket.rank != UNRANKED,
            version=ticket.version,
            moves=build_buttons(transitions.build_move_context(ticket, contexts[ticket.id]), ways.get(ticket.id, ())),
            merge=notes.get(ticket.id),
        )
        for ticket in tickets
    }


def needs_a_person(ticket: AnyTicket) -> bool:
    """Return whether a ticket needs input, review or unblocking, except while its approved work is being landed."""
    return ticket.status in ATTENTION_STATES and not landing.is_pending(ticket)


def is_overdue(ticket: AnyTicket) -> bool:
    """Return whether a person should have acted: they let the ticket wait too long, or its check-in has passed."""
    is_late = ticket.expected_check_in is not None and ticket.expected_check_in < now()
    waits = needs_a_person(ticket) and ticket.moved < now() - OVERDUE_AFTER
    return waits or (is_late and ticket.status not in TERMINAL)


def _is_working(run: Run | None) -> bool:
    return run is not None and runtime.get_state(run) not in ("stopping", "unknown")


def _is_asking(run: Run | None) -> bool:
    return run is not None and runtime.needs_person(run)


def _get_live_line(run: Run | None) -> str | None:
    return run.live_line if run else None


COST_BY_TICKET = (
    select(Run.ticket_id, func.sum(Run.cost_usd)).where(in_ids(Run.ticket_id, "tickets")).group_by(Run.ticket_id)
)


def load_costs(session: Session, ids: list[int]) -> dict[int, float]:
    """Load the cost of each of these tickets. Tickets without reported cost are absent."""
    return {ticket_id: cost for ticket_id, cost in fetch_rows(session, COST_BY_TICKET, tickets=ids) if cost}


def load_owner_kinds(session: Session) -> dict[str, str]:
    """Load the kind of each member of the team for display: person or agent."""
    return {
        member.name: "person" if member.kind is AgentKind.HUMAN else "agent" for member in agents.list_members(session)
    }
