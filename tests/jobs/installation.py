"""A complete installation for a test: home, database, tmux server, git project, and the real board on its own port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from werkzeug.serving import BaseWSGIServer, make_server

import app
from database import open_engine, reading, writing
from jobs import dispatch_pass, job_context
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from models import Evidence, Run, Ticket, TicketComment, TicketStatus
from settings import Ambient, Limits, Settings
from tests.ports import free_port
from tests.waiting import wait_until
from tests.workers.repositories import create_repository
from tickets.lifecycle import transitions
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket
from tickets.team import projects
from tickets.team.projects import NewProject
from workers.run import lock

ALICE = Actor.human("alice")
SHORT_LIMITS = Limits(grace_seconds=1, startup_seconds=60)
ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """A complete installation. `close` ends everything that was started in it."""

    def __init__(self, template: Path, home: Path, *, extra: Mapping[str, str] | None = None, **settings: Any) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "GIT_CONFIG_GLOBAL") if name in os.environ}
        environment |= {"HOME": str(home), "LANG": "C.UTF-8", **(extra or {})}
        fields: dict[str, Any] = {
            "port": free_port(),
            "limits": SHORT_LIMITS,
            "retry_backoff_seconds": 1,
            "timezone": "UTC",
        }
        self.settings = Settings(home=home, ambient=Ambient(environment=environment), **fields | settings)
        self.settings.ensure_home()
        if "database_url" not in settings:
            shutil.copy(template, home / "mc.db")
        self.engine = open_engine(self.settings.database_url)
        self.context: JobContext = job_context.build_context(self.settings, self.engine)
        self._tmux = self.context.tmux
        self._server: BaseWSGIServer | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    # The board

    def open_board(self) -> None:
        """Serve the real application from a thread."""
        self._server = make_server("127.0.0.1", self.settings.port, app.create_app(self.settings), threaded=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close_board(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def start_board_process(self) -> subprocess.Popen[bytes]:
        """Serve the board from a process that can be killed, and return once it responds."""
        child = self.start_program("-m", "tests.jobs.served_board")
        wait_until(self.is_answering, timeout=60, description="the board")
        return child

    def start_program(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program of the project in this home, with its output in pipes."""
        child = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._children.append(child)
        return child

    def run_program(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=180,
        )

    @property
    def environment(self) -> dict[str, str]:
        variables = {
            "MC_HOME": str(self.settings.home),
            "MC_PORT": str(self.settings.port),
            "MC_LIMITS_GRACE_SECONDS": "1",
            "MC_DATABASE_URL": self.settings.database_url,
            "MC_MACHINE_NAME": self.settings.machine_name,
        }
        retries = {"MC_RETRY_BACKOFF_SECONDS": "1", "MC_TIMEZONE": "UTC"}
        return {**self.settings.ambient.environment, **variables, **retries}

    def is_answering(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.settings.port)) == 0

    # Tickets

    def project(self, check: list[str] | None = None, slug: str = "web", **facts: Any) -> Path:
        """Create a project with a real repository."""
        folder = create_repository(self.settings.home / f"repository-{slug}")
        body = {"slug": slug, "name": slug, "folder": str(folder), "check_command": check, **facts}
        with writing(self.engine) as session:
            projects.add_project(session, NewProject.model_validate(body), ALICE)
        return folder

    def ticket(self, script: str = "", **facts: Any) -> int:
        """Create a ticket for the script agent, with `script` as its only step."""
        description = f"```sh\n{script}\n```\n" if script else "Nothing to run."
        values = {"title": "Write a line", "assigned_to": "script", "description": description, **facts}
        with writing(self.engine) as session:
            return transitions.create_ticket(session, NewTicket.model_validate(values), ALICE).id

    def move(self, ticket_id: int, move: str, **facts: Any) -> Ticket:
        with writing(self.engine) as session:
            return transitions.transition(session, ticket_id, move, ALICE, **facts)

    def get(self, ticket_id: int) -> Ticket:
        with reading(self.engine) as session:
            return lookup.get_ticket(session, ticket_id)

    def runs(self, ticket_id: int | None = None) -> list[Run]:
        query = select(Run).order_by(Run.id)
        with reading(self.engine) as session:
            return list(session.scalars(query.where(Run.ticket_id == ticket_id) if ticket_id else query))

    def comments(self, ticket_id: int) -> list[str]:
        query = select(TicketComment.body).where(TicketComment.ticket_id == ticket_id).order_by(TicketComment.id)
        with reading(self.engine) as session:
            return list(session.scalars(query))

    def evidence(self, ticket_id: int) -> list[Evidence]:
        with reading(self.engine) as session:
            return list(session.scalars(select(Evidence).where(Evidence.ticket_id == ticket_id)))

    # Passing

    def make_pass(self, **options: Any) -> JobResult:
        return dispatch_pass.make_pass(self.context, **options)

    def until(self, ticket_id: int, *statuses: TicketStatus, passing: bool = False, timeout: float = 90) -> Ticket:
        """Wait for a status, with dispatch passes in between if `passing`."""

        def arrived() -> Ticket | None:
            if passing:
                self.make_pass()
            ticket = self.get(ticket_id)
            return ticket if ticket.status in statuses else None

        ticket = wait_until(
            arrived, timeout, description=f"{' or '.join(statuses)} (it is {self.get(ticket_id).status})"
        )
        assert ticket is not None
        return ticket

    def wait_until_running(self, ticket_id: int) -> Run:
        """Wait until the ticket's newest run has sent a heartbeat and an event."""

        def find_reporting_run() -> Run | None:
            run = self.runs(ticket_id)[-1]
            return run if run.pid and run.last_run_seq > 2 else None

        run = wait_until(find_reporting_run, 60, description="the run's first events")
        assert run is not None
        return run

    def is_wrapper_alive(self, run: Run) -> bool:
        return lock.is_held(self.context.run_dir(run.id))

    def close(self) -> None:
        self.close_board()
        for child in self._children:
            child.kill()
            child.communicate()
        subprocess.run(self._tmux.argv("kill-server"), env=self._tmux.environment, capture_output=True, timeout=10)
        self.engine.dispose()
        shutil.rmtree(self.settings.sockets_dir, ignore_errors=True)
