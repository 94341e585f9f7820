"""The installation of a soak: a throw-away home whose processes can be found, killed and started again."""

from __future__ import annotations

import enum
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import failpoints
from bench.installation import BENCH_ACTOR, ROOT, Installation
from bench.rows import wait_until
from database import reading, writing
from models import Gate, Landing, TicketStatus
from tickets.shared import lookup
from tickets.team import agents, profiles, projects
from tickets.team.agents import NewAgent
from tickets.team.profiles import NewProfile
from tickets.team.projects import NewProject
from workers.host import processes
from workers.host.processes import Identity
from workers.repository import git

from .agent_program import LOG_VARIABLE

PROJECT = "web"
SPEAKER = "speaker"
"""The agent that reads messages and asks questions, see `soak.agent_program`."""
SPOOL_BYTES = 400_000
"""Small enough that a talkative run fills several segments of its spool."""
RETRY_LIMIT = 20
MAX_RUNS = 4
STOP_SECONDS = 120.0
_AUTHOR = ("-c", "user.name=Soak", "-c", "user.email=soak@localhost")
_SETTINGS = {
    "MC_MAX_WORKERS": MAX_RUNS,
    "MC_RETRY_LIMIT": RETRY_LIMIT,
    "MC_RETRY_BACKOFF_SECONDS": 1,
    "MC_LIMITS_SPOOL_BYTES": SPOOL_BYTES,
    "MC_LIMITS_GRACE_SECONDS": 2,
    "GIT_CONFIG_NOSYSTEM": 1,
}


class ProcessKind(enum.StrEnum):
    """Kinds of process of an installation, those that live as long as the board first."""

    SERVE = "serve"
    SUPERVISOR = "supervisor"
    WEB_MASTER = "web master"
    WEB_WORKER = "web worker"
    SCHEDULER = "scheduler"
    TMUX = "tmux server"
    PICKUP = "pickup"
    REAPER = "reaper"
    WRAPPER = "wrapper"
    AGENT = "agent"
    TOOLS = "tools of an agent"
    OTHER = "other"


_WORDS = {
    "cli.serve_parent": ProcessKind.SERVE,
    "supervisor.supervisord": ProcessKind.SUPERVISOR,
    "mc_scheduler.py": ProcessKind.SCHEDULER,
    "mc_pickup.py": ProcessKind.PICKUP,
    "queue_reaper.py": ProcessKind.REAPER,
    "workers.run.wrapper": ProcessKind.WRAPPER,
    "mc_coordination_mcp": ProcessKind.TOOLS,
    "soak.agent_program": ProcessKind.AGENT,
    "workers.agents.script.script_agent": ProcessKind.AGENT,
}


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """A live process of the installation."""

    identity: Identity
    kind: ProcessKind
    command: str


class Board(Installation):
    """A real board, started by `mc serve`, with a project whose work is merged and two agents."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.failpoints = folder / "failpoints"
        self.programs = folder / "programs"
        """The folder of the programs that the board finds, if it has its own."""
        self.agent_log = folder / "messages.log"
        user_home = folder / "user"
        self.log_in_file = user_home / ".claude/.credentials.json"
        for path in (self.failpoints, user_home, self.log_in_file.parent, folder / "bin"):
            path.mkdir()
        self.log_in_file.write_text("{}")
        (user_home / ".gitconfig").write_text("[user]\n\tname = Soak\n\temail = soak@localhost\n")
        variables = {
            **_SETTINGS,
            "HOME": user_home,
            "MC_CLAUDE_BINARY": _write_agent(folder / "bin/claude"),
            failpoints.VARIABLE: self.failpoints,
            LOG_VARIABLE: self.agent_log,
        }
        super().__init__(folder / "home", **variables | settings)
        self.repository = folder / "repository"
        self._make_repository()
        self._add_team()
        self.parent: subprocess.Popen[bytes] | None = None

    def _make_repository(self) -> None:
        self.repository.mkdir()
        (self.repository / "README.md").write_text("A repository to merge into.\n")
        git.check_output(self.repository, "init", "--quiet", "--initial-branch=main")
        git.check_output(self.repository, "add", "--all")
        git.check_output(self.repository, *_AUTHOR, "commit", "--quiet", "--message=Begin.")

    def _add_team(self) -> None:
        profile = NewProfile.model_validate({"name": SPEAKER, "program": "claude", "env_allow": [LOG_VARIABLE]})
        project = NewProject(
            slug=PROJECT,
            name="Web",
            folder=str(self.repository),
            gate=Gate.PERSON,
            landing=Landing.MERGE,
            max_runs=MAX_RUNS,
        )
        with writing(self.engine) as session:
            profiles.add_profile(session, profile, BENCH_ACTOR)
            agent = NewAgent(name=SPEAKER, runnable=True, profile=SPEAKER, capacity=MAX_RUNS)
            agents.add_agent(session, agent, BENCH_ACTOR)
            agents.edit_agent(session, "script", agents.EditAgent(capacity=MAX_RUNS), BENCH_ACTOR)
            projects.add_project(session, project, BENCH_ACTOR)

    @property
    def store_file(self) -> Path:
        return self.settings.home / "mc.db"

    def post(self, path: str, body: dict[str, object] | None = None, *, status: int = 204) -> None:
        """Make a request to the API."""
        content = json.dumps(body).encode() if body else b""
        self.exchange(self.connect(), "POST", f"/api/v1{path}", content, kind="application/json", status=status)

    def work_ticket(self) -> None:
        """Let the script agent work one ticket to its end, so that the board has a run."""
        (ticket_id,) = self.create_tickets(1, description="```sh\necho hello\n```\n", gate="none")

        def is_done() -> bool:
            with reading(self.engine) as session:
                return lookup.get_ticket(session, ticket_id).status is TicketStatus.DONE

        wait_until(is_done, "the end of the first ticket", 120)

    def start_board(self) -> None:
        """Start `mc serve`, and again when it has ended."""
        self.parent = self.serve_all()

    def stop_board(self) -> None:
        """Stop `mc serve` as Ctrl-C does. Runs stay alive."""
        if self.parent is not None:
            self.parent.send_signal(signal.SIGINT)
            self.parent.wait(STOP_SECONDS)
            self.parent = None

    def list_processes(self, *kinds: ProcessKind) -> list[OwnProcess]:
        """List the live processes of this installation, of some kinds or all."""
        own = (self._examine(entry) for entry in processes.PROC.iterdir() if entry.name.isdigit())
        return sorted(
            (process for process in own if process and (not kinds or process.kind in kinds)),
            key=lambda process: process.identity.pid,
        )

    def _examine(self, entry: Path) -> OwnProcess | None:
        """Examine a process and return it if it belongs to this installation: by its environment, or as its tmux server."""
        identity = processes.identify(int(entry.name))
        if identity is None or identity.pid == os.getpid():
            return None
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            if (entry / "comm").read_text().startswith("tmux: server"):
                is_own = f"mc-{self.settings.instance}" in command
                return OwnProcess(identity, ProcessKind.TMUX, "tmux") if is_own else None
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return None
        marks = (f"MC_HOME={self.settings.home}".encode(), f"MC_RUN_ID={self.settings.instance}-".encode())
        if not any(variable.startswith(marks) for variable in environment):
            return None
        return OwnProcess(identity, self._classify(identity.pid, command), command.replace("\0", " ").strip())

    def _classify(self, pid: int, command: str) -> ProcessKind:
        if "gunicorn" in command:
            parent = _read_parent_command(pid)
            return ProcessKind.WEB_WORKER if "gunicorn" in parent else ProcessKind.WEB_MASTER
        return next((kind for word, kind in _WORDS.items() if word in command), ProcessKind.OTHER)


def _write_agent(path: Path) -> Path:
    """Write an executable that starts `soak.agent_program`."""
    argv = [sys.executable, "-S", "-m", "soak.agent_program"]
    path.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(argv)} "$@"\n')
    path.chmod(0o700)
    return path


def _read_parent_command(pid: int) -> str:
    with suppress(OSError, IndexError):
        parent = (processes.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]
        return (processes.PROC / parent / "cmdline").read_text(errors="replace")
    return ""


def kill_process(process: OwnProcess) -> bool:
    return processes.send_signal(process.identity, signal.SIGKILL)


@contextmanager
def create_board() -> Iterator[Board]:
    """Create a board in a temporary folder, of which no process is left afterwards."""
    with (
        TemporaryDirectory(prefix="mc-soak-", ignore_cleanup_errors=True) as folder,
        open_board(Path(folder)) as board,
    ):
        yield board


@contextmanager
def open_board(folder: Path, *, own_programs: bool = False) -> Iterator[Board]:
    """Create a board in a folder that is empty, a folder `home` aside.

    With `own_programs` the only programs that it finds are links in a folder of its own, so that they can be taken away.
    """
    settings = {"PATH": _link_programs(folder / "programs")} if own_programs else {}
    board = Board(folder, **settings)
    try:
        yield board
    finally:
        board.close()
        for process in board.list_processes():
            kill_process(process)
        wait_until(lambda: not board.list_processes(), "the end of all processes")


def _link_programs(folder: Path) -> Path:
    """Make a folder with a link to each program of this machine's PATH."""
    folder.mkdir()
    for source in os.environ["PATH"].split(os.pathsep):
        for program in Path(source).iterdir() if Path(source).is_dir() else ():
            with suppress(FileExistsError):
                (folder / program.name).symlink_to(program)
    return folder
