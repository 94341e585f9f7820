"""Two hosts with one PostgreSQL: each has its own home, board and scheduler, and a role of its own to be cut off."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import make_url, select, text, update

from database import open_engine, reading, writing
from mc_cli import main
from models import Lease, Run, TicketEvent, TicketStatus, now
from protocol import EventType
from tests.waiting import wait_until
from tickets.schedule import tasks
from tickets.shared import lookup
from workers.run import spool

from .installation import ALICE, Installation

OTHER_TASKS = (
    "canary",
    "follow-up-sweep",
    "health-check",
    "inbox-drain",
    "landing",
    "live-routes",
    "mc-auto-review",
    "operator",
    "probe-agents",
    "triage-untriaged",
)
"""Tasks that a fleet is not about, which would make work beside its tickets."""


class Host(Installation):
    """An installation with the real scheduler, which connects to the shared store as `role`."""

    def __init__(self, template: Path, home: Path, url: str, role: str) -> None:
        own_url = make_url(url).set(username=role).render_as_string(hide_password=False)
        super().__init__(template, home, machine_name=home.name, database_url=own_url)
        self.role = role
        self.open_board()
        self.start_scheduler()

    def start_scheduler(self) -> None:
        self.scheduler = self.start_program("mc_scheduler.py")

    def declare_dead(self, ticket_id: int) -> str:
        arguments = ["ticket", "declare-dead", self.get(ticket_id).identifier]
        return CliRunner().invoke(main, arguments, env=self.environment, catch_exceptions=False).output


class Fleet:
    """Two hosts, and a connection to their store that is never cut off."""

    def __init__(self, template: Path, folder: Path, url: str) -> None:
        self.store = open_engine(url)
        self.roles = [f"mc_{name}_{os.getpid()}" for name in ("one", "two")]
        owner = self._execute("SELECT current_user")
        for role in self.roles:
            self._execute(f'CREATE ROLE "{role}" LOGIN IN ROLE "{owner}"')
        with writing(self.store) as session:
            for task in OTHER_TASKS:
                tasks.disable_task(session, task, ALICE)
        self.one, self.two = (
            Host(template, folder / name, url, role) for name, role in zip(("one", "two"), self.roles, strict=True)
        )

    def _execute(self, statement: str) -> object:
        with self.store.connect() as connection, connection.begin():
            rows = connection.execute(text(statement))
            return rows.scalar() if rows.returns_rows else None

    def pause(self, host: Host) -> None:
        """Stop the scheduler where it stands."""
        host.scheduler.send_signal(signal.SIGSTOP)
        self._expire_leases(host)

    def _expire_leases(self, host: Host) -> None:
        """Let the leases run out that a host holds in the middle of a pass, as they do in five minutes."""
        with writing(self.store) as session:
            leases = update(Lease).where(Lease.holder == host.settings.machine_name)
            session.execute(leases.values(until=now() - timedelta(seconds=1)))

    def resume(self, host: Host) -> None:
        host.scheduler.send_signal(signal.SIGCONT)

    def begin_on(self, host: Host, script: str) -> int:
        """Start a ticket on this host, while the other one is paused."""
        other = self.two if host is self.one else self.one
        self.pause(other)
        ticket_id = host.ticket(script)
        wait_until(lambda: [run for run in self.runs(ticket_id) if run.last_run_seq > 2], 120, "a run that reports")
        self.resume(other)
        return ticket_id

    def work_on(self, host: Host) -> int:
        """Create a ticket on this host and wait until it has been worked, so that a whole pass was made meanwhile."""
        ticket_id = host.ticket("true")
        self.wait_until_reviewed(ticket_id)
        return ticket_id

    def cut_off(self, host: Host) -> None:
        self._execute(f'ALTER ROLE "{host.role}" NOLOGIN')
        self._end_connections(host.role)
        self._expire_leases(host)

    def kill(self, host: Host, run: Run | None = None) -> None:
        """Kill the scheduler of a host, and the wrapper of one of its runs."""
        if run is not None and run.pid is not None:
            os.kill(run.pid, signal.SIGKILL)
        host.scheduler.kill()
        host.scheduler.wait()
        self._expire_leases(host)

    def connect(self, host: Host) -> None:
        self._execute(f'ALTER ROLE "{host.role}" LOGIN')

    def _end_connections(self, role: str) -> None:
        self._execute(f"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = '{role}'")

    def runs(self, ticket_id: int) -> list[Run]:
        with reading(self.store) as session:
            return list(session.scalars(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.id)))

    def get_status(self, ticket_id: int) -> TicketStatus:
        with reading(self.store) as session:
            return lookup.get_ticket(session, ticket_id).status

    def wait_until_reviewed(self, ticket_id: int) -> None:
        wait_until(
            lambda: self.get_status(ticket_id) is TicketStatus.IN_REVIEW, 120, f"the end of the work on MC-{ticket_id}"
        )

    def find_lost_events(self, host: Host, run: Run) -> list[Any]:
        """Find the events in the run's spool that are not in the store, which keeps no typing of a finished text."""
        with reading(self.store) as session:
            stored = set(session.scalars(select(TicketEvent.run_seq).where(TicketEvent.run_id == run.id)))
        spool_events = spool.replay_events(host.context.run_dir(run.id))
        return [
            event for event in spool_events if event["run_seq"] not in stored and event["event_type"] != EventType.DELTA
        ]

    def close(self) -> None:
        for host in (self.one, self.two):
            host.close()
            self._end_connections(host.role)
            self._execute(f'DROP ROLE "{host.role}"')
        self.store.dispose()
