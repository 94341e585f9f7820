"""Probes of this machine for the pages: installed programs, and the state of folders or clone URLs for new projects.

The results are stored, and the pages show them with their age. None of this runs inside a transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from database import reading, writing
from models import ProjectDraft, TaskOutcome, Trigger
from protocol import AGENT_PROGRAMS
from redaction import SHAPES
from settings import Settings
from tickets.team import installed_programs, projects
from tickets.team import repositories as slot_requests
from tickets.team.projects import DraftResult
from workers.agents import probe
from workers.agents.probe import ProbeResult
from workers.host.job_thread import JobThread
from workers.repository import landing
from workers.repository import projects as folders
from workers.repository.git import GitError

from . import repositories, single_flight
from .job_context import JobContext
from .task_recorder import JobResult, run_and_record

TASK = "probe-agents"
NON_SLUG_CHARACTERS = re.compile(r"[^a-z0-9]+")
MAX_BRANCHES = 200


def find_programs(settings: Settings) -> list[ProbeResult]:
    """Find the agents and related programs of this machine, with their versions and log-ins."""
    binaries = {name: str(binary) for name in AGENT_PROGRAMS if (binary := settings.binary_of(name))}
    environment = settings.ambient.environment
    return probe.probe_programs(Path(environment.get("HOME", "/")), environment, binaries)


def probe_programs(settings: Settings, engine: Engine) -> list[ProbeResult]:
    """Probe the programs and store the results."""
    programs = find_programs(settings)
    with writing(engine) as session:
        installed_programs.record_programs(session, settings.machine_name, programs)
    return programs


def answer_drafts(context: JobContext) -> int:
    """Inspect every folder and clone URL of a project draft, and return their number. Only one program does it at a time."""
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


def run_pass(context: JobContext, trigger: Trigger) -> JobResult:
    """Make a pass and record it."""
    return run_and_record(context.engine, TASK, trigger, lambda: make_pass(context))


def make_pass(context: JobContext) -> JobResult:
    """Probe the programs, answer drafts and slot requests. `look_at` names the programs that need a person."""
    programs = probe_programs(context.settings, context.engine)
    problem_names = [program.name for program in programs if installed_programs.assess_program(program).remedy]
    summary = {"programs": sum(program.found for program in programs), "drafts": answer_drafts(context)}
    summary["slot_requests"] = repositories.answer_requests(context)
    repositories.record_slots(context)
    return JobResult(TaskOutcome.ACTED, {**summary, "look_at": problem_names})


class Prober:
    """Answers drafts and slot requests in a thread of its own, as a clone may take long. `tick` looks for them."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._thread = JobThread("probing", "looking at projects", log)

    def tick(self) -> bool:
        """Start on open drafts and requests. True when there may be more soon, even if the store does not change."""
        if self._thread.is_alive:
            return True
        with reading(self._context.engine) as session:
            is_open = bool(projects.list_open_drafts(session, limit=1))
            is_open = is_open or bool(slot_requests.list_requests(session, self._context.host, limit=1))
        if is_open:
            self._thread.start(self._work)
        return is_open

    def _work(self) -> None:
        answer_drafts(self._context)
        repositories.answer_requests(self._context)


def _inspect_draft(settings: Settings, draft: ProjectDraft) -> DraftResult:
    try:
        folder = _clone(settings, draft.source) if draft.clone else Path(draft.source)
        facts = folders.inspect_folder(folder)
    except (folders.CloneRefused, folders.CloneFailed, GitError, OSError) as error:
        return DraftResult(None, SHAPES.clean_text(str(error)))
    if not facts.usable:
        return DraftResult(None, facts.explanation)
    return DraftResult(_describe_repository(facts, draft), facts.explanation)


def _clone(settings: Settings, url: str) -> Path:
    return folders.clone_repository(url, settings.clones_dir / _make_slug(url.removesuffix(".git")))


def _describe_repository(facts: folders.RepositoryFacts, draft: ProjectDraft) -> dict[str, Any]:
    base_branch = facts.default_branch or facts.current_branch or facts.branches[0]
    address = landing.find_remote_address(facts.folder, base_branch)
    return {
        "slug": _make_slug(str(facts.folder)),
        "name": facts.folder.name,
        "folder": str(facts.folder),
        "clone_url": draft.source if draft.clone else None,
        "push_address": landing.strip_credentials(address) if address else None,
        "branches": list(facts.branches[:MAX_BRANCHES]),
        "base_branch": base_branch,
        "dirty": facts.dirty,
    }


def _make_slug(place: str) -> str:
    """Make a slug from the last part of a folder or clone URL, valid in paths and URLs."""
    last = re.split(r"[/:]", place.rstrip("/"))[-1]
    return NON_SLUG_CHARACTERS.sub("-", last.lower()).strip("-")[:48] or "project"
