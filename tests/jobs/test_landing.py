"""Approved work lands: real repositories, the real door, and what happens when either is in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from database import reading, writing
from jobs import landing
from jobs.landing import Lander
from jobs.scheduler import ROOT, Scheduler, land
from models import Evidence, LandingState, TaskOutcome, TaskRun, Ticket, TicketStatus, Trigger, now
from tests.waiting import wait_until
from tests.workers.repositories import commit, git
from tests.workers.test_landing import calls, program
from tickets.runs import claims, landing_results, prompt, reports
from tickets.shared import lookup
from tickets.workflow import landing as plans
from workers.contract.spec import marker
from workers.host import processes
from workers.repository import observe

from .house import House

HERE = socket.gethostname()


class Office:
    """A house with one project, and tickets whose work is in review without anybody having to run an agent."""

    def __init__(self, house: House, **project: Any) -> None:
        self.house = house
        self.repo = house.project(**project)

    def handed_in(self, *, host: str = HERE, **files: str) -> int:
        """A ticket whose branch writes these files."""
        ticket_id = self.house.ticket(project="web", title="Add a line")
        self.hand_in(ticket_id, host=host, **(files or {"line": "line\n"}))
        return ticket_id

    def hand_in(self, ticket_id: int, *, host: str = HERE, verdict: str = "review", **files: str) -> None:
        with writing(self.house.engine) as session:
            run = claims.claim(session, ticket_id, host).run
        branch, place = f"mc/MC-{ticket_id}-add-a-line", self.house.settings.home / f"work-{run.id}"
        base = git(self.repo, "rev-parse", "main")
        known = git(self.repo, "branch", "--list", branch)
        git(self.repo, "worktree", "add", "--quiet", str(place), *((branch,) if known else ("-b", branch)))
        commit(place, f"Commit of run {run.id}", **files)
        seen = observe.observe(place, base)
        git(self.repo, "worktree", "remove", "--force", str(place))
        seen["check"] = {"argv": ["true"], "exit_code": 0, "seconds": 0, "sha256": "", "tail": ""}
        with writing(self.house.engine) as session:
            claims.prepared(session, run.id, repository=str(self.repo), branch=branch, base_sha=base)
            body = reports.RunReport.model_validate({"verdict": verdict, "summary": "Done.", "observations": seen})
            assert reports.report(session, run.id, body, reports.RetryPolicy()).accepted

    def approved(self, **facts: Any) -> int:
        ticket_id = self.handed_in()
        self.house.move(ticket_id, "approve", **facts)
        return ticket_id

    def land(self) -> dict[str, Any]:
        return landing.make_pass(self.house.bench).summary

    def log(self) -> list[str]:
        return git(self.repo, "log", "--first-parent", "--format=%s", "main").splitlines()

    def fact(self, ticket_id: int) -> Evidence:
        [found] = [fact for fact in self.house.evidence(ticket_id) if fact.kind == "landing"]
        return found

    def told(self, ticket_id: int) -> str:
        return plans.told(self.house.get(ticket_id)) or ""

    def untouched(self) -> bool:
        scratch = self.house.settings.landings_dir
        return (
            not (scratch.is_dir() and list(scratch.iterdir())) and git(self.repo, "worktree", "list").count("\n") == 0
        )


@pytest.fixture
def office(house: House) -> Office:
    return Office(house, landing="merge")


def test_the_door_merges_what_was_approved_and_records_it(office: Office) -> None:
    ticket_id = office.approved()

    said = office.house.run_door("mc_land.py", "--trigger", "timer")

    assert said.returncode == 0, said.stderr
    summary = json.loads(said.stdout)
    assert (summary["outcome"], summary["landed"]) == ("acted", 1)
    head = git(office.repo, "rev-parse", "main")
    assert office.log() == ["Merge MC-1: Add a line", "first"] and (office.repo / "line.txt").exists()
    assert office.house.get(ticket_id).status is TicketStatus.DONE
    fact = office.fact(ticket_id)
    assert (fact.summary, (fact.data or {})["commit"]) == (f"Merged into main as {head[:10]}.", head)
    assert office.house.comments(ticket_id)[-1] == fact.summary
    with reading(office.house.engine) as session:
        [row] = session.scalars(select(TaskRun).where(TaskRun.task == "landing"))
        assert (row.outcome, row.exit_code) == (TaskOutcome.ACTED, 0)
    assert git(office.repo, "for-each-ref", "refs/mc/landing") == "" and office.untouched()
    assert office.land() == {}


def test_a_squash_lands_as_one_commit_and_the_branch_stays(office: Office) -> None:
    office.approved(landing="squash")
    assert office.land() == {"landed": 1}
    assert office.log() == ["MC-1: Add a line", "first"]
    assert git(office.repo, "branch", "--list", "mc/*").endswith("mc/MC-1-add-a-line")


def test_a_branch_is_pushed(office: Office, tmp_path: Path) -> None:
    git(office.repo, "init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    git(office.repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    ticket_id = office.approved(landing="push")
    assert office.land() == {"landed": 1}
    fact = office.fact(ticket_id)
    assert fact.summary == "Pushed mc/MC-1-add-a-line to origin." and fact.data is not None
    assert git(tmp_path / "remote.git", "rev-parse", "mc/MC-1-add-a-line") == fact.data["commit"]
    assert office.log() == ["first"]


def test_a_pull_request_is_opened_by_the_program_that_is_there(office: Office, tmp_path: Path) -> None:
    git(office.repo, "init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    git(office.repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    told = program(tmp_path, "gh", "https://github.example/a/b/pull/5")
    ticket_id = office.approved(landing="pull_request")

    said = office.house.run_door("mc_land.py", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert json.loads(said.stdout)["landed"] == 1, said.stderr
    assert calls(told)[1][:2] == ["pr", "create"]
    fact = office.fact(ticket_id)
    assert fact.summary == "Opened a pull request for mc/MC-1-add-a-line onto main."
    assert (fact.data or {})["address"] == "https://github.example/a/b/pull/5"


def test_a_conflict_goes_back_with_its_files_and_reaches_the_next_run(office: Office) -> None:
    ticket_id = office.approved()
    commit(office.repo, "Otherwise", line="another\n")

    assert office.land() == {"sent_back": 1}

    assert office.log() == ["Otherwise", "first"]
    assert office.house.get(ticket_id).status is TicketStatus.TODO
    with writing(office.house.engine) as session:
        run = claims.claim(session, ticket_id, HERE).run
        words = prompt.compose(session, lookup.get(session, ticket_id), run)
    assert "**Review feedback by mission-control**" in words and "It conflicts with main in `line.txt`." in words
    assert office.untouched()


def test_local_changes_in_the_way_need_a_person_and_are_kept(office: Office) -> None:
    (office.repo / "line.txt").write_text("mine\n")
    ticket_id = office.approved()

    done = landing.make_pass(office.house.bench)

    assert (done.outcome, done.summary) == (TaskOutcome.WARNING, {"failed": 1})
    ticket = office.house.get(ticket_id)
    assert (ticket.status, ticket.landing) == (TicketStatus.IN_REVIEW, LandingState.FAILED)
    assert f"is checked out in {office.repo}, where line.txt would be overwritten." in office.told(ticket_id)
    assert (office.repo / "line.txt").read_text() == "mine\n" and office.log() == ["first"]
    assert office.land() == {}, "it is tried again only when somebody says so"

    (office.repo / "line.txt").unlink()
    (office.repo / "readme.txt").write_text("mine, and not in the way\n")
    office.house.move(ticket_id, "approve")
    assert office.land() == {"landed": 1}
    assert (office.repo / "readme.txt").read_text() == "mine, and not in the way\n"


def test_what_is_no_longer_wanted_is_not_landed(office: Office) -> None:
    ticket_id = office.approved()
    with reading(office.house.engine) as session:
        [ticket] = landing_results.wanted(session, HERE)
    office.house.move(ticket_id, "request_changes", body="Wait.")
    assert landing._Attempt(office.house.bench, ticket, lambda: False).land() == "withdrawn"
    assert office.log() == ["first"]


def test_work_on_another_machine_is_left_to_that(office: Office) -> None:
    ticket_id = office.handed_in(host="another.example")
    office.house.move(ticket_id, "approve")
    assert office.land() == {} and office.log() == ["first"]
    assert office.house.get(ticket_id).landing is LandingState.PENDING


def test_one_that_cannot_be_landed_does_not_keep_the_others(office: Office) -> None:
    first, second = office.handed_in(), office.handed_in(other="x\n")
    for ticket_id in (first, second):
        office.house.move(ticket_id, "approve")
    git(office.repo, "branch", "-D", "mc/MC-1-add-a-line")
    assert office.land() == {"failed": 1, "landed": 1}
    assert "The branch mc/MC-1-add-a-line is gone." in office.told(first)
    assert office.house.get(second).status is TicketStatus.DONE


def test_what_a_program_says_may_hold_anything_and_the_others_are_landed(office: Office, tmp_path: Path) -> None:
    """Regression: a NUL in the words of gh could not be recorded, and ended every pass before the other tickets."""
    git(office.repo, "init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    git(office.repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    gh = tmp_path / "gh"
    gh.write_text("#!/bin/sh\nprintf 'bad \\000 thing' >&2\nexit 1\n")
    gh.chmod(0o755)
    first = office.approved(landing="pull_request")
    second = office.handed_in(other="x\n")
    office.house.move(second, "approve")

    said = office.house.run_door("mc_land.py", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert json.loads(said.stdout) == json.loads(said.stdout) | {"failed": 1, "landed": 1}, said.stderr
    assert "bad  thing" in office.told(first)


def test_one_whose_trouble_cannot_be_told_keeps_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = office.handed_in(), office.handed_in(other="x\n")
    for ticket_id in (first, second):
        office.house.move(ticket_id, "approve")
    git(office.repo, "branch", "-D", "mc/MC-1-add-a-line")
    monkeypatch.setattr(landing_results, "fail", lambda *_, **__: 1 / 0)
    assert office.land() == {"failed": 1, "landed": 1}
    assert office.house.get(first).landing is LandingState.PENDING


def test_the_words_of_a_remote_tell_no_secret(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    git(office.repo, "remote", "add", "origin", "https://alice:hunter2@127.0.0.1:1/x.git")
    ticket_id = office.approved(landing="push")
    assert office.land() == {"failed": 1}
    assert "origin did not take mc/MC-1-add-a-line" in office.told(ticket_id)
    assert "hunter2" not in json.dumps(office.house.get(ticket_id).landing_plan)


# The check command, on what is new


CHECK = ["sh", "-c", "echo ran >>$HOME/checks; cat *.txt; test ! -f third.txt"]


@pytest.fixture
def checked(house: House) -> Office:
    return Office(house, landing="merge", check=CHECK, setup_command=["touch", "ready"])


def checks_run(office: Office) -> int:
    log = office.house.settings.home / "checks"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_files_that_were_checked_are_not_checked_again(checked: Office) -> None:
    checked.approved()
    assert checked.land() == {"landed": 1} and checks_run(checked) == 0


def test_the_check_runs_on_what_the_merge_makes_and_is_kept_with_the_fact(checked: Office) -> None:
    ticket_id = checked.approved()
    commit(checked.repo, "Meanwhile", other="x\n")
    assert checked.land() == {"landed": 1} and checks_run(checked) == 1
    assert (checked.fact(ticket_id).data or {})["check"]["exit_code"] == 0


def test_a_check_that_fails_on_the_result_goes_back_with_its_output(checked: Office) -> None:
    ticket_id = checked.approved()
    commit(checked.repo, "Meanwhile", third="what breaks it\n")
    assert checked.land() == {"sent_back": 1} and checked.log() == ["Meanwhile", "first"]
    assert checked.house.get(ticket_id).status is TicketStatus.TODO
    words = checked.house.comments(ticket_id)[-1]
    assert "does not pass (exit 1)" in words and "what breaks it" in words and checked.untouched()


def test_what_was_waived_is_landed_without_its_check(checked: Office) -> None:
    checked.approved(waive="The check is wrong.")
    commit(checked.repo, "Meanwhile", third="x\n")
    assert checked.land() == {"landed": 1} and checks_run(checked) == 0


def test_a_set_up_that_fails_needs_a_person(house: House) -> None:
    office = Office(house, landing="merge", check=["true"], setup_command=["sh", "-c", "echo no disk; exit 3"])
    ticket_id = office.approved()
    commit(office.repo, "Meanwhile", other="x\n")
    assert office.land() == {"failed": 1}
    assert "failed (3)" in office.told(ticket_id) and "no disk" in office.told(ticket_id)


@pytest.fixture
def waiting(house: House) -> Office:
    """Its check goes on until somebody writes a file."""
    return Office(
        house, landing="squash", check=["sh", "-c", "touch $HOME/begun; until [ -f $HOME/go ]; do sleep 0.1; done"]
    )


def checking(office: Office) -> list[processes.Identity]:
    return processes.carrying(marker(office.house.settings.instance, "landing-MC-1"))


def test_a_door_killed_in_the_check_leaves_nothing_behind_and_the_next_lands_once(waiting: Office) -> None:
    ticket_id = waiting.approved()
    commit(waiting.repo, "Meanwhile", other="x\n")
    home = waiting.house.settings.home
    door = waiting.house.door("mc_land.py")
    wait_until((home / "begun").exists, 30, "the check")
    door.send_signal(signal.SIGKILL)
    door.wait(10)
    assert not waiting.untouched() and checking(waiting)

    (home / "begun").unlink()
    second = waiting.house.door("mc_land.py")
    wait_until((home / "begun").exists, 30, "the second check")
    assert len({each.pid for each in checking(waiting)}) <= 2, "the first one was ended"
    (home / "go").touch()
    assert second.wait(30) == 0

    assert waiting.log() == ["MC-1: Add a line", "Meanwhile", "first"] and waiting.untouched()
    assert waiting.house.get(ticket_id).status is TicketStatus.DONE


def lander_of(house: House, enabled: Callable[[], bool], log: Callable[[str], None]) -> tuple[Lander, Scheduler]:
    scheduler = Scheduler(house.bench, ROOT / "tasks", now(), log)
    work = partial(scheduler.run_enabled, landing.TASK, land, Trigger.EVENT)
    return Lander(house.bench, work, enabled, log), scheduler


def being_checked(office: Office) -> tuple[int, Scheduler]:
    """A ticket whose landing is at its check, and the scheduler that lands it."""
    ticket_id = office.approved()
    commit(office.repo, "Meanwhile", other="x\n")
    lander, scheduler = lander_of(office.house, lambda: True, print)
    lander.tick()
    wait_until((office.house.settings.home / "begun").exists, 30, "the check")
    return ticket_id, scheduler


def test_who_changes_their_mind_during_the_check_is_heard(waiting: Office) -> None:
    ticket_id, _ = being_checked(waiting)
    waiting.house.move(ticket_id, "request_changes", body="Wait.")
    wait_until(lambda: not checking(waiting) and waiting.untouched(), 20, "the end of the check")
    assert waiting.log() == ["Meanwhile", "first"]
    assert waiting.house.get(ticket_id).status is TicketStatus.TODO


def test_a_scheduler_that_stops_ends_the_check_and_keeps_the_landing(waiting: Office) -> None:
    ticket_id, scheduler = being_checked(waiting)
    scheduler.stop()
    wait_until(lambda: not checking(waiting) and waiting.untouched(), 20, "the end of the check")
    assert waiting.house.get(ticket_id).landing is LandingState.PENDING


# Cut off between git and the store


class Killed(BaseException):
    """As a kill would: nobody catches it."""


@pytest.mark.parametrize(
    ("policy", "error"), [("merge", Killed), ("squash", Killed), ("push", Killed), ("merge", OSError)]
)
def test_a_door_that_cannot_say_what_it_did_lands_nothing_twice(
    office: Office, policy: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(office.repo, "init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    git(office.repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    ticket_id = office.approved(landing=policy)

    def die(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(landing_results, "succeed", die)
        if error is Killed:
            with pytest.raises(Killed):
                office.land()
        else:
            assert office.land() == {"failed": 1}
    assert office.house.get(ticket_id).landing is LandingState.PENDING
    before = git(office.repo, "rev-parse", "main")
    commit(office.repo, "Meanwhile", line="changed by hand\n")

    assert office.land() == {"landed": 1}

    assert office.house.get(ticket_id).status is TicketStatus.DONE
    assert office.log()[0] == "Meanwhile"
    data = office.fact(ticket_id).data or {}
    assert policy == "push" or data["commit"] == before
    assert policy != "push" or git(tmp_path / "remote.git", "rev-parse", "mc/MC-1-add-a-line") == data["commit"]


# Who starts it


def test_the_scheduler_lands_at_once_and_not_at_all_where_the_task_is_disabled(office: Office) -> None:
    enabled: list[bool] = []
    said: list[str] = []
    lander, _ = lander_of(office.house, lambda: bool(enabled), said.append)
    lander.tick()
    ticket_id = office.approved()
    lander.tick()
    assert office.house.get(ticket_id).landing is LandingState.PENDING and office.log() == ["first"]
    enabled.append(True)
    lander.tick()
    office.house.until(ticket_id, TicketStatus.DONE)
    assert said == []


def test_the_real_scheduler_lands(office: Office) -> None:
    scheduler = office.house.door("mc_scheduler.py")
    ticket_id = office.approved()
    office.house.until(ticket_id, TicketStatus.DONE, timeout=45)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(20) == 0


def test_two_doors_at_once_land_once(office: Office) -> None:
    for _ in range(2):
        office.approved()
    doors = [office.house.door("mc_land.py") for _ in range(3)]
    outcomes = [json.loads(door.communicate(timeout=60)[0])["outcome"] for door in doors]
    assert set(outcomes) <= {"acted", "skipped", "noop"} and outcomes.count("acted") >= 1
    office.land()
    assert sorted(office.log()) == ["Merge MC-1: Add a line", "Merge MC-2: Add a line", "first"]


def test_work_that_an_agent_completes_by_itself_lands_and_a_conflict_is_resolved_by_it(open_house: House) -> None:
    folder = open_house.project(landing="merge", gate="none")
    script = "git merge --quiet main 2>/dev/null || { git checkout --quiet --theirs line.txt 2>/dev/null; }; date +%N >>line.txt"
    ticket_id = open_house.ticket(script, project="web")
    open_house.make_pass()
    open_house.until(ticket_id, TicketStatus.IN_REVIEW)
    commit(folder, "Otherwise", line="another\n")
    assert landing.make_pass(open_house.bench).summary == {"sent_back": 1}

    def again() -> Ticket | None:
        open_house.make_pass()
        ticket = open_house.get(ticket_id)
        return ticket if ticket.landing is LandingState.PENDING else None

    wait_until(again, 40, "the second submission")
    assert open_house.runs(ticket_id)[-1].base_sha == git(folder, "rev-parse", "main"), "what it took in is not its own"
    assert landing.make_pass(open_house.bench).summary == {"landed": 1}
    assert open_house.get(ticket_id).status is TicketStatus.DONE
    assert "another" in git(folder, "show", "main:line.txt")
