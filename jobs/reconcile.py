"""Reconciliation of this machine's runs with the store, in both directions.

No run is replaced before it is proven dead: its lock is free, its wrapper's pid, start time and boot are gone, and no
process carries its marker. A dead run's spool and report are ingested first, while it still has its claim.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from database import StoreUnavailable, reading, writing
from models import Failure, Outcome, Run, RunMode, TicketStatus, format_timestamp, now
from protocol import MAX_BATCH_EVENTS, EventType
from redaction import SHAPES
from tickets.lifecycle import transitions
from tickets.operations import incidents
from tickets.runs import claims, ingest, reports
from tickets.runs.ingest import WorkerEvent
from tickets.runs.notify_run import notify_run
from tickets.runs.reports import RunReport
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.workflow import evidence
from workers.contract import spec as specs
from workers.host import processes
from workers.host.private_dirs import make_private_dir
from workers.host.processes import Identity
from workers.host.tmux import Pane
from workers.repository import observe
from workers.run import failure_record, launch, lock, spool, verdict
from workers.run.run_facts import RunFacts

from . import host_state
from .host_state import RunObservation
from .job_context import JobContext

START_TIMEOUT_SECONDS = 30
"""How long a wrapper may take to its first heartbeat before its start is examined."""
MARGIN_SECONDS = 5
"""How much longer than its grace period a stopping run may take, for the time until its next heartbeat."""
MAX_LINE_CHARACTERS = 4000
DETAIL_FIELDS = ("claims", "usage", "observations", "terminal", "question")
"""The fields of a report besides its verdict."""
MAX_PANE_BYTES = 20_000
MAX_ERROR_BYTES = 2000
RECONCILER = Actor.system("reconciler")
NO_PROCESS = Identity(0, "", "")


def reconcile_runs(context: JobContext, panes: list[Pane]) -> Counter[str]:
    """Settle every live run of this machine and count the results. `ObservationError` before any run is touched."""
    counts: Counter[str] = Counter()
    observations = [
        (run, host_state.observe_run(context, run, panes))
        for run in list_own_runs(context)
        if not _is_just_starting(run)
    ]
    for run, observation in observations:
        result = _try_settle(context, run, observation)
        if result:
            counts[result] += 1
    return counts


def list_own_runs(context: JobContext) -> list[Run]:
    """List the live runs of this machine."""
    with reading(context.engine) as session:
        return [
            run for run in claims.list_live(session) if run.host == context.host and run.mode is not RunMode.EXTERNAL
        ]


def _try_settle(context: JobContext, run: Run, observation: RunObservation) -> str | None:
    """Settle one run. A failure is reported as an incident, leaves the run its claim and does not affect the other runs."""
    try:
        return _settle_run(context, run, observation)
    except Exception as error:
        title = f"Run {run.id} cannot be settled"
        with writing(context.engine) as session:
            text = SHAPES.clean_text(f"{type(error).__name__}: {error}", MAX_ERROR_BYTES)
            incidents.raise_incident(session, f"unsettled:{run.id}", title, text, ticket_id=run.ticket_id)
        return "unsettled"


def _is_just_starting(run: Run) -> bool:
    """Return True while the wrapper may not have its lock yet, which an examination could keep it from taking."""
    return run.heartbeat is None and _measure_age(run.started) < timedelta(seconds=START_TIMEOUT_SECONDS)


def _measure_age(moment: datetime) -> timedelta:
    """Return the time since `moment`, positive even when the clock was set back, so that nothing waits for the clock."""
    return abs(now() - moment)


def _settle_run(context: JobContext, run: Run, observation: RunObservation) -> str | None:
    if observation.held:
        return _stop_run(context, run, observation) if run.stop_code else None
    if observation.wrapper:
        return None  # it has just released its lock and is about to exit
    if not observation.started:
        return _revoke_start(context, run)
    return kill_leftovers(context, run) or _record_death(context, run)


# ------------------------------------------------------------------------------------------------------------- stopping


def _stop_run(context: JobContext, run: Run, observation: RunObservation) -> str:
    """Stop a run in steps: hint, then TERM to its wrapper, then KILL to everything left."""
    with reading(context.engine) as session:
        requested = reports.find_stop_request(session, run.id) or run.started
    elapsed = _measure_age(requested)
    if elapsed > 2 * _get_stop_timeout(context):
        return kill_leftovers(context, run, observation.wrapper or NO_PROCESS) or "killed"
    if elapsed > _get_stop_timeout(context) and observation.wrapper:
        processes.send_signal(observation.wrapper, signal.SIGTERM)
        return "terminated"
    notify_run(context.settings, run.id)
    return "stopping"


def _get_stop_timeout(context: JobContext) -> timedelta:
    return timedelta(seconds=context.settings.limits.grace_seconds + MARGIN_SECONDS)


def is_ending(context: JobContext, run: Run) -> bool:
    """Return True when a run has ended so recently that its processes may still be exiting."""
    return _measure_age(run.ended or run.started) < _get_stop_timeout(context)


def kill_leftovers(context: JobContext, run: Run, wrapper: Identity = NO_PROCESS) -> str | None:
    """Kill all processes with the run's marker. None when it is proven dead, else its ticket is blocked with an incident."""
    survivors = processes.stop(wrapper, context.marker(run.id), 0)
    if not survivors:
        return None
    pids = ", ".join(str(survivor.pid) for survivor in survivors)
    with writing(context.engine) as session:
        ticket = lookup.get_ticket(session, run.ticket_id)
        title = f"Run {run.generation} of {ticket.identifier} cannot be ended"
        text = f"These processes survive KILL: {pids}. No further run starts before they are gone."
        incidents.raise_incident(session, f"undead:{run.id}", title, text, severity="critical", ticket_id=ticket.id)
        if ticket.status is TicketStatus.IN_PROGRESS:
            facts: dict[str, Any] = {"reason": "environment", "owner": "operator"}
            facts["next_action"] = f"End the processes {pids}."
            transitions.transition(session, ticket.id, "block", RECONCILER, **facts)
    return "undead"


# --------------------------------------------------------------------------------------------------------- dead runs


def _revoke_start(context: JobContext, run: Run) -> str | None:
    """Handle a claimed start that did not happen: revoke the run for good, then release the ticket."""
    folder = make_private_dir(context.run_dir(run.id))
    if not launch.revoke_run(folder) or lock.was_started(folder):
        return None  # it has started after all, so the next pass handles it
    if result := kill_leftovers(context, run):
        return result
    with writing(context.engine) as session:
        text = "The run was claimed, but its wrapper never started."
        reports.record_start_failure(session, run.id, Failure.ENVIRONMENT, text, context.retry)
    return "not_started"


def _record_death(context: JobContext, run: Run) -> str:
    """Record a dead run: ingest its spool and its report, or without one mark it as lost with its last output.

    A report whose details cannot be read or stored still counts with its verdict.
    """
    replay_spool(context, run.id)
    values = verdict.recover_report(context.run_dir(run.id)) or {}
    for excluded in ((), DETAIL_FIELDS):
        report = _parse_report({name: value for name, value in values.items() if name not in excluded})
        if report and _try_report(context, run, _add_observations(context, report, run)):
            return "recovered"
    with writing(context.engine) as session:
        reports.apply_report(session, run.id, _build_lost_report(context, run), context.retry)
    return "lost"


def _parse_report(values: dict[str, Any]) -> RunReport | None:
    with suppress(ValidationError):
        return RunReport.model_validate(values)
    return None


def _try_report(context: JobContext, run: Run, report: RunReport) -> bool:
    """Apply a report. False when it cannot be processed, as an invalid report must not leave the run open."""
    try:
        with writing(context.engine) as session:
            reports.apply_report(session, run.id, report, context.retry)
    except StoreUnavailable:
        raise
    except Exception:
        return False
    return True


def _add_observations(context: JobContext, report: RunReport, run: Run) -> RunReport:
    """Add git's observations to a verdict without any. The check command is left to a later run."""
    if report.observations or report.verdict not in (Outcome.DONE, Outcome.REVIEW) or not run.workspace:
        return report
    redaction = specs.read_redaction(context.run_dir(run.id))
    observations = redaction.clean_fields(observe.observe(Path(run.workspace), run.base_sha)) if run.base_sha else None
    return report.model_copy(
        update={"observations": evidence.read_observations(observations) if observations else None}
    )


def _build_lost_report(context: JobContext, run: Run) -> RunReport:
    last_sign = f"last seen {format_timestamp(run.heartbeat)}" if run.heartbeat else "never seen"
    text = f"The run's wrapper is dead ({last_sign}) and left no verdict."
    return RunReport(verdict=Outcome.LOST, summary=text, transcript_tail=_read_last_words(context.run_dir(run.id)))


def _read_last_words(folder: Path) -> str | None:
    """Read the end of the agent's output from the spool, or without whole texts there, from the pane's log."""
    facts = RunFacts()
    for event in spool.replay_events(folder):
        facts.take(str(event.get("event_type")), event.get("payload") or {})
    return failure_record.extract_tail("\n".join(facts.transcript)) or failure_record.extract_tail(_read_pane(folder))


def _read_pane(folder: Path) -> str:
    """Read the redacted end of the pane's log."""
    texts = []
    for log in folder.glob("mc-*.tmux.log"):
        with log.open("rb") as file:
            texts.append(specs.read_redaction(folder).read_tail(file, MAX_PANE_BYTES))
    return "".join(texts)


def replay_spool(context: JobContext, run_id: int) -> int:
    """Ingest the events of a run that the server has missed, in order. Returns the number of new ones."""
    with reading(context.engine) as session:
        after = lookup.get_run(session, run_id).last_run_seq
    count = 0
    for batch in _split_batches(spool.replay_events(context.run_dir(run_id), after)):
        count += _ingest(context, run_id, batch)
    return count


def _ingest(context: JobContext, run_id: int, batch: list[WorkerEvent]) -> int:
    """Ingest a batch. If that fails, ingest each event by itself, and an invalid one as `raw`."""
    try:
        with writing(context.engine) as session:
            return ingest.ingest_events(session, run_id, batch).accepted
    except StoreUnavailable:
        raise
    except Exception as error:
        if len(batch) > 1:
            return sum(_ingest(context, run_id, [event]) for event in batch)
        [event] = batch
        if event.event_type == EventType.RAW:
            return 0
        return _ingest(
            context, run_id, [_build_raw_event(event.model_dump(), f"cannot be kept: {type(error).__name__}")]
        )


def _split_batches(events: Iterator[dict[str, Any]]) -> Iterator[list[WorkerEvent]]:
    batch: list[WorkerEvent] = []
    for event in events:
        batch.append(_parse_event(event))
        if len(batch) == MAX_BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _parse_event(event: dict[str, Any]) -> WorkerEvent:
    """Parse an event. One that the server would reject becomes `raw`, so that no later event is lost."""
    with suppress(ValidationError):
        return WorkerEvent.model_validate(event)
    return _build_raw_event(event, "unreadable in the spool")


def _build_raw_event(event: dict[str, Any], reason: str) -> WorkerEvent:
    payload = {"line": ascii(event)[:MAX_LINE_CHARACTERS], "reason": reason}
    return WorkerEvent(run_seq=event["run_seq"], ts=now(), event_type=EventType.RAW.value, payload=payload)
