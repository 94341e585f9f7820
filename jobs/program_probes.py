"""Looking at this machine for the pages: which programs it has, and what a folder or an address offers as a project.

What is seen goes into the store; the pages show it with its age. Nothing of this is done inside a transaction.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from database import reading, writing
from models import ProjectDraft, TaskOutcome
from settings import Settings
from tickets.team import installed_programs, projects
from tickets.team.projects import Answer
from workers.agents import probe
from workers.agents.probe import Program
from workers.repository import projects as places
from workers.repository.git import GitError

from . import single_flight
from .job_context import JobContext
from .task_recorder import Done

SLUG = re.compile(r"[^a-z0-9]+")
BRANCHES = 200


def look(settings: Settings) -> list[Program]:
    """The programs of this machine that agents are or use, with their versions and log-ins."""
    set_by_hand = {"claude": settings.claude_binary, "codex": settings.codex_binary}
    binaries = {name: str(binary) for name, binary in set_by_hand.items() if binary}
    environment = settings.ambient.environment
    return probe.programs(Path(environment.get("HOME", "/")), environment, binaries)


def probe_programs(settings: Settings, engine: Engine) -> list[Program]:
    """Look, and remember what was seen."""
    found = look(settings)
    with writing(engine) as session:
        installed_programs.record(session, socket.gethostname(), found)
    return found


def answer_drafts(bench: JobContext) -> int:
    """Look at every folder and address that somebody wants as a project; how many. Only one program does it at a time."""
    try:
        with single_flight.alone_here(bench, "drafts"):
            with reading(bench.engine) as session:
                asked = projects.wanted(session)
            for draft in asked:
                answer = _answer(bench.settings, draft)
                with writing(bench.engine) as session:
                    projects.settle(session, draft.id, answer)
            return len(asked)
    except single_flight.Held:
        return 0


def make_pass(bench: JobContext) -> Done:
    """Programs, then drafts. `look_at` names the programs that need a person."""
    found = probe_programs(bench.settings, bench.engine)
    wrong = [each.name for each in found if installed_programs.judge(each).remedy]
    summary = {"programs": sum(each.found for each in found), "drafts": answer_drafts(bench)}
    return Done(TaskOutcome.ACTED, {**summary, "look_at": wrong})


class Prober:
    """Answers drafts in a thread of its own, as a clone may take long; `tick` looks what there is."""

    def __init__(self, bench: JobContext, log: Callable[[str], None]) -> None:
        self._bench = bench
        self._log = log
        self._thread = threading.Thread()

    def tick(self) -> bool:
        """Start what there is to do; whether there may be more soon, even where the store does not change."""
        if self._thread.is_alive():
            return True
        with reading(self._bench.engine) as session:
            asked = bool(projects.wanted(session, limit=1))
        if asked:
            self._thread = threading.Thread(target=self._work, name="probing", daemon=True)
            self._thread.start()
        return asked

    def _work(self) -> None:
        try:
            answer_drafts(self._bench)
        except Exception as error:  # the thread has nobody else to tell
            self._log(f"looking at projects: {type(error).__name__}: {error}")


def _answer(settings: Settings, draft: ProjectDraft) -> Answer:
    try:
        folder = _cloned(settings, draft.source) if draft.clone else Path(draft.source)
        facts = places.inspect(folder)
    except (places.CloneRefused, places.CloneFailed, GitError, OSError) as error:
        return Answer(None, str(error))
    if not facts.usable:
        return Answer(None, facts.explanation)
    return Answer(_shown(facts, draft), facts.explanation)


def _cloned(settings: Settings, url: str) -> Path:
    return places.clone(url, settings.clones_dir / _slug(url.removesuffix(".git")))


def _shown(facts: places.RepositoryFacts, draft: ProjectDraft) -> dict[str, Any]:
    return {
        "slug": _slug(str(facts.folder)),
        "name": facts.folder.name,
        "folder": str(facts.folder),
        "clone_url": draft.source if draft.clone else None,
        "branches": list(facts.branches[:BRANCHES]),
        "base_branch": facts.default_branch or facts.current_branch or facts.branches[0],
        "dirty": facts.dirty,
    }


def _slug(place: str) -> str:
    """The last part of a folder or address, as a name that a path and an address can hold."""
    last = re.split(r"[/:]", place.rstrip("/"))[-1]
    return SLUG.sub("-", last.lower()).strip("-")[:48] or "project"
