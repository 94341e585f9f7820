"""Making the runs of this machine what the store wants them to be, and the store what they are.

No run is replaced before it is proven dead: its lock is free, its wrapper's pid, start time and boot are gone, and no
process carries its marker. A dead run's spool and report are taken in first, while it still holds its ticket.
"""

from __future__ import annotations

import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from database import StoreUnavailable, reading, writing
from models import Failure, Run, RunMode, TicketStatus, format_timestamp, now
from tickets.lifecycle import transitions
from tickets.operations import incidents
from tickets.runs import claims, ingest, reports
from tickets.runs.ingest import WorkerEvent
from tickets.runs.reports import RunReport
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.workflow.evidence import Observations
from workers.host import processes
from workers.host.private_dirs import make_private
from workers.host.processes import Identity
from workers.host.tmux import Pane
from workers.repository import observe
from workers.run import failure_record, launch, lock, spool, verdict
from workers.run.run_facts import RunFacts

from . import host_state
from .host_state import RunObservation
from .job_context import JobContext

STARTUP_SECONDS = 30
"""How long a wrapper may take to its first heartbeat; only then is its start called into question."""
MARGIN_SECONDS = 5
"""How much longer than its grace a run that was told to stop may take, the time until its next heartbeat."""
LINE_CHARACTERS = 4000
RAW = "agent.raw"
PARTICULARS = ("claims", "usage", "observations", "terminal", "question")
"""Of a report: what says more than its verdict."""
PANE_BYTES = 20_000
RECONCILER = Actor.system("reconciler")
NOBODY = Identity(0, "", "")


def runs_here(bench: JobContext, shown: list[Pane]) -> Counter[str]:
    """Settle every live run of this machine; how many of each kind. Raises `Unobservable` before touching a run."""
    done: Counter[str] = Counter()
    with reading(bench.engine) as session:
        live = [run for run in claims.live(session) if run.host == bench.host and run.mode is not RunMode.EXTERNAL]
    seen = [(run, host_state.observe(bench, run, shown)) for run in live if not _is_just_starting(run)]
    for run, sight in seen:
        result = _attempt(bench, run, sight)
        if result:
            done[result] += 1
    return done


def _attempt(bench: JobContext, run: Run, sight: RunObservation) -> str | None:
    """Settle one run. One that cannot be settled keeps its ticket and is reported; it must not hold up the others."""
    try:
        return _settle(bench, run, sight)
    except Exception as error:
        title = f"Run {run.id} cannot be settled"
        with writing(bench.engine) as session:
            words = f"{type(error).__name__}: {error}"[:2000]
            incidents.raise_incident(session, f"unsettled:{run.id}", title, words, ticket_id=run.ticket_id)
        return "unsettled"


def _is_just_starting(run: Run) -> bool:
    """Looking at its lock now could keep the wrapper from taking it."""
    return run.heartbeat is None and _since(run.started) < timedelta(seconds=STARTUP_SECONDS)


def _since(moment: datetime) -> timedelta:
    """How long ago; where the clock was set back, the difference counts the same, so that nothing waits for it."""
    return abs(now() - moment)


def _settle(bench: JobContext, run: Run, sight: RunObservation) -> str | None:
    if sight.held:
        return _stop(bench, run, sight) if run.stop_code else None
    if sight.wrapper:
        return None  # it has just let go of its lock and is about to be gone
    if not sight.started:
        return _never_started(bench, run)
    return kill_leftovers(bench, run) or _record_death(bench, run)


# ------------------------------------------------------------------------------------------------------------- stopping


def _stop(bench: JobContext, run: Run, sight: RunObservation) -> str:
    """A run that was told to stop: hint, then TERM to its wrapper, then KILL to all that is left of it."""
    with reading(bench.engine) as session:
        asked = reports.stop_asked(session, run.id) or run.started
    waited = _since(asked)
    if waited > 2 * _patience(bench):
        return kill_leftovers(bench, run, sight.wrapper or NOBODY) or "killed"
    if waited > _patience(bench) and sight.wrapper:
        processes.send(sight.wrapper, signal.SIGTERM)
        return "terminated"
    _hint(bench, run.id)
    return "stopping"


def _patience(bench: JobContext) -> timedelta:
    return timedelta(seconds=bench.settings.limits.grace_seconds + MARGIN_SECONDS)


def is_given_time(bench: JobContext, run: Run) -> bool:
    """Whether a run has ended so lately that what is left of it may still be about to go."""
    return _since(run.ended or run.started) < _patience(bench)


def _hint(bench: JobContext, run_id: int) -> None:
    address = bench.settings.sockets_dir / f"run-{run_id}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel, suppress(OSError):
        channel.sendto(b"look", str(address))


def kill_leftovers(bench: JobContext, run: Run, wrapper: Identity = NOBODY) -> str | None:
    """Kill all that carries the run's marker; None when it is proven dead, else its ticket is blocked and people are told."""
    left = processes.stop(wrapper, bench.marker(run.id), 0)
    if not left:
        return None
    pids = ", ".join(str(each.pid) for each in left)
    with writing(bench.engine) as session:
        ticket = lookup.get(session, run.ticket_id)
        title = f"Run {run.generation} of {ticket.identifier} cannot be ended"
        words = f"These processes survive KILL: {pids}. No further run starts before they are gone."
        incidents.raise_incident(session, f"undead:{run.id}", title, words, severity="critical", ticket_id=ticket.id)
        if ticket.status is TicketStatus.IN_PROGRESS:
            facts: dict[str, Any] = {"reason": "environment", "owner": "operator"}
            facts["next_action"] = f"End the processes {pids}."
            transitions.transition(session, ticket.id, "block", RECONCILER, **facts)
    return "undead"


# ----------------------------------------------------------------------------------------------------------- what is dead


def _never_started(bench: JobContext, run: Run) -> str | None:
    """A start that was claimed and did not happen: forbid it for good, then give the ticket back."""
    folder = make_private(bench.run_dir(run.id))
    if not launch.revoke(folder) or lock.was_started(folder):
        return None  # it has begun after all; the next pass sees how it goes
    if left := kill_leftovers(bench, run):
        return left
    with writing(bench.engine) as session:
        words = "The run was claimed, but its wrapper never started."
        reports.start_failed(session, run.id, Failure.ENVIRONMENT, words, bench.retry)
    return "not_started"


def _record_death(bench: JobContext, run: Run) -> str:
    """A dead run: take in its spool and its report; without one it is lost, and its last words are kept.

    A report whose particulars cannot be read or kept still counts by its verdict.
    """
    replay(bench, run.id)
    said = verdict.recover(bench.run_dir(run.id)) or {}
    for left_out in ((), PARTICULARS):
        left = _report({name: value for name, value in said.items() if name not in left_out})
        if left and _is_applied(bench, run, _observed(left, run)):
            return "recovered"
    with writing(bench.engine) as session:
        reports.report(session, run.id, _lost(bench, run), bench.retry)
    return "lost"


def _report(said: dict[str, Any]) -> RunReport | None:
    with suppress(ValidationError):
        return RunReport.model_validate(said)
    return None


def _is_applied(bench: JobContext, run: Run, left: RunReport) -> bool:
    """Whether the board could make something of a report: garbage in it must not strand the run."""
    try:
        with writing(bench.engine) as session:
            reports.report(session, run.id, left, bench.retry)
    except StoreUnavailable:
        raise
    except Exception:
        return False
    return True


def _observed(left: RunReport, run: Run) -> RunReport:
    """A verdict that its wrapper had no time to look into gets git's facts; the check command is left to a next run."""
    if left.observations or left.verdict not in ("done", "review") or not run.workspace:
        return left
    seen = observe.observe(Path(run.workspace), run.base_sha) if run.base_sha else None
    return left.model_copy(update={"observations": Observations.model_validate(seen) if seen else None})


def _lost(bench: JobContext, run: Run) -> RunReport:
    heard = f"last heard of {format_timestamp(run.heartbeat)}" if run.heartbeat else "never heard of"
    words = f"The run's wrapper is dead ({heard}) and left no verdict."
    return RunReport(verdict="lost", summary=words, transcript_tail=_last_words(bench.run_dir(run.id)))


def _last_words(folder: Path) -> str | None:
    """The end of what the agent said; where its spool holds no whole text, of what its pane showed."""
    facts = RunFacts()
    for event in spool.replay(folder):
        facts.take(str(event.get("event_type")), event.get("payload") or {})
    shown = b"".join(log.read_bytes()[-PANE_BYTES:] for log in folder.glob("mc-*.tmux.log"))
    return failure_record.sweep("\n".join(facts.transcript)) or failure_record.sweep(shown.decode("utf-8", "replace"))


def replay(bench: JobContext, run_id: int) -> int:
    """Take in what the server missed of a run's events, in order; how many were new."""
    with reading(bench.engine) as session:
        after = lookup.get_run(session, run_id).last_run_seq
    taken = 0
    for batch in _batches(spool.replay(bench.run_dir(run_id), after)):
        taken += _take(bench, run_id, batch)
    return taken


def _take(bench: JobContext, run_id: int, batch: list[WorkerEvent]) -> int:
    """Take in a batch; where that fails, each event by itself, and what cannot be kept as it is as `raw`."""
    try:
        with writing(bench.engine) as session:
            return ingest.take(session, run_id, batch).accepted
    except StoreUnavailable:
        raise
    except Exception as error:
        if len(batch) > 1:
            return sum(_take(bench, run_id, [event]) for event in batch)
        [event] = batch
        if event.event_type == RAW:
            return 0
        return _take(bench, run_id, [_raw(event.model_dump(), f"cannot be kept: {type(error).__name__}")])


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[list[WorkerEvent]]:
    batch: list[WorkerEvent] = []
    for event in events:
        batch.append(_readable(event))
        if len(batch) == ingest.BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _readable(event: dict[str, Any]) -> WorkerEvent:
    """The event; one that the server would refuse becomes `raw`, so that nothing after it is lost."""
    with suppress(ValidationError):
        return WorkerEvent.model_validate(event)
    return _raw(event, "unreadable in the spool")


def _raw(event: dict[str, Any], reason: str) -> WorkerEvent:
    payload = {"line": ascii(event)[:LINE_CHARACTERS], "reason": reason}
    return WorkerEvent(run_seq=event["run_seq"], ts=now(), event_type=RAW, payload=payload)
