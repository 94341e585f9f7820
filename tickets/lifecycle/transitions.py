"""The law of tickets: the table `MOVES`, and `transition()`, the only writer of a ticket's status.

What follows in the world (stop a runtime, notify, wake dependants) follows the commit and is done by the doors, which
compare what is desired with what they observe; a crash in between only delays it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from database import fetch_rows
from models import (
    TERMINAL,
    ActorKind,
    Counter,
    Priority,
    Run,
    RunState,
    Ticket,
    TicketStatus,
    TicketTag,
    now,
)
from tickets.shared import display_names, events
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, IllegalMove, Invalid, LandingPending, NoSuchTicket, StaleTicket, invalid
from tickets.shared.inputs import (
    AskFacts,
    FailLandingFacts,
    LandFacts,
    MoveInput,
    NewTicket,
)
from tickets.shared.lookup import get, get_with_live_run, live_runs
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents
from tickets.team.projects import project_named
from tickets.workflow import evidence, landing, relationships, ticket_phases, wake_conditions

from . import comments, effects, inbox, move_snapshot
from .move_snapshot import MoveSnapshot
from .moves import COMMENT_OF, FILED_BY_A_RUN, LANDING_MOVES, MOVES, MOVES_FROM, Move, Role, S


def create(session: Session, body: NewTicket, actor: Actor) -> Ticket:
    """Insert a ticket in its wanted state, in one transaction: one wanted in `waiting` is never seen as `todo`.

    Raises `Invalid` for an unknown project or owner, `NoSuchTicket` for an unknown parent, wake ticket or relation,
    `Conflict` for relationships that make a cycle or are told twice.
    """
    effects.require_own_probe(body.wake, actor)
    project = project_named(session, body.project) if body.project else None
    owner = agents.resolve(session, body.assigned_to) if body.assigned_to else None
    gate = body.gate or (project.gate if project else None)
    ticket = Ticket(
        identifier=f"MC-{_next_number(session)}",
        title=body.title,
        description=body.description,
        status=_first_status(session, body, actor),
        priority=Priority[body.priority.upper()],
        assigned_to=owner,
        requester=actor.name,
        project_id=project.id if project else None,
        acceptance=[criterion.model_dump() for criterion in body.acceptance],
        not_before=body.not_before,
        expected_check_in=body.expected_check_in,
        return_to=S.TODO.value if body.wake else None,
    )
    if gate:
        ticket.gate = gate
    if body.wake:
        for name, value in wake_conditions.columns(session, body.wake).items():
            setattr(ticket, name, value)
    session.add(ticket)
    session.flush()
    session.add_all(TicketTag(ticket_id=ticket.id, tag=tag) for tag in set(body.tags))
    for name, value in ticket_phases.install(session, ticket, body.phases).items():
        setattr(ticket, name, value)
    parent = get(session, body.child_of).id if body.child_of else actor.ticket_id
    if parent:
        relationships.add(session, ticket.id, "child_of", parent, actor)
    for link in body.relationships:
        relationships.relate(session, ticket.id, link.kind, get(session, link.ticket).id, actor)
    created = {"title": ticket.title, "status": ticket.status.value, **ticket_phases.held(ticket)}
    events.append(session, ticket.id, "ticket_created", created, actor)
    return ticket


def _first_status(session: Session, body: NewTicket, actor: Actor) -> TicketStatus:
    """What a run files waits for triage: agents start no work, and no command, of their own accord."""
    if actor.kind is not ActorKind.RUN:
        return S(body.status)
    asked = {"status": body.status != "inbox", "relationships": body.relationships}
    asked |= {"wake": body.wake, "gate": body.gate, "phases": body.phases}
    refused = [name for name, value in asked.items() if value and name in body.model_fields_set]
    if refused:
        raise Forbidden(
            f"A run files tickets for triage; {' and '.join(refused)} are for people to say.", fields=refused
        )
    if events.count_of(session, actor.run_id, "ticket_created") >= FILED_BY_A_RUN:  # it goes round in circles
        raise Forbidden(f"A run files at most {FILED_BY_A_RUN} tickets: put what is left into your report.")
    return S.INBOX


NEXT_NUMBER = (
    update(Counter.__table__)  # type: ignore[arg-type]
    .where(Counter.name == bindparam("series"))
    .values(value=Counter.value + 1)
    .returning(Counter.value)
)


def _next_number(session: Session, series: str = "ticket") -> int:
    number: int | None = fetch_rows(session, NEXT_NUMBER, series=series).scalar()
    assert number is not None, "the migration makes the counter rows"
    return number


def transition(
    session: Session,
    ticket_id: int,
    move: str,
    actor: Actor,
    *,
    run: int | None = None,
    version: int | None = None,
    **facts: Any,
) -> Ticket:
    """Make one move: one guarded UPDATE and one event row in the caller's transaction; returns the ticket as it now is.

    Raises `Invalid` (facts), `NoSuchTicket`, `IllegalMove` (state or right), `StaleTicket` (version), `EvidenceMissing`.
    """
    law = _find_move(move)
    given = _facts(law, facts)
    ticket, live = get_with_live_run(session, ticket_id)
    if version is not None and ticket.version != version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    _allow(session, law, ticket, live, actor, run)
    phases = ticket_phases.marks(session, ticket) if ticket.phase else {}
    values = _values(session, law, ticket, given, actor)
    was = move_snapshot.take_snapshot(ticket, values) | ({"phases": phases} if phases else {})
    changed = _write(session, ticket, values)
    _record(session, law, changed, was, given, actor, run)
    if law.stops_run and live is not None:
        stop_live_run(session, live, STOP_CODES[law.name], f"{actor.name}: {law.name}", actor)
    return changed


STATE = select(Ticket.identifier, Ticket.status).where(Ticket.id == bindparam("ticket"))


def require_source(session: Session, ticket_id: int, move: str) -> None:
    """Raise `IllegalMove` when the ticket is in no state from which the move leads. The rest is left to `transition`."""
    row = fetch_rows(session, STATE, ticket=ticket_id).first()
    if row is None:
        raise NoSuchTicket(ticket=str(ticket_id))
    law = _find_move(move)
    if row.status not in law.sources:
        raise _refusal(IllegalMove, law, row, _wrong_state(row.status))


# Built anew for each move it makes a claim 18 % slower.
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
    """The one guarded UPDATE: only the version that was read is changed. It reserves the number of the event that tells of it.

    Raises `StaleTicket`.
    """
    read = {"read_id": ticket.id, "read_status": ticket.status, "read_version": ticket.version}
    changed: Ticket | None = session.scalar(WRITE, read | values | {"updated": now()})
    if changed is None:
        raise StaleTicket(ticket=ticket.identifier)
    return changed


def restore(session: Session, ticket: Ticket, was: MoveSnapshot, actor: Actor) -> Ticket:
    """Put back what a move changed; whether that is allowed is judged in `undo`."""
    before = ticket.status
    columns = {name: value for name, value in was.items() if name != "phases"}
    changed = _write(session, ticket, move_snapshot.revived(columns))
    ticket_phases.put_back(session, changed, was.get("phases", {}))
    payload = {"move": "undo", "from": before.value, "to": changed.status.value, **ticket_phases.held(changed)}
    events.append(session, ticket.id, "ticket_moved", payload, actor, seq=changed.event_seq)
    inbox.follow(session, changed, before, "undo", None)
    return changed


def _find_move(move: str) -> Move:
    law = MOVES.get(move)
    if law is None:
        raise Invalid(f"there is no move named {move[:40]!r}", moves=sorted(MOVES))
    return law


def _facts(law: Move, facts: dict[str, Any]) -> MoveInput:
    try:
        return law.facts.model_validate(facts)
    except ValidationError as error:
        raise invalid(error) from None


class ActorContext(NamedTuple):
    """How one actor stands to one ticket: in which rights, which run holds it, whose work it is, and whether there is an
    earlier phase to send it back to."""

    rights: frozenset[Role]
    live: Run | None
    own_work: bool
    earlier: bool = False


def load_actor_contexts(session: Session, tickets: Sequence[AnyTicket], actor: Actor) -> dict[int, ActorContext]:
    """The standing of an actor to each of these tickets, in a constant number of queries."""
    return _standings(session, tickets, actor, live_runs(session, [ticket.id for ticket in tickets]), MOVES)


def _standings(
    session: Session, tickets: Sequence[AnyTicket], actor: Actor, live: Mapping[int, Run | None], moves: Container[str]
) -> dict[int, ActorContext]:
    """As `standings`, but read no more than these moves and this actor depend on."""
    ids = [ticket.id for ticket in tickets]
    submitters = evidence.submitters(session, ids) if "approve" in moves else {}
    runnable = agents.runnable(session) if actor.kind is ActorKind.HUMAN else ()
    earlier = ticket_phases.with_earlier(session, tickets) if "send_back" in moves else ()
    return {
        ticket.id: ActorContext(
            _rights(actor, ticket.assigned_to in runnable, live.get(ticket.id)),
            live.get(ticket.id),
            actor.name in submitters.get(ticket.id, ()),
            ticket.id in earlier,
        )
        for ticket in tickets
    }


def _rights(actor: Actor, runnable_owner: bool, live: Run | None) -> frozenset[Role]:
    if actor.kind is ActorKind.HUMAN:
        return frozenset({Role.HUMAN} if runnable_owner else {Role.HUMAN, Role.OWNER})
    if actor.kind is ActorKind.SYSTEM:
        return frozenset({Role.SYSTEM, Role.PICKUP} if actor.name == "pickup" else {Role.SYSTEM})
    if actor.kind is ActorKind.ORCHESTRATOR:
        return frozenset({Role.ORCHESTRATOR})
    if actor.kind is ActorKind.RUN and live is not None and actor.run_id == live.id:
        return frozenset({Role.LIVE_RUN})
    return frozenset()


def _silenced(run: Run, law: Move) -> bool:
    """A run that was told to stop may say nothing more, but for the question it has waited too long to have answered."""
    return run.stop_code is not None and (run.stop_code, law.name) != ("timeout", "ask")


def _allow(session: Session, law: Move, ticket: Ticket, live: Run | None, actor: Actor, run: int | None = None) -> None:
    def case(moves: Container[str]) -> MoveContext:
        return build_move_context(ticket, _standings(session, [ticket], actor, {ticket.id: live}, moves)[ticket.id])

    why = _obstacle(law, case({law.name}))
    speaks = actor.kind is ActorKind.RUN
    if why is None and speaks and (live is None or live.id != run or _silenced(live, law)):
        why = "only the final report of the run that holds the ticket makes this move"
    if why:
        kind = LandingPending if law.name == "approve" and landing.is_pending(ticket) else IllegalMove
        why = why.format(actor=actor.name, landing=landing.told(ticket))
        raise _refusal(kind, law, ticket, why, moves_from(case(MOVES)))


def _refusal(kind: type[IllegalMove], law: Move, ticket: Any, why: str, moves: Sequence[Move] = ()) -> IllegalMove:
    """The error that says why a move cannot be made; `ticket` has an `identifier` and a `status`."""
    return kind(
        f"{ticket.identifier} cannot {law.name.replace('_', ' ')}: {why}.",
        ticket=ticket.identifier,
        status=ticket.status.value,
        move=law.name,
        moves=[move.name for move in moves],
    )


def _wrong_state(status: TicketStatus) -> str:
    return f"it is {display_names.state(status)}"


class MoveContext(NamedTuple):
    """All by which it is decided which moves somebody may make; `origin` is where a ticket returns to that was set aside."""

    status: TicketStatus
    lands: bool
    origin: str | None
    rights: frozenset[Role]
    held: bool
    own_work: bool
    earlier: bool


def build_move_context(ticket: AnyTicket, standing: ActorContext) -> MoveContext:
    """That of a ticket for the actor whose standing it is."""
    origin = (ticket.block or {}).get("return_to") if ticket.status is S.BLOCKED else ticket.return_to
    lands, held = landing.is_pending(ticket), standing.live is not None
    return MoveContext(ticket.status, lands, origin, standing.rights, held, standing.own_work, standing.earlier)


def _obstacle(law: Move, case: MoveContext) -> str | None:
    """What is in the way of a move, or None: the one rule behind `transition` and the buttons. `{actor}` and `{landing}` stand
    for who asks, and for what is said of the landing."""
    if case.status not in law.sources:
        return _wrong_state(case.status)
    if law.by.isdisjoint(case.rights):
        return f"that is for {' or '.join(sorted(by.value for by in law.by))}, not for {{actor}}"
    if law.without_run and case.held and Role.LIVE_RUN not in case.rights:
        return "a run holds it"
    if law.name == "send_back" and not case.earlier:
        return "no earlier phase was worked"
    if law.name == "approve" and case.own_work:
        return "whoever did the work cannot approve it"
    if law.name == "approve" and case.lands:
        return "it is approved already. {landing} Request changes to call it back"
    if law.name in LANDING_MOVES and not case.lands:
        return "nothing of it is being landed"
    return None


def moves_from(case: MoveContext) -> tuple[Move, ...]:
    """The moves that may be made, in the order in which a page offers them."""
    return tuple(law for law in MOVES_FROM[case.status] if _obstacle(law, case) is None)


def leads_to(law: Move, case: MoveContext) -> TicketStatus:
    """Where a move brings a ticket, as far as that can be said before its facts are known."""
    if law.name in ("wake", "unblock"):
        returned = effects.back(case.origin, S.TODO)["status"]
        assert isinstance(returned, TicketStatus)
        return returned
    return law.targets[0]


def _values(session: Session, law: Move, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    values = {
        **effects.RESET_BY_EVERY_MOVE,
        "return_to": None,
        **effects.edits(session, facts),
        **effects.effects_of(session, law.name, ticket, facts, actor),
    }
    values.setdefault("status", law.targets[0])
    values["closed"] = now() if values["status"] in TERMINAL else None
    if values["status"] is not ticket.status:
        values["moved"] = now()
    return values


def _record(
    session: Session, law: Move, ticket: Ticket, was: MoveSnapshot, facts: MoveInput, actor: Actor, run: int | None
) -> None:
    """The event, the comment that carries the words of the move, and the inbox."""
    said = facts.model_dump(mode="json", exclude_none=True)
    payload = {"move": law.name, "from": was["status"], "to": ticket.status.value, **said, **ticket_phases.held(ticket)}
    if landing.is_pending(ticket) and ticket.landing_plan:
        payload["landing"] = ticket.landing_plan["policy"]
    if actor.kind is ActorKind.HUMAN:
        payload |= {"version": ticket.version, "was": was}
    events.append(session, ticket.id, "ticket_moved", payload, actor, run, seq=ticket.event_seq)
    spoken = said.get("body") or said.get("note") or said.get("waive")
    if spoken and law.name not in ("release", "wake"):
        kind = COMMENT_OF.get(law.name)
        comments.write(session, ticket.id, spoken, actor, kind=kind, run_id=run, data=_attached(facts))
    inbox.follow(session, ticket, S(was["status"]), law.name, run)


def _attached(facts: MoveInput) -> dict[str, Any] | None:
    """What a comment carries beside its words."""
    if isinstance(facts, LandFacts):
        return {"address": facts.address}
    if isinstance(facts, FailLandingFacts):
        return {"level": "warning"}
    return facts.question if isinstance(facts, AskFacts) else None


STOP_CODES = {"park": "parked", "cancel": "cancelled", "close": "closed", "block": "blocked", "release": "operator"}


def stop_live_run(session: Session, run: Run, code: str, reason: str, actor: Actor) -> None:
    """Record that this run must end; the wrapper is told at its next beat, and a door makes sure. The first word stands."""
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
