"""The board as swim lanes: the open tickets of each project or owner, what needs a person first."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.shared.paging import LONGEST_IN_STATE, QUEUE, Conditions, Lists, count_tickets, load_pages
from tickets.shared.ticket_row import TicketRow
from tickets.team import agents, projects

from . import columns
from .columns import CardList, Filters, Viewer, split_values

GROUPS = ("project", "assigned_to")
STATES = (
    TicketStatus.NEEDS_INPUT,
    TicketStatus.IN_REVIEW,
    TicketStatus.BLOCKED,
    TicketStatus.IN_PROGRESS,
    TicketStatus.TODO,
    TicketStatus.INBOX,
    TicketStatus.WAITING,
)
"""The open states in the order of a lane."""
ORDERS = {status.value: QUEUE if status is TicketStatus.TODO else LONGEST_IN_STATE for status in STATES}
PAGE_SIZE = 8
MAX_OF_STATE = 2
"""Number of tickets of one state in a lane, so that the lane shows where its work stands."""
MAX_LANES = 30


def load_lanes(session: Session, group: str, filters: Filters, viewer: Viewer) -> list[CardList]:
    """Load the beginning of each lane that has tickets, named by its slug or owner, or "" for tickets without one."""
    names = _list_names(session, group, filters)
    by_state, by_lane = _build_lists(group, names, filters)
    orders = {f"{lane}/{state}": order for lane, _ in names for state, order in ORDERS.items()}
    ticket_pages = load_pages(session, by_state, orders, MAX_OF_STATE)
    tickets = {lane: _join_states(lane, ticket_pages) for lane, _ in names}
    cards = columns.build_cards(session, [ticket for rows in tickets.values() for ticket in rows], viewer)
    counts = count_tickets(session, by_lane)
    return [
        CardList(lane, counts[lane], [cards[ticket.id] for ticket in rows], None)
        for lane, rows in tickets.items()
        if rows
    ]


def _list_names(session: Session, group: str, filters: Filters) -> tuple[tuple[str, int | str | None], ...]:
    """List the name of each lane with the value that its tickets have."""
    if group == "project":
        every: list[tuple[str, int | str | None]] = [(each.slug, each.id) for each in projects.list_projects(session)]
    else:
        every = [(member.name, member.name) for member in agents.list_members(session)]
    filter_values = split_values(filters.project if group == "project" else filters.assigned_to)
    lanes = [(name, value) for name, value in every if name in filter_values or not filter_values][:MAX_LANES]
    return tuple(lanes if filter_values else [*lanes, ("", None)])


def _join_states(lane: str, ticket_pages: dict[str, list[TicketRow]]) -> list[TicketRow]:
    return [ticket for status in STATES for ticket in ticket_pages[f"{lane}/{status.value}"]][:PAGE_SIZE]


@lru_cache(columns.CACHE_SIZE)  # building the statements takes longer than running them
def _build_lists(group: str, names: tuple[tuple[str, int | str | None], ...], filters: Filters) -> tuple[Lists, Lists]:
    """Build the lists of each lane and state, and those of each lane."""
    base = filters.build_board_conditions()

    def build(value: int | str | None, status: TicketStatus) -> Conditions:
        return [Ticket.status == status, _is_in(group, value), *base]

    by_state = {f"{lane}/{status.value}": [build(value, status)] for lane, value in names for status in STATES}
    return Lists(by_state), Lists({lane: [build(value, status) for status in STATES] for lane, value in names})


def _is_in(group: str, value: int | str | None) -> ColumnElement[bool]:
    column = Ticket.project_id if group == "project" else Ticket.assigned_to
    return column.is_(None) if value is None else column == value
