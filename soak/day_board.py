"""The board of a simulated day: its settings, team, projects, channel of alerts and the tasks of its user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import secret_files
from bench.installation import BENCH_ACTOR, Installation
from database import Session, writing
from jobs.job_context import JobContext
from models import AgentKind, AlertKind, Gate
from tickets.alerts import channels
from tickets.alerts.channels import ChannelRules
from tickets.schedule import task_files, tasks
from tickets.team import agents, profiles, projects
from tickets.team.agents import NewAgent
from tickets.team.profiles import NewProfile
from tickets.team.projects import NewProject
from workers.repository import git

from .scenarios import Scenario

HOST = "simulated"
WORKERS = ("alpha", "beta", "gamma")
REVIEWER = "rita"
ORCHESTRATOR = "luci"
PEOPLE = ("alice", "bob")
PROJECTS: dict[str, dict[str, Any]] = {
    "web": {"gate": Gate.NONE},
    "api": {
        "gate": Gate.PERSON,
        "reviewer": REVIEWER,
        "evidence_policy": [{"kind": "check", "before": "approve", "tags": ["release"]}],
    },
}
HOST_TASKS = (
    "ticket-pickup",  # starts agents in tmux: the day claims runs and reports their ends in its place
    "canary",  # runs an agent in tmux
    "landing",  # merges branches of real work trees
    "probe-agents",  # starts the agent programs of the machine
    "health-check",  # looks at the processes, disks and clock of the machine, which are not of the simulated time
    "queue-reaper",  # takes a run that has no process in tmux for dead
    "backup",  # copies a file whose age is the real time's
    "retention",  # deletes files by the age that the real clock gives them
)
"""Tasks that need a real host, which the day leaves out."""
DISABLED_TASK = "live-routes"
"""A task of every minute that the user disables. Its slots are in the ledger all the same, as missed."""
COMMAND_TASK = "count-stars"
QUIET_HOURS = "22:00-07:00"
DIGEST_TIME = "18:00"
CONFIGURATION = """
[operator]
needs_input_hours = 8
[triage]
file_undecided = true
owners = { bug = "beta" }
"""
_SETTINGS = {
    "MC_MAX_WORKERS": 12,
    "MC_RETRY_LIMIT": 3,
    "MC_RETRY_BACKOFF_SECONDS": 60,
    "MC_MACHINE_NAME": HOST,
}
_AUTHOR = ("-c", "user.name=Soak", "-c", "user.email=soak@localhost")


def open_board(folder: Path) -> Installation:
    """Create the installation in a folder, with its team and projects."""
    home = folder / "home"
    home.mkdir()
    (home / "config.toml").write_text(CONFIGURATION)
    board = Installation(home, HOME=folder, **_SETTINGS)
    with writing(board.engine) as session:
        _add_team(session)
        for slug, facts in PROJECTS.items():
            _make_repository(folder / slug)
            body = NewProject(slug=slug, name=slug.title(), folder=str(folder / slug), max_runs=8, **facts)
            projects.add_project(session, body, BENCH_ACTOR)
        tasks.disable_task(session, DISABLED_TASK, BENCH_ACTOR)
    return board


def link_tasks(folder: Path) -> Path:
    """Create a folder with the shipped tasks that the day plays."""
    folder.mkdir()
    for file in task_files.SHIPPED_TASKS.glob("*.md"):
        if file.stem not in HOST_TASKS:
            (folder / file.name).symlink_to(file)
    return folder


def _add_team(session: Session) -> None:
    for name in (REVIEWER, ORCHESTRATOR):
        profiles.add_profile(session, NewProfile(name=name, program="script"), BENCH_ACTOR)
    members = [
        *(NewAgent(name=name, runnable=True, profile="script", capacity=6) for name in WORKERS),
        *(NewAgent(name=name, kind=AgentKind.HUMAN) for name in PEOPLE),
        NewAgent(name=REVIEWER, runnable=True, profile=REVIEWER, capacity=4),
        NewAgent(name=ORCHESTRATOR, kind=AgentKind.CONTROLLER, runnable=True, profile=ORCHESTRATOR),
    ]
    for member in members:
        agents.add_agent(session, member, BENCH_ACTOR)


def _make_repository(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("A project.\n")
    git.check_output(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "Begin.")


def commit(folder: Path, subject: str) -> str:
    """Commit everything in a folder and return the commit."""
    git.check_output(folder, "add", "--all")
    git.check_output(folder, *_AUTHOR, "commit", "--quiet", f"--message={subject}")
    return git.resolve_head(folder) or ""


def add_channel(session: Session, context: JobContext, port: int) -> None:
    """Enable alerts by mail, those of finished work in a digest of the day."""
    kinds = channels.DEFAULT_KINDS | {AlertKind.DONE.value: "digest"}
    rules = {"enabled": True, "kinds": kinds, "quiet_hours": QUIET_HOURS, "digest_time": DIGEST_TIME}
    server = {"host": "127.0.0.1", "port": port, "security": "none"}
    mailboxes = {"sender": "board@example.com", "recipients": ["alice@example.com"]}
    kind = channels.get_type("email")
    options = kind.options.model_validate(server | mailboxes)
    channels.save_channel(session, kind, ChannelRules.model_validate(rules), options, BENCH_ACTOR)
    secret_files.write_channel_secrets(context.settings, "email", {})


def add_user_tasks(session: Session, context: JobContext, scenarios: Sequence[Scenario]) -> None:
    """Write the user's tasks: a command of every hour, and those that create the tickets of scenarios."""
    own = context.settings.tasks_dir
    command = {"schedule": "7 * * * *", "command": ["true"], "trust_exit_code": True}
    fields = {COMMAND_TASK: command | {"enabled": True, "description": "Count the stars."}}
    for scenario in scenarios:
        if scenario.schedule:
            template = {"project": "web", **scenario.ticket, "title": scenario.about}
            facts = {"schedule": scenario.schedule, "ticket": template}
            fields[scenario.name] = facts | {"enabled": True, "description": scenario.about}
    for name, values in fields.items():
        task_files.save_task(session, task_files.build_task(name, values), own, BENCH_ACTOR)
