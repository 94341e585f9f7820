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
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.team import installed_programs, projects
from tickets.team.projects import NewDraft

ALICE = Actor.human("alice")


@pytest.fixture
def here(engine: Engine, url: str, tmp_path: Path) -> job_context.JobContext:
    settings = Settings(home=tmp_path / "home", database_url=url)
    settings.ensure_home()
    return job_context.set_up(settings, engine)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "My Code"
    folder.mkdir()
    commit = ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "First"]
    for argv in (["init", "-q", "-b", "trunk"], commit):
        subprocess.run(["git", "-C", str(folder), *argv], check=True)
    (folder / "new.txt").write_text("not committed")
    return folder


def ask(here: job_context.JobContext, source: str) -> int:
    with writing(here.engine) as session:
        return projects.ask(session, NewDraft(source=source), ALICE).id


def draft(here: job_context.JobContext, number: int) -> ProjectDraft:
    with reading(here.engine) as session:
        return projects.draft(session, number)


@pytest.mark.both_databases
def test_programs_are_remembered_and_replaced(here: job_context.JobContext) -> None:
    first = program_probes.probe_programs(here.settings, here.engine)
    program_probes.probe_programs(here.settings, here.engine)
    with reading(here.engine) as session:
        rows = installed_programs.known(session)
    assert {row.name for row in rows} == {program.name for program in first}
    assert len(rows) == len(first)


def test_the_page_says_of_a_program_what_the_doctor_says(here: job_context.JobContext) -> None:
    looked = {
        each.name: installed_programs.judge(each) for each in program_probes.probe_programs(here.settings, here.engine)
    }
    with reading(here.engine) as session:
        assert {row.name: installed_programs.judge(row) for row in installed_programs.known(session)} == looked


def test_a_folder_is_described_for_the_form(here: job_context.JobContext, repository: Path) -> None:
    number = ask(here, str(repository))
    assert program_probes.answer_drafts(here) == 1
    found = draft(here, number)
    assert found.state is DraftState.READY
    assert found.facts == {
        "slug": "my-code",
        "name": "My Code",
        "folder": str(repository),
        "clone_url": None,
        "branches": ["trunk"],
        "base_branch": "trunk",
        "dirty": 1,
    }
    assert found.message.startswith("1 path has uncommitted changes.")


def test_an_address_is_cloned_into_the_home_folder(here: job_context.JobContext, repository: Path) -> None:
    source = repository.rename(repository.with_name("code.git"))
    number = ask(here, f"file://{source}")
    program_probes.answer_drafts(here)
    found = draft(here, number)
    assert found.facts is not None, found.message
    assert found.facts["folder"] == str(here.settings.clones_dir / "code")
    assert found.facts["clone_url"] == f"file://{source}"


@pytest.mark.parametrize(
    ("source", "words"),
    [("/nonexistent/folder", "There is no such folder"), ("https://me:secret@host/x", "Give an address such as")],
)
def test_what_cannot_be_had_is_said(here: job_context.JobContext, source: str, words: str) -> None:
    number = ask(here, source)
    program_probes.answer_drafts(here)
    found = draft(here, number)
    assert (found.state, found.facts) == (DraftState.FAILED, None)
    assert found.message.startswith(words)


@pytest.mark.parametrize("source", ["code", "../code", "/home/../etc", "-rf"])
def test_a_source_is_an_absolute_path_or_an_address(here: job_context.JobContext, source: str) -> None:
    with pytest.raises(Invalid):
        ask(here, source)


def test_the_prober_answers_by_itself(here: job_context.JobContext, repository: Path) -> None:
    said: list[str] = []
    prober = program_probes.Prober(here, said.append)
    prober.tick()
    number = ask(here, str(repository))
    prober.tick()
    wait_until(lambda: draft(here, number).state is DraftState.READY, what="the prober's answer")
    assert said == []


def test_the_door_says_what_it_saw(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", url)
    assert mc_probe.main(["--trigger", "timer"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["task"], said["outcome"], said["drafts"]) == ("probe-agents", "acted", 0)
    assert said["programs"] >= 2
