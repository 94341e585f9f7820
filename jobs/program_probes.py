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
from protocol import AGENT_PROGRAMS
from settings import Settings
from tickets.team import installed_programs, projects
from tickets.team.projects import DraftResult
from workers.agents import probe
from workers.agents.probe import ProbeResult
from workers.repository import projects as repositories
from workers.repository.git import GitError

from . import single_flight
from .job_context import JobContext
from .task_recorder import JobResult

NON_SLUG_CHARACTERS = re.compile(r"[^a-z0-9]+")
MAX_BRANCHES = 200


def find_programs(settings: Settings) -> list[ProbeResult]:
    """The programs of this machine that agents are or use, with their versions and log-ins."""
    binaries = {name: str(binary) for name in AGENT_PROGRAMS if (binary := settings.binary_of(name))}
    environment = settings.ambient.environment
    return probe.probe_programs(Path(environment.get("HOME", "/")), environment, binaries)


def probe_programs(settings: Settings, engine: Engine) -> list[ProbeResult]:
    """Look, and remember what was seen."""
    programs = find_programs(settings)
    with writing(engine) as session:
        installed_programs.record_programs(session, socket.gethostname(), programs)
    return programs


def answer_drafts(context: JobContext) -> int:
    """Look at every folder and address that somebody wants as a project; how many. Only one program does it at a time."""
    try:
        with single_flight.hold_host_lock(context, "drafts"):
            with reading(context.engine) as session:
                drafts = projects.list_open_drafts(session)
            for draft in drafts:
                result = _inspect_draft(context.settings, draft)
                with writing(context.engine) as session:
                    projects.record_draft_result(session, draft.id, result)
            return len(drafts)
    except single_flight.AlreadyRunning:
        return 0


def make_pass(context: JobContext) -> JobResult:
    """Programs, then drafts. `look_at` names the programs that need a person."""
    programs = probe_programs(context.settings, context.engine)
    problem_names = [program.name for program in programs if installed_programs.assess_program(program).remedy]
    summary = {"programs": sum(program.found for program in programs), "drafts": answer_drafts(context)}
    return JobResult(TaskOutcome.ACTED, {**summary, "look_at": problem_names})


class Prober:
    """Answers drafts in a thread of its own, as a clone may take long; `tick` looks what there is."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._log = log
        self._thread = threading.Thread()

    def tick(self) -> bool:
        """Start what there is to do; whether there may be more soon, even where the store does not change."""
        if self._thread.is_alive():
            return True
        with reading(self._context.engine) as session:
            has_drafts = bool(projects.list_open_drafts(session, limit=1))
        if has_drafts:
            self._thread = threading.Thread(target=self._work, name="probing", daemon=True)
            self._thread.start()
        return has_drafts

    def _work(self) -> None:
        try:
            answer_drafts(self._context)
        except Exception as error:  # the thread has nobody else to tell
            self._log(f"looking at projects: {type(error).__name__}: {error}")


def _inspect_draft(settings: Settings, draft: ProjectDraft) -> DraftResult:
    try:
        folder = _clone(settings, draft.source) if draft.clone else Path(draft.source)
        facts = repositories.inspect_folder(folder)
    except (repositories.CloneRefused, repositories.CloneFailed, GitError, OSError) as error:
        return DraftResult(None, str(error))
    if not facts.usable:
        return DraftResult(None, facts.explanation)
    return DraftResult(_describe_repository(facts, draft), facts.explanation)


def _clone(settings: Settings, url: str) -> Path:
    return repositories.clone_repository(url, settings.clones_dir / _make_slug(url.removesuffix(".git")))


def _describe_repository(facts: repositories.RepositoryFacts, draft: ProjectDraft) -> dict[str, Any]:
    return {
        "slug": _make_slug(str(facts.folder)),
        "name": facts.folder.name,
        "folder": str(facts.folder),
        "clone_url": draft.source if draft.clone else None,
        "branches": list(facts.branches[:MAX_BRANCHES]),
        "base_branch": facts.default_branch or facts.current_branch or facts.branches[0],
        "dirty": facts.dirty,
    }


def _make_slug(place: str) -> str:
    """The last part of a folder or address, as a name that a path and an address can hold."""
    last = re.split(r"[/:]", place.rstrip("/"))[-1]
    return NON_SLUG_CHARACTERS.sub("-", last.lower()).strip("-")[:48] or "project"
