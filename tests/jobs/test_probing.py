"""What a machine has is remembered and said alike by page and doctor; what people want as a project is looked at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine

import mc_probe
from database import reading, writing
from jobs import job_context, program_probes
from models import DraftState, ProjectDraft
from settings import Settings
from tests.waiting import wait_until
from tests.workers.repositories import git
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.team import installed_programs, projects
from tickets.team.projects import NewDraft

ALICE = Actor.human("alice")


@pytest.fixture
def context(engine: Engine, url: str, tmp_path: Path) -> job_context.JobContext:
    settings = Settings(home=tmp_path / "home", database_url=url)
    settings.ensure_home()
    return job_context.build_context(settings, engine)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "My Code"
    folder.mkdir()
    commit = ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "First"]
    for argv in (["init", "-q", "-b", "trunk"], commit):
        subprocess.run(["git", "-C", str(folder), *argv], check=True)
    (folder / "new.txt").write_text("not committed")
    return folder


def request_project(context: job_context.JobContext, source: str) -> int:
    with writing(context.engine) as session:
        return projects.request_draft(session, NewDraft(source=source), ALICE).id


def load_draft(context: job_context.JobContext, number: int) -> ProjectDraft:
    with reading(context.engine) as session:
        return projects.get_draft(session, number)


@pytest.mark.both_databases
def test_programs_are_remembered_and_replaced(context: job_context.JobContext) -> None:
    first = program_probes.probe_programs(context.settings, context.engine)
    program_probes.probe_programs(context.settings, context.engine)
    with reading(context.engine) as session:
        rows = installed_programs.list_programs(session)
    assert {row.name for row in rows} == {program.name for program in first}
    assert len(rows) == len(first)


def test_the_page_says_of_a_program_what_the_doctor_says(context: job_context.JobContext) -> None:
    statuses = {
        program.name: installed_programs.assess_program(program)
        for program in program_probes.probe_programs(context.settings, context.engine)
    }
    with reading(context.engine) as session:
        assert {
            row.name: installed_programs.assess_program(row) for row in installed_programs.list_programs(session)
        } == statuses


def test_a_folder_is_described_for_the_form(context: job_context.JobContext, repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://alice:hunter2@host.example/x")
    number = request_project(context, str(repository))
    assert program_probes.answer_drafts(context) == 1
    project_draft = load_draft(context, number)
    assert project_draft.state is DraftState.READY
    assert project_draft.facts == {
        "slug": "my-code",
        "name": "My Code",
        "folder": str(repository),
        "clone_url": None,
        "push_address": "https://host.example/x",
        "branches": ["trunk"],
        "base_branch": "trunk",
        "dirty": 1,
    }
    assert project_draft.message.startswith("1 path has uncommitted changes.")


def test_an_address_is_cloned_into_the_home_folder(context: job_context.JobContext, repository: Path) -> None:
    source = repository.rename(repository.with_name("code.git"))
    number = request_project(context, f"file://{source}")
    program_probes.answer_drafts(context)
    project_draft = load_draft(context, number)
    assert project_draft.facts is not None, project_draft.message
    assert project_draft.facts["folder"] == str(context.settings.clones_dir / "code")
    assert project_draft.facts["clone_url"] == f"file://{source}"


@pytest.mark.parametrize(
    ("source", "words"),
    [("/nonexistent/folder", "There is no such folder"), ("https://me:secret@host/x", "Give an address such as")],
)
def test_what_cannot_be_had_is_said(context: job_context.JobContext, source: str, words: str) -> None:
    number = request_project(context, source)
    program_probes.answer_drafts(context)
    project_draft = load_draft(context, number)
    assert (project_draft.state, project_draft.facts) == (DraftState.FAILED, None)
    assert project_draft.message.startswith(words)


@pytest.mark.parametrize("source", ["code", "../code", "/home/../etc", "-rf"])
def test_a_source_is_an_absolute_path_or_an_address(context: job_context.JobContext, source: str) -> None:
    with pytest.raises(Invalid):
        request_project(context, source)


def test_the_prober_answers_by_itself(context: job_context.JobContext, repository: Path) -> None:
    messages: list[str] = []
    prober = program_probes.Prober(context, messages.append)
    prober.tick()
    number = request_project(context, str(repository))
    prober.tick()
    wait_until(lambda: load_draft(context, number).state is DraftState.READY, description="the prober's answer")
    assert messages == []


def test_the_door_says_what_it_saw(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", url)
    assert mc_probe.main(["--trigger", "timer"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["task"], summary["outcome"], summary["drafts"]) == ("probe-agents", "acted", 0)
    assert summary["programs"] >= 2
