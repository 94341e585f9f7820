"""API of runs: list, read, stop and take over, and the heartbeats and reports of their wrappers."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field
from typing_extensions import TypedDict

from auth import Right
from models import Run, Ticket
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle.schemas import RunJson, read_tickets
from tickets.runs import claims, external, heartbeat, model_change, refusals, reports, takeover
from tickets.runs.external import ExternalRun
from tickets.runs.heartbeat import RunHeartbeat
from tickets.runs.model_change import ChangeModel
from tickets.runs.reports import RetryPolicy, RunReport
from tickets.shared import lookup
from tickets.shared.errors import ClaimLost
from tickets.shared.inputs import Body, Prose
from tickets.shared.lookup import get_ticket
from tickets.shared.ticket_fields import TicketJson
from web.api.page import Page
from web.api.resource import ANYBODY, OPERATORS, RUNS, WRITERS, Call, Resource

from .conversation import NewestQuery

blueprint = Resource("runs", __name__)

STOPPERS = frozenset({Right.OPERATOR, Right.ORCHESTRATOR})


@blueprint.reads("/tickets/<ticket>/runs", rights=ANYBODY | RUNS)
def list_runs(call: Call, ticket: Ticket, query: NewestQuery) -> Page[RunJson]:
    """List the runs of a ticket, the newest first."""
    return {
        "items": [RunJson.read(row) for row in claims.list_runs(call.session, ticket.id, query.limit)],
        "next": None,
    }


@blueprint.reads("/runs/<number:run>", rights=ANYBODY | RUNS)
def read_run(call: Call, run: Run) -> RunJson:
    """Read one run."""
    return RunJson.read(run)


class OpenedJson(TypedDict):
    run: RunJson
    token: str


@blueprint.writes("POST", "/tickets/<ticket>/runs", rights=WRITERS, status=201, secret=True)
def open_external_run(call: Call, ticket: Ticket, body: ExternalRun) -> OpenedJson:
    """Open a run for work outside Mission Control, which never starts or stops it. Only this response has its token."""
    run, token = external.open_run(call.session, ticket.id, body, call.actor)
    return {"run": RunJson.read(run), "token": token}


class ControlJson(TypedDict):
    stop: dict[str, Any] | None
    messages: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    interrupt: dict[str, Any] | None
    model: dict[str, Any] | None


@blueprint.writes("POST", "/runs/<number:run>/heartbeat", rights=RUNS, late=True)
def beat(call: Call, run: Run, body: RunHeartbeat) -> ControlJson:
    """Record a run's heartbeat. The response has its pending stop, messages, answers and interrupt."""
    grace, limits = call.settings.limits.grace_seconds, DispatchLimits.from_settings(call.settings)
    return cast(ControlJson, heartbeat.record_heartbeat(call.session, run.id, body, grace, limits))


class ReceiptJson(TypedDict):
    accepted: bool
    ticket: TicketJson


@blueprint.writes("POST", "/runs/<number:run>/report", rights=RUNS, late=True)
def report(call: Call, run: Run, body: RunReport) -> ReceiptJson | ClaimLost:
    """End a run with its verdict. The report of a run that has lost its claim is refused and quarantined."""
    receipt = reports.apply_report(call.session, run.id, body, build_retry_policy(call))
    if not receipt.accepted:
        return ClaimLost(run=run.id, reason=receipt.reason)
    return {"accepted": True, "ticket": read_tickets(call.session, [receipt.ticket])[0]}


def build_retry_policy(call: Call) -> RetryPolicy:
    return RetryPolicy.from_settings(call.settings)


@blueprint.writes("POST", "/runs/<number:run>/model", rights=OPERATORS)
def change_model(call: Call, run: Run, body: ChangeModel) -> RunJson:
    """Order a live run to go on with another model, which its program confirms with its next turn at the latest."""
    model_change.order_model(call.session, run, body, call.actor)
    call.notify_run(run.id)
    return RunJson.read(lookup.get_run(call.session, run.id))


class StopRequest(Body):
    """Reason of a stop, which is stored with the ticket."""

    reason: Annotated[Prose, Field(max_length=2000)] = ""


@blueprint.writes("POST", "/runs/<number:run>/takeover", rights=STOPPERS)
def take_over(call: Call, run: Run) -> TicketJson:
    """Stop a run so that a person continues its conversation in the agent program's own terminal interface."""
    takeover.take_over(call.session, run.ticket_id, call.actor)
    return _tell_run(call, run)


@blueprint.writes("POST", "/runs/<number:run>/handback", rights=STOPPERS)
def hand_back(call: Call, run: Run) -> TicketJson:
    """Hand a conversation that a person has taken over back to the agent."""
    takeover.hand_back(call.session, run.ticket_id, call.actor)
    return _tell_run(call, run)


@blueprint.writes("POST", "/runs/<number:run>/stop", rights=STOPPERS)
def stop(call: Call, run: Run, body: StopRequest) -> TicketJson:
    """Stop a run and park its ticket until somebody wakes it."""
    reports.stop_run(call.session, run.id, call.actor, body.reason)
    return _tell_run(call, run)


def _tell_run(call: Call, run: Run) -> TicketJson:
    """Send a stopped run its order, and return its ticket as it is after the last event, the one of the order itself."""
    call.notify_run(run.id)
    return read_tickets(call.session, [get_ticket(call.session, run.ticket_id)])[0]


@blueprint.writes("POST", "/runs/<number:run>/allow-refused", rights=OPERATORS)
def allow_refused(call: Call, run: Run) -> TicketJson:
    """Add the commands that were refused to a run to its project's allowed ones, and start the ticket again."""
    return read_tickets(call.session, [refusals.allow_refused(call.session, run, call.actor)])[0]
