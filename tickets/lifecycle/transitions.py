"""The lifecycle of tickets: creation, and `transition()`, the only writer of a ticket's status.

Side effects (stop a runtime, notify, wake dependants) happen after the commit in the jobs, which compare the desired
state with what they observe. A crash in between only delays them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from database import fetch_rows
from models import (
    TERMINAL,
    ActorKind,
    Counter,
    Planning,
    Run,
    RunMode,
    RunState,
    Ticket,
    TicketStatus,
    now,
)
from protocol import StopCode
from tickets.shared import display_names, events, rights
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY, SERIES
from tickets.shared.errors import (
    Forbidden,
    IllegalMove,
    LandingPending,
    NoSuchTicket,
    StaleTicket,
)
from tickets.shared.inputs import AskInput, FailLandingInput, LandInput, MoveInput, NewTicket
from tickets.shared.lookup import find_live_runs, get_ticket, get_with_live_run
from tickets.shared.rights import Act
from tickets.shared.ticket_fields import CREATABLE
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents
from tickets.team.projects import get_project
from tickets.workflow import attempts, evidence, landing, relationships, ticket_phases, wake_conditions

from . import comments, controller_comment, effects, inbox, move_snapshot, tagging
from .column_values import column_values
from .comments import MISSION_CONTROL
from .move_snapshot import MoveSnapshot
from .moves import (
    COMMENT_KINDS,
    CONTROLLER_MOVES,
    LANDING_MOVES,
    MAX_TICKETS_PER_RUN,
    MOVES,
    MOVES_FROM,
    Move,
    Role,
    S,
    determine_roles,
    find_move,
)

COPIED_FIELDS = [field.name for field in CREATABLE if field.name not in ("project", "gate")]


def create_ticket(session: Session, body: NewTicket, actor: Actor, *, canary: bool = False) -> Ticket:
    """Insert a ticket in its initial state, in one transaction, so that a `waiting` ticket is never visible as `todo`.

    A `canary` ticket has numbers of its own and belongs to the canary's agent.

    Raises `Invalid` for an unknown project or owner, `NoSuchTicket` for an unknown parent, wake ticket or relation,
    `ConflictError` for relationships that make a cycle or are repeated.
    """
    effects.require_own_probe(body.wake, actor)
    if body.planning is Planning.NONE:  # it overrules the profile, which only a person may
        rights.require(actor, Act.DECIDE_PLAN)
    project = get_project(session, body.project) if body.project else None
    values = column_values(session, {name: getattr(body, name) for name in COPIED_FIELDS})
    values |= {"assigned_to": CANARY, "archived": True} if canary else {}
    gate = body.gate or (project.gate if project else None)
    ticket = Ticket(
        identifier=_make_identifier(session, canary),
        status=_choose_status(session, body, actor),
        requester=actor.name,
        project_id=project.id if project else None,
        return_to=S.TODO.value if body.wake else None,
        **values,
    )
    if gate:
        ticket.gate = gate
    if body.wake:
        for name, value in wake_conditions.build_columns(session, body.wake).items():
            setattr(ticket, name, value)
    session.add(ticket)
    session.flush()
    tags_by_rule = tagging.tag_new_ticket(session, ticket, body, project, actor)
    for name, value in ticket_phases.install_phases(session, ticket, body.phases).items():
        setattr(ticket, name, value)
    if parent := _find_parent(session, body, actor):
        relationships.add_relationship(session, ticket.id, "child_of", parent, actor)
    for link in body.relationships:
        relationships.relate(session, ticket.id, link.kind, get_ticket(session, link.ticket).id, actor)
    created = {"title": ticket.title, "status": ticket.status.value, **ticket_phases.build_holder_payload(ticket)}
    created |= {"tags_by_rule": tags_by_rule} if tags_by_rule else {}
    events.append(session, ticket.id, "ticket_created", created, actor)
    return ticket


def _find_parent(session: Session, body: NewTicket, actor: Actor) -> int | None:
    """Find the parent of a new ticket. The one of a run's ticket is its own, so that it adds work to no other."""
    parent = get_ticket(session, body.child_of).id if body.child_of else actor.ticket_id
    if actor.ticket_id is not None and parent != actor.ticket_id:
        raise Forbidden("A run creates tickets below its own ticket only.", field="child_of")
    return parent


def _choose_status(session: Session, body: NewTicket, actor: Actor) -> TicketStatus:
    """Return the initial state, which is triage for tickets of a run: agents start no work or command of their own accord."""
    if (
        actor.run_id and events.count_events(session, actor.run_id, "ticket_created") >= MAX_TICKETS_PER_RUN
    ):  # it is in a loop
        raise Forbidden(f"A run may create at most {MAX_TICKETS_PER_RUN} tickets. Put the rest into your report.")
    if actor.kind is not ActorKind.RUN:
        return S(body.status)
    restricted = {"status": body.status != "inbox", "relationships": body.relationships}
    restricted |= {"wake": body.wake, "gate": body.gate, "planning": body.planning, "phases": body.phases}
    restricted |= {"campaign_owner": body.campaign_owner}
    forbidden = [name for name, value in restricted.items() if value and name in body.model_fields_set]
    if forbidden:
        raise Forbidden(
            f"A run creates tickets for triage. Only a person may set {' and '.join(forbidden)}.", fields=forbidden
        )
    return S.INBOX


NEXT_NUMBER = (
    update(Counter.__table__)  # type: ignore[arg-type]
    .where(Counter.name == bindparam("series"))
    .values(value=Counter.value + 1)
    .returning(Counter.value)
)


def _make_identifier(session: Session, canary: bool) -> str:
    number: int | None = fetch_rows(session, NEXT_NUMBER, series=CANARY if canary else "ticket").scalar()
    assert number is not None, "the migration makes the counter rows"
    return f"{SERIES if canary else 'MC'}-{number}"


def transition(
    session: Session,
    ticket_id: int,
    move: str,
    actor: Actor,
    *,
    run: int | None = None,
    version: int | None = None,
    role: Role | None = None,
    **facts: Any,
) -> Ticket:
    """Make one move with one guarded UPDATE and one event in the caller's transaction, and return the updated ticket.

    `role` is one that the caller's code grants, such as that of pickup to a service that opens a run of its own.

    Raises `Invalid` (input), `NoSuchTicket`, `IllegalMove` (state or right), `StaleTicket` (version), `EvidenceMissing`.
    """
    definition = find_move(move)
    move_input = definition.parse_facts(facts)
    ticket, live = get_with_live_run(session, ticket_id)
    if version is not None and ticket.version != version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    _require_allowed(session, definition, ticket, live, actor, run, role)
    phases = ticket_phases.read_states(session, ticket) if ticket.phase else {}
    values = _compute_values(session, definition, ticket, move_input, actor)
    was = move_snapshot.take_snapshot(ticket, values) | ({"phases": phases} if phases else {})
    updated = _write(session, ticket, values)
    _record(session, definition, updated, was, move_input, actor, run)
    if definition.stops_run and live is not None:
        stop_live_run(session, live, STOP_CODES[definition.name], f"{actor.name}: {definition.name}", actor)
    if updated.status is S.DONE:
        complete_parent(session, updated)
    elif updated.status is S.CANCELLED:
        _return_parent(session, updated, actor)
    return updated


def complete_parent(session: Session, ticket: Ticket) -> None:
    """Complete the parent of an attempt that is done, and cancel the other attempts."""
    group = attempts.find_group(session, ticket.id)
    if group is None or group.parent.id == ticket.id:
        return
    for other in group.list_open(without=ticket.id):
        note = f"{ticket.identifier} is done instead."
        transition(session, other.id, "cancel", MISSION_CONTROL, role=Role.HUMAN, note=note)
    if group.parent.status not in TERMINAL:
        note = f"{ticket.identifier}, the attempt of {ticket.assigned_to or 'nobody'}, is done."
        transition(session, group.parent.id, "adopt", MISSION_CONTROL, note=note)


def _return_parent(session: Session, ticket: Ticket, actor: Actor) -> None:
    """Block the parent of attempts that were all cancelled for a person, as no attempt completes it any more."""
    group = attempts.find_group(session, ticket.id)
    if group is None or not group.is_cancelled or group.parent.status is not S.WAITING:
        return
    parent = transition(session, group.parent.id, "wake", MISSION_CONTROL)
    if parent.status is S.INBOX:
        transition(session, parent.id, "triage", MISSION_CONTROL)
    if parent.status is not S.BLOCKED:
        transition(session, parent.id, "block", MISSION_CONTROL, **attempts.build_return_block(actor))


STATE = select(Ticket.identifier, Ticket.status).where(Ticket.id == bindparam("ticket"))


def require_source(session: Session, ticket_id: int, move: str) -> None:
    """Raise `IllegalMove` when the move does not start from the ticket's state. Other rules are left to `transition`."""
    row = fetch_rows(session, STATE, ticket=ticket_id).first()
    if row is None:
        raise NoSuchTicket(ticket=str(ticket_id))
    definition = find_move(move)
    if row.status not in definition.sources:
        raise _build_refusal(IllegalMove, definition, row, _describe_wrong_state(row.status))


# Prebuilt statement: building it for each move makes a claim 18 % slower.
WRITE = (
    select(Ticket)
    .from_statement(
        update(Ticket.__table__)  # type: ignore[arg-type]
        .where(
            Ticket.id == bindparam("read_id"),
            Ticket.status == bindparam("read_status"),
            Ticket.version == bindparam("read_version"),
        )
        .values(version=Ticket.version + 1, event_seq=Ticket.event_seq + 1)
        .returning(Ticket)
    )
    .execution_options(populate_existing=True)
)


def _write(session: Session, ticket: Ticket, values: dict[str, Any]) -> Ticket:
    """Update the ticket if its version is unchanged, and reserve the sequence number of the move's event.

    Raises `StaleTicket`.
    """
    read = {"read_id": ticket.id, "read_status": ticket.status, "read_version": ticket.version}
    updated: Ticket | None = session.scalar(WRITE, read | values | {"updated": now()})
    if updated is None:
        raise StaleTicket(ticket=ticket.identifier)
    return updated


def restore_ticket(session: Session, ticket: Ticket, was: MoveSnapshot, actor: Actor) -> Ticket:
    """Restore the columns that a move changed. The caller, `undo`, checks that this is allowed."""
    before = ticket.status
    columns = {name: value for name, value in was.items() if name != "phases"}
    updated = _write(session, ticket, move_snapshot.parse_snapshot(columns))
    ticket_phases.restore_states(session, updated, was.get("phases", {}))
    payload = {
        "move": "undo",
        "from": before.value,
        "to": updated.status.value,
        **ticket_phases.build_holder_payload(updated),
    }
    events.append(session, ticket.id, "ticket_moved", payload, actor, seq=updated.event_seq)
    inbox.update_inbox(session, updated, before, "undo", None)
    return updated


class ActorContext(NamedTuple):
    """Relation of one actor to one ticket: roles, live run, own work, and whether there is an earlier phase."""

    rights: frozenset[Role]
    live: Run | None
    own_work: bool
    earlier: bool = False


def load_actor_contexts(session: Session, tickets: Sequence[AnyTicket], actor: Actor) -> dict[int, ActorContext]:
    """Load the context of an actor for each of these tickets, in a constant number of queries."""
    return _standings(session, tickets, actor, find_live_runs(session, [ticket.id for ticket in tickets]), MOVES)


def _standings(
    session: Session, tickets: Sequence[AnyTicket], actor: Actor, live: Mapping[int, Run | None], moves: Container[str]
) -> dict[int, ActorContext]:
    """Load actor contexts like `load_actor_contexts`, reading only what these moves and this actor depend on."""
    ids = [ticket.id for ticket in tickets]
    submitters = evidence.find_submitters(session, ids) if "approve" in moves else {}
    runnable = agents.list_runnable(session) if actor.kind is ActorKind.HUMAN else ()
    earlier = ticket_phases.find_with_earlier(session, tickets) if "send_back" in moves else ()
    return {
        ticket.id: ActorContext(
            determine_roles(actor, ticket.assigned_to in runnable, live.get(ticket.id)),
            live.get(ticket.id),
            actor.name in submitters.get(ticket.id, ()),
            ticket.id in earlier,
        )
        for ticket in tickets
    }


def _is_silenced(run: Run, move: Move) -> bool:
    """Return whether the run was asked to stop and may not make this move. Only a question that timed out may still be asked."""
    return run.stop_code is not None and (run.stop_code, move.name) != (StopCode.UNANSWERED, "ask")


def _require_allowed(
    session: Session,
    move: Move,
    ticket: Ticket,
    live: Run | None,
    actor: Actor,
    run: int | None = None,
    role: Role | None = None,
) -> None:
    def context(moves: Container[str]) -> MoveContext:
        actor_context = _standings(session, [ticket], actor, {ticket.id: live}, moves)[ticket.id]
        rights = actor_context.rights | {role} if role else actor_context.rights
        return build_move_context(ticket, actor_context._replace(rights=rights))

    obstacle = _find_obstacle(move, context({move.name}))
    speaks = actor.kind is ActorKind.RUN
    if obstacle is None and speaks and (live is None or live.id != run or _is_silenced(live, move)):
        obstacle = "only the final report of the ticket's run does this"
    if obstacle:
        kind = LandingPending if move.name == "approve" and landing.is_pending(ticket) else IllegalMove
        obstacle = obstacle.format(actor=actor.name, landing=landing.describe_landing(ticket))
        raise _build_refusal(kind, move, ticket, obstacle, list_moves(context(MOVES)))


def _build_refusal(
    kind: type[IllegalMove], definition: Move, ticket: Any, obstacle: str, moves: Sequence[Move] = ()
) -> IllegalMove:
    """Build the error that says why a move cannot be made. `ticket` has an `identifier` and a `status`."""
    return kind(
        f"{ticket.identifier} cannot {definition.name.replace('_', ' ')}: {obstacle}.",
        ticket=ticket.identifier,
        status=ticket.status.value,
        move=definition.name,
        moves=[move.name for move in moves],
    )


def _describe_wrong_state(status: TicketStatus) -> str:
    return f"its state is {display_names.format_status_label(status)}"


class MoveContext(NamedTuple):
    """Conditions that determine the available moves. `origin` is the state to which a parked or blocked ticket returns."""

    status: TicketStatus
    lands: bool
    origin: str | None
    rights: frozenset[Role]
    held: bool
    own_work: bool
    earlier: bool


def build_move_context(ticket: AnyTicket, actor_context: ActorContext) -> MoveContext:
    """Build the move context of a ticket for an actor."""
    origin = (ticket.block or {}).get("return_to") if ticket.status is S.BLOCKED else ticket.return_to
    lands, is_held = landing.is_pending(ticket), actor_context.live is not None
    return MoveContext(
        ticket.status, lands, origin, actor_context.rights, is_held, actor_context.own_work, actor_context.earlier
    )


def _find_obstacle(move: Move, context: MoveContext) -> str | None:
    """Return the reason why a move is not possible, or None. Shared by `transition` and the buttons of the pages.

    The placeholders `{actor}` and `{landing}` stand for the actor's name and the description of the landing.
    """
    if context.status not in move.sources:
        return _describe_wrong_state(context.status)
    if move.by.isdisjoint(context.rights):
        return f"that is for {' or '.join(sorted(by.value for by in move.by))}, not for {{actor}}"
    if move.without_run and context.held and Role.LIVE_RUN not in context.rights:
        return "a run is active"
    if move.name == "send_back" and not context.earlier:
        return "no earlier phase was worked"
    if move.name == "approve" and context.own_work:
        return "whoever did the work cannot approve it"
    if move.name == "approve" and context.lands:
        return "it is already approved. {landing} Request changes to withdraw the approval"
    if move.name in LANDING_MOVES and not context.lands:
        return "nothing is being landed"
    return None


def list_moves(context: MoveContext) -> tuple[Move, ...]:
    """List the possible moves in the order in which a page offers them."""
    return tuple(move for move in MOVES_FROM[context.status] if _find_obstacle(move, context) is None)


def find_target(move: Move, context: MoveContext) -> TicketStatus:
    """Return the target state of a move as far as it is known before its input."""
    if move.name in ("wake", "unblock"):
        status = effects.compute_return(context.origin, S.TODO)["status"]
        assert isinstance(status, TicketStatus)
        return status
    return move.targets[0]


def _compute_values(session: Session, move: Move, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    edits = effects.compute_edits(session, facts)
    rights.require_editable(actor, edits)
    values = {
        **effects.RESET_BY_EVERY_MOVE,
        "return_to": None,
        **edits,
        **effects.compute_effects(session, move.name, ticket, facts, actor),
    }
    values.setdefault("status", move.targets[0])
    values["closed"] = now() if values["status"] in TERMINAL else None
    if values["status"] is not ticket.status:
        values["moved"] = now()
    return values


def _record(
    session: Session, move: Move, ticket: Ticket, was: MoveSnapshot, facts: MoveInput, actor: Actor, run: int | None
) -> None:
    """Append the event of a move, its comment, and update the inbox."""
    values = facts.model_dump(mode="json", exclude_none=True)
    payload = {
        "move": move.name,
        "from": was["status"],
        "to": ticket.status.value,
        **values,
        **ticket_phases.build_holder_payload(ticket),
    }
    if landing.is_pending(ticket) and ticket.landing_plan:
        payload["landing"] = ticket.landing_plan["policy"]
    if actor.kind is ActorKind.HUMAN:
        payload |= {"version": ticket.version, "was": was}
    events.append(session, ticket.id, "ticket_moved", payload, actor, run, seq=ticket.event_seq)
    text = values.get("body") or values.get("note") or values.get("waive")
    if actor.kind is ActorKind.ORCHESTRATOR and move.name in CONTROLLER_MOVES:
        reason = text or values.get("next_action")
        comments.write(
            session, ticket.id, controller_comment.describe_control(move, ticket, was, reason), actor, run_id=run
        )
    elif text and move.name not in ("release", "wake"):
        kind = COMMENT_KINDS.get(move.name)
        comments.write(session, ticket.id, text, actor, kind=kind, run_id=run, data=_build_comment_data(facts))
    inbox.update_inbox(session, ticket, S(was["status"]), move.name, run)


def _build_comment_data(facts: MoveInput) -> dict[str, Any] | None:
    """Build the data of a move's comment besides its text."""
    if isinstance(facts, LandInput):
        return {"address": facts.address}
    if isinstance(facts, FailLandingInput):
        return {"level": "warning"}
    return facts.question if isinstance(facts, AskInput) else None


STOP_CODES = {
    "park": StopCode.PARKED,
    "cancel": StopCode.CANCELLED,
    "close": StopCode.CLOSED,
    "adopt": StopCode.CLOSED,
    "block": StopCode.BLOCKED,
    "release": StopCode.OPERATOR,
}


STOP_OUTSIDE_TEXT = (
    "{reason}. The work of {agent} runs outside Mission Control, on {host}: it is asked to stop with its next heartbeat,"
    " and whatever it reports after this does not count."
)


def stop_live_run(session: Session, run: Run, code: str, reason: str, actor: Actor) -> None:
    """Record a stop request for a run. The wrapper receives it with its next heartbeat, and a job enforces it.

    A later request does not replace the first.
    """
    if run.stop_code:
        return
    session.execute(
        update(Run)
        .where(Run.id == run.id, Run.state != RunState.ENDED)
        .values(state=RunState.STOPPING, stop_code=code, stop_reason=reason)
    )
    events.append(
        session, run.ticket_id, "run_stop_requested", {"run": run.id, "code": code, "reason": reason}, actor, run.id
    )
    if run.mode is RunMode.EXTERNAL:
        text = STOP_OUTSIDE_TEXT.format(reason=reason, agent=run.agent, host=run.host)
        comments.write(session, run.ticket_id, text, run_id=run.id)
