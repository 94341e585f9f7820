"""The process that runs and supervises an agent: `python -m workers.run.wrapper <run directory>`.

1. Take the run's lock for its lifetime, and exit if the run was revoked or started before.
2. Read the spec. From here on every end leaves a report and an exit record.
3. Run the set-up command, then the agent, until its process has ended.
4. Observe the changes in the workspace, run the check command, then the tear-down command.
5. Write the report, flush the events, post the report, write the exit record.

The server may be down at any time: only the last step waits for it, for a minute.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from protocol import EventType, Failure, HeartbeatMessage, Outcome, StopCode, StopOrder, WrapperState
from redaction import Redaction
from workers.agents import UnknownProgram, create_agent
from workers.contract import attached_files
from workers.contract import spec as specs
from workers.contract.agent_events import make_event
from workers.contract.spec import PROMPT, InvalidSpec, RunSpec
from workers.host import files, processes, subreaper
from workers.host.private_dirs import UnsafeFolder
from workers.repository import checks, configuration, linked_files, observe, submodules
from workers.repository.observe import CheckSettings

from . import report as reports
from . import spool, teardown, verdict
from .api import ApiClient, Unreachable
from .control import HeartbeatThread, Mailbox, Orders
from .lock import REVOKED_FILE, LockHeld, hold_lock, was_started
from .pane import PaneWriter
from .recorder import Recorder
from .sender import Sender
from .session import Session, SessionResult, make_stop_orders
from .spool import Spool
from .verdict import FailureReport, Verdict

EXIT_FILE = "exit.json"
CHECKED_VERDICTS = (Outcome.DONE, Outcome.REVIEW)
"""Verdicts that claim finished work, for which the check command is run."""

PROBE_SECONDS = 2.0
"""How long to wait for the lock: a process that only checks for a live wrapper holds it for a moment."""

NOT_STARTED_EXIT_CODE = 75
"""Exit code of a wrapper that did nothing, because the run is taken, revoked or unreadable."""

DISTRUST = (
    "The files in .claude, .codex or .mcp.json have changed since they were judged, by the set-up command or by another"
    " program. This run ignores them. Commit them, or leave them to the repository, and trust the project again."
)
INTERRUPTED_EXIT_CODE = 130


def _was_left(own: Verdict, exit_code: int) -> bool:
    """True when the person at a screen left it: it ended without a verdict, by its own exit or by Ctrl-C."""
    return own.kind is Outcome.PROTOCOL_VIOLATION or (own.kind is Outcome.FAILED and exit_code == INTERRUPTED_EXIT_CODE)


class RunUnavailable(Exception):
    """This process must not work on the run."""


def main(argv: list[str]) -> int:
    """Work on the run whose directory is the only argument. 0 once its report is on disk."""
    os.umask(0o077)
    run_dir = Path(argv[0]).resolve()
    try:
        with hold_lock(run_dir, PROBE_SECONDS):
            subreaper.adopt_orphans()
            Wrapper(claim_run(run_dir), run_dir).run()
    except (LockHeld, RunUnavailable, InvalidSpec) as refusal:
        print(f"Not started: {refusal}", file=sys.stderr)
        return NOT_STARTED_EXIT_CODE
    return 0


def claim_run(run_dir: Path) -> RunSpec:
    """Read the spec of the run whose lock is held. `RunUnavailable` when it must not be started, or not again."""
    if (run_dir / REVOKED_FILE).exists():
        raise RunUnavailable("the run was revoked")
    if was_started(run_dir):
        raise RunUnavailable("the run was started before")
    return specs.read_spec(run_dir)


class CannotStart(Exception):
    """The agent cannot be started, for the reason in the message."""


class Wrapper:
    """One run, from its lock to its exit record."""

    def __init__(self, spec: RunSpec, run_dir: Path) -> None:
        self._spec = spec
        self._run_dir = run_dir
        self._started = spool.format_now()
        self._redaction = Redaction(spec.all_secrets)
        self._spool = Spool(run_dir, spec.limits.spool_bytes)
        self._recorder = Recorder(self._spool, PaneWriter(run_dir / spec.pane_log), self._redaction)
        self._mailbox = Mailbox()
        self._session: Session | None = None
        self._phase: WrapperState = "starting"
        self._stop: StopOrder | None = None
        self._identity = processes.identify(os.getpid())
        self._api = ApiClient(spec.api, spec.token)
        self._sender = Sender(self._spool, self._api, spec.ticket_id, self)
        self._control = HeartbeatThread(
            self._api, spec.run_id, Path(spec.socket), self._build_status, self._mailbox, self
        )

    def run(self) -> None:
        """Do all the steps, with a report and an exit record whatever happens."""
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(signum, lambda number, _: self._mailbox.add(make_stop_orders(number)))
        self._recorder.run(
            EventType.RUN_STARTED, pid=os.getpid(), program=self._spec.program, generation=self._spec.generation
        )
        self._sender.start()
        self._control.start()
        report: dict[str, Any] = {}
        status: int | None = None
        try:
            report, status = self._deliver_report(*self._run_to_verdict())
        finally:
            self._control.close()
            self._sender.close()
            self._spool.close()
            files.remove_drafts(self._run_dir)
            self._write_exit_record(report, status)

    def _run_to_verdict(self) -> tuple[Verdict, int | None]:
        """Return the agent's verdict and exit code. A failure to start it, or of the wrapper, is a verdict too."""
        try:
            self._fetch_missing_files()
            self._set_up()
            self._judge_configuration()
            end = self._run_agent()
        except CannotStart as error:
            return self._make_start_failure(str(error)), None
        except Exception as error:  # even a fault of the wrapper itself must end in a report
            return self._make_start_failure(f"The wrapper failed: {type(error).__name__}: {error}"), None
        signal_number = -end.exit_code if end.exit_code < 0 else None
        self._recorder.run(EventType.RUN_ENDED, exit_code=end.exit_code, signal=signal_number)
        for process in end.left:
            self._recorder.say(f"Process {process.pid} of this run could not be killed.", "warning")
        signalled = verdict.read_signal(self._run_dir, self._spec.nonce, self._redaction)
        own = verdict.conclude(self._recorder.facts, signalled, end.cause, end.exit_code)
        if self._spec.attended and _was_left(own, end.exit_code):
            own = verdict.make_stop_verdict("The person has left the agent's screen.")
        return own, end.exit_code

    def _make_start_failure(self, why: str) -> Verdict:
        """Return the verdict of a failed start, after killing everything that was started."""
        processes.stop(processes.Identity(0, "", ""), self._spec.marker, 0, os.getpid())
        self._recorder.say(why, "warning")
        if self._stop:
            return verdict.make_stop_verdict(self._stop.reason)
        return Verdict(Outcome.FAILED, why, failure=FailureReport(Failure.ENVIRONMENT, why))

    def _fetch_missing_files(self) -> None:
        """Fetch the attached files that were not copied on this host. Without them the run goes on."""
        for file in attached_files.list_missing(self._run_dir):
            try:
                status, content = self._api.download(f"/attachments/{file.id}", file.size)
            except Unreachable:
                status, content = 0, b""
            if status == 200:
                attached_files.save_copy(Path(file.path), content)
            else:
                self._recorder.say(f"The attached file {file.id} ({file.name}) could not be fetched.", "warning")

    def _set_up(self) -> None:
        """Run the project's set-up command in the workspace, if it has one."""
        spec = self._spec
        if not spec.setup:
            return
        self._recorder.say(f"Setting up: {' '.join(spec.setup)}")
        outcome = checks.run(
            spec.setup,
            cwd=Path(spec.workspace),
            env=spec.environment,
            marker=spec.marker,
            log=self._run_dir / "setup.log",
            timeout=spec.limits.check_seconds,
            redaction=self._redaction,
            give_up=self._is_stopped,
        )
        if not outcome.has_passed:
            raise CannotStart(f"The set-up command failed (exit code {outcome.exit_code}): {outcome.tail[-500:]}")

    def _judge_configuration(self) -> None:
        """Ignore what the repository brings when it is not what was judged: the set-up command may have changed it."""
        judged_digest = self._spec.repository_digest
        if judged_digest is None or self._spec.repository_configuration == "untrusted":
            return
        repository_items = configuration.read_folder(Path(self._spec.workspace))
        if repository_items.problem or (repository_items.digest or "") != judged_digest:
            self._spec = replace(self._spec, repository_configuration="untrusted")
            self._recorder.record_event(
                make_event("notice", text=DISTRUST, level="warning", ignores_configuration=True)
            )

    def _run_agent(self) -> SessionResult:
        spec = self._spec
        try:
            agent = create_agent(spec.program, spec.mode, spec.argv)
            agent.prepare(spec, self._run_dir)
            prompt = (self._run_dir / PROMPT).read_text(encoding="utf-8")
            session = Session(spec, self._run_dir, agent, self._recorder, self._redaction, self._mailbox)
        except (UnknownProgram, UnsafeFolder, OSError) as error:
            raise CannotStart(f"{spec.program} cannot be started: {error}") from error
        self._session = session
        try:
            return session.run(prompt, self._control)
        finally:
            self._session, self._phase = None, "stopping"

    def _build_status(self) -> dict[str, Any]:
        """Build a heartbeat's body."""
        session = self._session
        own = self._identity
        message = HeartbeatMessage(
            state=session.state if session else self._phase,
            pid=os.getpid(),
            pid_started=own.started if own else "",
            boot_id=own.boot_id if own else "",
            last_run_seq=self._spool.last_seq,
            agent_pid=session.pid if session else None,
        )
        return asdict(message)

    def record_thread_failure(self, thread: str, count: int, text: str) -> None:
        """Record the failure of a thread of this wrapper with its number."""
        self._recorder.record_event(make_event("notice", text=text, level="warning", thread=thread, failures=count))

    def end_run(self, order: StopOrder) -> None:
        """End the run from a thread that cannot go on."""
        self._mailbox.add(Orders(order))

    def _is_stopped(self) -> bool:
        """True when a stop was ordered while no agent runs."""
        for orders in self._mailbox.take():
            self._stop = self._stop or orders.stop
        return self._stop is not None

    def _pause(self, seconds: float) -> bool:
        """Wait between two attempts to report. True gives up, as nothing sends the events or the machine may be shutting down."""
        if self._sender.is_given_up:
            return True
        select.select([self._mailbox], [], [], seconds)
        return self._is_stopped() and self._stop is not None and self._stop.code == StopCode.SIGNAL

    def _deliver_report(self, own: Verdict, exit_code: int | None) -> tuple[dict[str, Any], int | None]:
        """Observe, then write the report and post it. Returns the report and the server's status."""
        observations = self._observe(own)
        if problem := teardown.tear_down(self._run_dir, self._spec):
            self._recorder.say(problem, "warning")
        if self._stop and self._stop.code != StopCode.SIGNAL:
            own = verdict.make_stop_verdict(self._stop.reason)
        self._spool.report_losses()
        report = verdict.build_report(self._spec, own, self._recorder.facts, exit_code, observations)
        body = reports.save_report(self._run_dir, self._redaction.clean_fields(report))
        status = reports.deliver_report(
            self._run_dir, self._api, self._spec.run_id, body, self._flush_events, self._pause
        )
        return report, status

    def _observe(self, own: Verdict) -> dict[str, Any] | None:
        """Observe the agent's changes. The check command runs only for a verdict that claims finished work."""
        spec = self._spec
        if not Path(spec.workspace).is_dir():
            return None
        checking = (
            self._build_check_settings(spec.check)
            if spec.check and own.kind in CHECKED_VERDICTS and not self._is_stopped()
            else None
        )
        if checking:
            self._recorder.run(EventType.CHECK_STARTED, argv=list(checking.argv))
        base = observe.find_base(Path(spec.workspace), spec.base_sha, spec.base_branch)
        observations = self._redaction.clean_fields(observe.observe(Path(spec.workspace), base, checking))
        for check, on_base in ((observations["check"], False), (observations["check_base"], True)):
            if check:
                self._recorder.run(EventType.CHECK_ENDED, **check, base=on_base)
        return observations

    def _build_check_settings(self, argv: tuple[str, ...]) -> CheckSettings:
        spec = self._spec
        return CheckSettings(
            argv=argv,
            env=spec.environment,
            marker=spec.marker,
            folder=self._run_dir,
            timeout=spec.limits.check_seconds,
            redaction=self._redaction,
            setup=spec.setup,
            prepare_base=self._prepare_base,
            give_up=self._is_stopped,
        )

    def _prepare_base(self, scratch: Path) -> None:
        """Prepare the scratch worktree of the base like a workspace."""
        if self._spec.folder:
            linked_files.add_files(Path(self._spec.folder), scratch, self._spec.copies, self._spec.links)
        submodules.initialise_submodules(scratch, "HEAD")

    def _flush_events(self, seconds: float) -> bool:
        """Return True when all events before the report have arrived, or never will."""
        return self._sender.flush(seconds) or self._sender.is_finished

    def _write_exit_record(self, report: dict[str, Any], status: int | None) -> None:
        record = {
            "started": self._started,
            "ended": spool.format_now(),
            "verdict": report.get("verdict"),
            "exit_code": report.get("exit_code"),
            "reported": status,
            "thread_failures": self._sender.failures + self._control.failures,
        }
        with suppress(OSError):  # the report was sent, or somebody has deleted the run's folder
            files.replace(self._run_dir / EXIT_FILE, json.dumps(record).encode())
        self._recorder.close(f"The run has ended: {record['verdict']}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
