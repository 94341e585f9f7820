"""`mc serve --demo`: a small repository and tickets for the built-in script agent that show the whole workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

import database
import models
from settings import Settings
from tickets.lifecycle import transitions
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket
from tickets.team import projects
from tickets.workflow import relationships
from workers.repository import git

SLUG = "demo"
_AUTHOR = ("-c", "user.name=Mission Control", "-c", "user.email=demo@localhost")

_FILES = {
    "README.md": "# Greeter\n\nA sample project. `sh greet.sh NAME` greets; `sh check.sh` checks it.\n",
    "greet.sh": 'echo "Hello, ${1:-world}."\n',
    "check.sh": 'set -e\ntest "$(sh greet.sh)" = "Hello, world."\ntest "$(sh greet.sh Ada)" = "Hello, Ada."\necho "2 passed"\n',
}

_TICKETS: tuple[dict[str, Any], ...] = (
    {
        "title": "Say good evening after six",
        "description": (
            "The greeting should fit the time of day.\n\n"
            "```sh\n"
            "cat >evening.sh <<'END'\n"
            '[ "$(date +%H)" -ge 18 ] && echo "Good evening, ${1:-world}." || sh greet.sh "$@"\n'
            "END\n"
            "```\n\n"
            "```sh\nsh evening.sh Ada\n```\n"
        ),
        "tags": ["feature"],
        "acceptance": [{"text": "evening.sh greets by name"}],
        "priority": "high",
    },
    {
        "title": "Count the greetings slowly",
        "description": "Watch this one live: it takes its time.\n\n```sh\nfor n in 1 2 3 4 5 6 7 8 9 10; do\n"
        '  echo "greeting $n: $(sh greet.sh $n)"; sleep 2\ndone\n```\n',
        "tags": ["research"],
    },
    {
        "title": "Break the greeting",
        "description": "The agent says it is done; the project's check says otherwise.\n\n"
        "```sh\necho 'echo Goodbye.' >greet.sh\n```\n",
        "tags": ["bug"],
        "priority": "low",
    },
    {
        "title": "Choose the next language",
        "description": "Nobody has triaged this yet: give it to someone, or park it.",
        "status": "inbox",
        "assigned_to": None,
    },
    {
        "title": "Greet in another language",
        "description": "Which one? The script agent finds nothing to run here, and asks.",
        "tags": ["feature"],
    },
    {
        "title": "List the greetings in the README",
        "description": "Waits for the evening's greeting.\n\n```sh\nls *.sh >>README.md\n```\n",
        "tags": ["feature"],
    },
    {
        "title": "Wish a happy new year",
        "description": "Parked until it is time.\n\n```sh\necho 'echo Happy new year.' >new-year.sh\n```\n",
        "status": "waiting",
        "wake": {"kind": "time", "at": f"{models.now().year + 1}-01-01T00:00:00Z"},
    },
)
_BLOCKS = ("Say good evening after six", "List the greetings in the README")


def add_demo(settings: Settings, engine: Engine) -> bool:
    """Add the sample project and its tickets. False when they exist already. Raises GitError."""
    folder = settings.home / "demo"
    with database.reading(engine) as session:
        if any(project.slug == SLUG for project in projects.list_projects(session)):
            return False
    _make_repository(folder)
    with database.writing(engine) as session:
        actor = Actor.human()
        projects.add_project(session, _build_project(folder), actor)
        ids: dict[str, int] = {}
        for ticket in _TICKETS:
            body = {"assigned_to": "script", "project": SLUG} | ticket
            ids[ticket["title"]] = transitions.create_ticket(session, NewTicket.model_validate(body), actor).id
        first, second = (ids[title] for title in _BLOCKS)
        relationships.add_relationship(session, first, "blocks", second, actor)
    return True


def _build_project(folder: Path) -> projects.NewProject:
    return projects.NewProject(slug=SLUG, name="Greeter (demo)", folder=str(folder), check_command=["sh", "check.sh"])


def _make_repository(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    if not (folder / ".git").is_dir():
        git.check_output(folder, "init", "--quiet", "--initial-branch=main")
        git.check_output(folder, "add", "--all")
        git.check_output(folder, *_AUTHOR, "commit", "--quiet", "--message=Greet.")
