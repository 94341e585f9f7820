"""Approved work lands: real repositories, the real door, and what happens when either is in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs import landing, trial_merges
from jobs.landing import Lander
from jobs.scheduler import ROOT, Scheduler, run_landing
from models import (
    BranchState,
    Evidence,
    LandingState,
    Project,
    TaskOutcome,
    TaskRun,
    Ticket,
    TicketEvent,
    TicketStatus,
    Trigger,
    now,
)
from tests.waiting import wait_until
from tests.workers.repositories import commit, git
from tests.workers.test_landing import read_calls, write_program
from tickets.runs import claims, landing_results, prompt, reports
from tickets.shared import lookup
from tickets.workflow import branch_states
from tickets.workflow import landing as plans
from tickets.workflow.branch_states import BranchWork, MergeNote, Overlap
from workers.contract.spec import format_marker
from workers.host import processes
from workers.repository import observe, trial_merge
from workers.repository.git import GitHung

from .installation import Installation

HOST = socket.gethostname()


class ReviewedProject:
    """A house with one project, and tickets whose work is in review without anybody having to run an agent."""

    def __init__(self, installation: Installation, **project: Any) -> None:
        self.installation = installation
        self.repo = installation.project(**project)

    def create_reviewed_ticket(self, *, host: str = HOST, **files: str) -> int:
        """A ticket whose branch writes these files."""
        ticket_id = self.installation.ticket(project="web", title="Add a line")
        self.hand_in(ticket_id, host=host, **(files or {"line": "line\n"}))
        return ticket_id

    def hand_in(self, ticket_id: int, *, host: str = HOST, verdict: str = "review", **files: str) -> None:
        with writing(self.installation.engine) as session:
            run = claims.claim_ticket(session, ticket_id, host).run
        branch, worktree = f"mc/MC-{ticket_id}-add-a-line", self.installation.settings.home / f"work-{run.id}"
        base = git(self.repo, "rev-parse", "main")
        existing_branch = git(self.repo, "branch", "--list", branch)
        git(self.repo, "worktree", "add", "--quiet", str(worktree), *((branch,) if existing_branch else ("-b", branch)))
        commit(worktree, f"Commit of run {run.id}", **files)
        observations = observe.observe(worktree, base)
        git(self.repo, "worktree", "remove", "--force", str(worktree))
        observations["check"] = {"argv": ["true"], "exit_code": 0, "seconds": 0, "sha256": "", "tail": ""}
        with writing(self.installation.engine) as session:
            claims.record_workspace(session, run.id, repository=str(self.repo), branch=branch, base_sha=base)
            body = reports.RunReport.model_validate(
                {"verdict": verdict, "summary": "Done.", "observations": observations}
            )
            assert reports.apply_report(session, run.id, body, reports.RetryPolicy()).accepted

    def create_approved_ticket(self, **facts: Any) -> int:
        ticket_id = self.create_reviewed_ticket()
        self.installation.move(ticket_id, "approve", **facts)
        return ticket_id

    def land(self) -> dict[str, Any]:
        return landing.make_pass(self.installation.context).summary

    def log(self) -> list[str]:
        return git(self.repo, "log", "--first-parent", "--format=%s", "main").splitlines()

    def get_landing_fact(self, ticket_id: int) -> Evidence:
        [fact] = [fact for fact in self.installation.evidence(ticket_id) if fact.kind == "landing"]
        return fact

    def describe_landing(self, ticket_id: int) -> str:
        return plans.describe_landing(self.installation.get(ticket_id)) or ""

    def set_push_address(self, address: str) -> None:
        with writing(self.installation.engine) as session:
            session.execute(update(Project).values(push_address=address))

    def is_clean(self) -> bool:
        scratch = self.installation.settings.landings_dir
        return (
            not (scratch.is_dir() and list(scratch.iterdir())) and git(self.repo, "worktree", "list").count("\n") == 0
        )


@pytest.fixture
def project(installation: Installation) -> ReviewedProject:
    return ReviewedProject(installation, landing="merge")


def add_remote(project: ReviewedProject, folder: Path) -> None:
    git(project.repo, "init", "--quiet", "--bare", str(folder / "remote.git"))
    project.set_push_address(str(folder / "remote.git"))


def test_the_door_merges_what_was_approved_and_records_it(project: ReviewedProject) -> None:
    ticket_id = project.create_approved_ticket()

    completed = project.installation.run_program("mc_land.py", "--trigger", "timer")

    assert completed.returncode == 0, completed.stderr
    summary = json.loads(completed.stdout)
    assert (summary["outcome"], summary["landed"]) == ("acted", 1)
    head = git(project.repo, "rev-parse", "main")
    assert project.log() == ["Merge MC-1: Add a line", "first"] and (project.repo / "line.txt").exists()
    assert project.installation.get(ticket_id).status is TicketStatus.DONE
    fact = project.get_landing_fact(ticket_id)
    assert (fact.summary, (fact.data or {})["commit"]) == (f"Merged into main as {head[:10]}.", head)
    assert project.installation.comments(ticket_id)[-1] == fact.summary
    with reading(project.installation.engine) as session:
        [row] = session.scalars(select(TaskRun).where(TaskRun.task == "landing"))
        assert (row.outcome, row.exit_code) == (TaskOutcome.ACTED, 0)
    assert git(project.repo, "for-each-ref", "refs/mc/landing") == "" and project.is_clean()
    assert project.land() == {}


def test_a_squash_lands_as_one_commit_and_the_branch_stays(project: ReviewedProject) -> None:
    project.create_approved_ticket(landing="squash")
    assert project.land() == {"landed": 1}
    assert project.log() == ["MC-1: Add a line", "first"]
    assert git(project.repo, "branch", "--list", "mc/*").endswith("mc/MC-1-add-a-line")


def test_a_branch_is_pushed(project: ReviewedProject, tmp_path: Path) -> None:
    add_remote(project, tmp_path)
    ticket_id = project.create_approved_ticket(landing="push")
    assert project.land() == {"landed": 1}
    fact = project.get_landing_fact(ticket_id)
    assert fact.summary == f"Pushed mc/MC-1-add-a-line to {tmp_path / 'remote.git'}." and fact.data is not None
    assert git(tmp_path / "remote.git", "rev-parse", "mc/MC-1-add-a-line") == fact.data["commit"]
    assert project.log() == ["first"]


def test_a_pull_request_is_opened_by_the_program_that_is_there(project: ReviewedProject, tmp_path: Path) -> None:
    add_remote(project, tmp_path)
    call_log = write_program(tmp_path, "gh", "https://github.example/a/b/pull/5")
    ticket_id = project.create_approved_ticket(landing="pull_request")

    completed = project.installation.run_program("mc_land.py", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert json.loads(completed.stdout)["landed"] == 1, completed.stderr
    assert read_calls(call_log)[1][:2] == ["pr", "create"]
    fact = project.get_landing_fact(ticket_id)
    assert fact.summary == "Opened a pull request for mc/MC-1-add-a-line onto main."
    assert (fact.data or {})["address"] == "https://github.example/a/b/pull/5"


def test_a_conflict_goes_back_with_its_files_and_reaches_the_next_run(project: ReviewedProject) -> None:
    ticket_id = project.create_approved_ticket()
    commit(project.repo, "Otherwise", line="another\n")

    assert project.land() == {"sent_back": 1}

    assert project.log() == ["Otherwise", "first"]
    assert project.installation.get(ticket_id).status is TicketStatus.TODO
    with writing(project.installation.engine) as session:
        run = claims.claim_ticket(session, ticket_id, HOST).run
        words = prompt.compose_prompt(session, lookup.get_ticket(session, ticket_id), run)
    assert "**Review feedback by mission-control**" in words and "It conflicts with main in `line.txt`." in words
    assert project.is_clean()


def test_local_changes_in_the_way_need_a_person_and_are_kept(project: ReviewedProject) -> None:
    (project.repo / "line.txt").write_text("mine\n")
    ticket_id = project.create_approved_ticket()

    done = landing.make_pass(project.installation.context)

    assert (done.outcome, done.summary) == (TaskOutcome.WARNING, {"failed": 1})
    ticket = project.installation.get(ticket_id)
    assert (ticket.status, ticket.landing) == (TicketStatus.IN_REVIEW, LandingState.FAILED)
    assert f"is checked out in {project.repo}, where line.txt would be overwritten." in project.describe_landing(
        ticket_id
    )
    assert (project.repo / "line.txt").read_text() == "mine\n" and project.log() == ["first"]
    assert project.land() == {}, "it is tried again only when somebody says so"

    (project.repo / "line.txt").unlink()
    (project.repo / "readme.txt").write_text("mine, and not in the way\n")
    project.installation.move(ticket_id, "approve")
    assert project.land() == {"landed": 1}
    assert (project.repo / "readme.txt").read_text() == "mine, and not in the way\n"


def test_what_is_no_longer_wanted_is_not_landed(project: ReviewedProject) -> None:
    ticket_id = project.create_approved_ticket()
    with reading(project.installation.engine) as session:
        [ticket] = landing_results.list_pending(session, HOST)
    project.installation.move(ticket_id, "request_changes", body="Wait.")
    assert landing._LandingAttempt(project.installation.context, ticket, lambda: False).land() == "withdrawn"
    assert project.log() == ["first"]


def test_work_on_another_machine_is_left_to_that(project: ReviewedProject) -> None:
    ticket_id = project.create_reviewed_ticket(host="another.example")
    project.installation.move(ticket_id, "approve")
    assert project.land() == {} and project.log() == ["first"]
    assert project.installation.get(ticket_id).landing is LandingState.PENDING


def test_one_that_cannot_be_landed_does_not_keep_the_others(project: ReviewedProject) -> None:
    first, second = project.create_reviewed_ticket(), project.create_reviewed_ticket(other="x\n")
    for ticket_id in (first, second):
        project.installation.move(ticket_id, "approve")
    git(project.repo, "branch", "-D", "mc/MC-1-add-a-line")
    assert project.land() == {"failed": 1, "landed": 1}
    assert "The branch mc/MC-1-add-a-line is gone." in project.describe_landing(first)
    assert project.installation.get(second).status is TicketStatus.DONE


def test_what_a_program_says_may_hold_anything_and_the_others_are_landed(
    project: ReviewedProject, tmp_path: Path
) -> None:
    """Regression: a NUL in the words of gh could not be recorded, and ended every pass before the other tickets."""
    add_remote(project, tmp_path)
    gh = tmp_path / "gh"
    gh.write_text("#!/bin/sh\nprintf 'bad \\000 thing' >&2\nexit 1\n")
    gh.chmod(0o755)
    first = project.create_approved_ticket(landing="pull_request")
    second = project.create_reviewed_ticket(other="x\n")
    project.installation.move(second, "approve")

    completed = project.installation.run_program("mc_land.py", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert json.loads(completed.stdout) == json.loads(completed.stdout) | {"failed": 1, "landed": 1}, completed.stderr
    assert "bad  thing" in project.describe_landing(first)


def test_one_whose_trouble_cannot_be_told_keeps_no_other(
    project: ReviewedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = project.create_reviewed_ticket(), project.create_reviewed_ticket(other="x\n")
    for ticket_id in (first, second):
        project.installation.move(ticket_id, "approve")
    git(project.repo, "branch", "-D", "mc/MC-1-add-a-line")
    monkeypatch.setattr(landing_results, "record_failure", lambda *_, **__: 1 / 0)
    assert project.land() == {"failed": 1, "landed": 1}
    assert project.installation.get(first).landing is LandingState.PENDING


def test_the_words_of_a_remote_tell_no_secret(project: ReviewedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.set_push_address("https://alice:hunter2@127.0.0.1:1/x.git")
    ticket_id = project.create_approved_ticket(landing="push")
    assert project.land() == {"failed": 1}
    assert "https://127.0.0.1:1/x.git did not take mc/MC-1-add-a-line" in project.describe_landing(ticket_id)
    assert "hunter2" not in json.dumps(project.installation.get(ticket_id).landing_plan)


# The check command, on what is new


CHECK = ["sh", "-c", "echo ran >>$HOME/checks; cat *.txt; test ! -f third.txt"]


@pytest.fixture
def checked_project(installation: Installation) -> ReviewedProject:
    return ReviewedProject(installation, landing="merge", check=CHECK, setup_command=["touch", "ready"])


def count_checks(project: ReviewedProject) -> int:
    log = project.installation.settings.home / "checks"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_files_that_were_checked_are_not_checked_again(checked_project: ReviewedProject) -> None:
    checked_project.create_approved_ticket()
    assert checked_project.land() == {"landed": 1} and count_checks(checked_project) == 0


def test_the_check_runs_on_what_the_merge_makes_and_is_kept_with_the_fact(checked_project: ReviewedProject) -> None:
    ticket_id = checked_project.create_approved_ticket()
    commit(checked_project.repo, "Meanwhile", other="x\n")
    assert checked_project.land() == {"landed": 1} and count_checks(checked_project) == 1
    assert (checked_project.get_landing_fact(ticket_id).data or {})["check"]["exit_code"] == 0


def test_a_check_that_fails_on_the_result_goes_back_with_its_output(checked_project: ReviewedProject) -> None:
    ticket_id = checked_project.create_approved_ticket()
    commit(checked_project.repo, "Meanwhile", third="what breaks it\n")
    assert checked_project.land() == {"sent_back": 1} and checked_project.log() == ["Meanwhile", "first"]
    assert checked_project.installation.get(ticket_id).status is TicketStatus.TODO
    words = checked_project.installation.comments(ticket_id)[-1]
    assert "does not pass (exit 1)" in words and "what breaks it" in words and checked_project.is_clean()


def test_what_was_waived_is_landed_without_its_check(checked_project: ReviewedProject) -> None:
    checked_project.create_approved_ticket(waive="The check is wrong.")
    commit(checked_project.repo, "Meanwhile", third="x\n")
    assert checked_project.land() == {"landed": 1} and count_checks(checked_project) == 0


def test_a_set_up_that_fails_needs_a_person(installation: Installation) -> None:
    project = ReviewedProject(
        installation, landing="merge", check=["true"], setup_command=["sh", "-c", "echo no disk; exit 3"]
    )
    ticket_id = project.create_approved_ticket()
    commit(project.repo, "Meanwhile", other="x\n")
    assert project.land() == {"failed": 1}
    assert "failed (3)" in project.describe_landing(ticket_id) and "no disk" in project.describe_landing(ticket_id)


@pytest.fixture
def slow_project(installation: Installation) -> ReviewedProject:
    """Its check goes on until somebody writes a file."""
    return ReviewedProject(
        installation,
        landing="squash",
        check=["sh", "-c", "touch $HOME/begun; until [ -f $HOME/go ]; do sleep 0.1; done"],
    )


def find_check_processes(project: ReviewedProject) -> list[processes.Identity]:
    return processes.find_by_marker(format_marker(project.installation.settings.instance, "landing-MC-1"))


def test_a_door_killed_in_the_check_leaves_nothing_behind_and_the_next_lands_once(
    slow_project: ReviewedProject,
) -> None:
    ticket_id = slow_project.create_approved_ticket()
    commit(slow_project.repo, "Meanwhile", other="x\n")
    home = slow_project.installation.settings.home
    first = slow_project.installation.start_program("mc_land.py")
    wait_until((home / "begun").exists, 30, "the check")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert not slow_project.is_clean() and find_check_processes(slow_project)

    (home / "begun").unlink()
    second = slow_project.installation.start_program("mc_land.py")
    wait_until((home / "begun").exists, 30, "the second check")
    assert len({process.pid for process in find_check_processes(slow_project)}) <= 2, "the first one was ended"
    (home / "go").touch()
    assert second.wait(30) == 0

    assert slow_project.log() == ["MC-1: Add a line", "Meanwhile", "first"] and slow_project.is_clean()
    assert slow_project.installation.get(ticket_id).status is TicketStatus.DONE


def build_lander(
    installation: Installation, enabled: Callable[[], bool], log: Callable[[str], None]
) -> tuple[Lander, Scheduler]:
    scheduler = Scheduler(installation.context, ROOT / "tasks", now(), log)
    work = partial(scheduler.run_enabled, landing.TASK, run_landing, Trigger.EVENT)
    return Lander(installation.context, work, enabled, log), scheduler


def start_check(project: ReviewedProject) -> tuple[int, Scheduler]:
    """A ticket whose landing is at its check, and the scheduler that lands it."""
    ticket_id = project.create_approved_ticket()
    commit(project.repo, "Meanwhile", other="x\n")
    lander, scheduler = build_lander(project.installation, lambda: True, print)
    lander.tick()
    wait_until((project.installation.settings.home / "begun").exists, 30, "the check")
    return ticket_id, scheduler


def test_who_changes_their_mind_during_the_check_is_heard(slow_project: ReviewedProject) -> None:
    ticket_id, _ = start_check(slow_project)
    slow_project.installation.move(ticket_id, "request_changes", body="Wait.")
    wait_until(lambda: not find_check_processes(slow_project) and slow_project.is_clean(), 20, "the end of the check")
    assert slow_project.log() == ["Meanwhile", "first"]
    assert slow_project.installation.get(ticket_id).status is TicketStatus.TODO


def test_a_scheduler_that_stops_ends_the_check_and_keeps_the_landing(slow_project: ReviewedProject) -> None:
    ticket_id, scheduler = start_check(slow_project)
    scheduler.stop()
    wait_until(lambda: not find_check_processes(slow_project) and slow_project.is_clean(), 20, "the end of the check")
    assert slow_project.installation.get(ticket_id).landing is LandingState.PENDING


# Cut off between git and the store


class Killed(BaseException):
    """As a kill would: nobody catches it."""


@pytest.mark.parametrize(
    ("policy", "error"), [("merge", Killed), ("squash", Killed), ("push", Killed), ("merge", OSError)]
)
def test_a_door_that_cannot_say_what_it_did_lands_nothing_twice(
    project: ReviewedProject, policy: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_remote(project, tmp_path)
    ticket_id = project.create_approved_ticket(landing=policy)

    def die(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(landing_results, "record_success", die)
        if error is Killed:
            with pytest.raises(Killed):
                project.land()
        else:
            assert project.land() == {"failed": 1}
    assert project.installation.get(ticket_id).landing is LandingState.PENDING
    before = git(project.repo, "rev-parse", "main")
    commit(project.repo, "Meanwhile", line="changed by hand\n")

    assert project.land() == {"landed": 1}

    assert project.installation.get(ticket_id).status is TicketStatus.DONE
    assert project.log()[0] == "Meanwhile"
    data = project.get_landing_fact(ticket_id).data or {}
    assert policy == "push" or data["commit"] == before
    assert policy != "push" or git(tmp_path / "remote.git", "rev-parse", "mc/MC-1-add-a-line") == data["commit"]


# Who starts it


def test_the_scheduler_lands_at_once_and_not_at_all_where_the_task_is_disabled(project: ReviewedProject) -> None:
    enabled: list[bool] = []
    messages: list[str] = []
    lander, _ = build_lander(project.installation, lambda: bool(enabled), messages.append)
    lander.tick()
    ticket_id = project.create_approved_ticket()
    lander.tick()
    assert project.installation.get(ticket_id).landing is LandingState.PENDING and project.log() == ["first"]
    enabled.append(True)
    lander.tick()
    project.installation.until(ticket_id, TicketStatus.DONE)
    assert messages == []


def test_the_real_scheduler_lands(project: ReviewedProject) -> None:
    scheduler = project.installation.start_program("mc_scheduler.py")
    ticket_id = project.create_approved_ticket()
    project.installation.until(ticket_id, TicketStatus.DONE, timeout=45)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(20) == 0


def test_two_doors_at_once_land_once(project: ReviewedProject) -> None:
    for _ in range(2):
        project.create_approved_ticket()
    children = [project.installation.start_program("mc_land.py") for _ in range(3)]
    outcomes = [json.loads(child.communicate(timeout=60)[0])["outcome"] for child in children]
    assert set(outcomes) <= {"acted", "skipped", "noop"} and outcomes.count("acted") >= 1
    project.land()
    assert sorted(project.log()) == ["Merge MC-1: Add a line", "Merge MC-2: Add a line", "first"]


def test_conflicts_and_overlaps_are_known_before_the_approval(
    project: ReviewedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, engine = project.installation.context, project.installation.engine
    commit(project.repo, "Many lines", many="".join(f"{number}\n" for number in range(1, 31)))

    def write_lines(**changes: str) -> int:
        """A reviewed ticket that changes these lines, named `line5` for the fifth."""
        lines = [changes.get(f"line{number}", str(number)) for number in range(1, 31)]
        return project.create_reviewed_ticket(many="".join(f"{line}\n" for line in lines))

    def load_notes() -> list[MergeNote | None]:
        with reading(engine) as session:
            tickets = [lookup.get_ticket(session, ticket_id) for ticket_id in (one, other, third)]
            notes = branch_states.load_notes(session, tickets)
        return [notes.get(ticket.id) for ticket in tickets]

    def list_events() -> list[str]:
        query = select(TicketEvent.payload_json).where(TicketEvent.event_type == "ticket_merge_tried")
        with reading(engine) as session:
            return [payload["detail"] for payload in session.scalars(query.order_by(TicketEvent.id))]

    one, other = write_lines(line5="five", line20="twenty"), write_lines(line20="TWENTY", line21="XXI")
    third = write_lines(line28="twenty-eight")
    tried = trial_merges.make_pass(context)
    place = ("many.txt", 20, 20)
    assert load_notes() == [
        MergeNote("main", (), (Overlap("MC-2", *place),)),
        MergeNote("main", (), (Overlap("MC-1", *place),)),
        MergeNote("main", (), ()),
    ]
    assert list_events() == ["overlaps MC-2", "overlaps MC-1"]

    calls: list[str] = []
    monkeypatch.setattr(trial_merge, "try_merge", lambda *_: calls.append("merge"))
    assert trial_merges.make_pass(context, tried) == tried and calls == [], "nothing has moved"
    monkeypatch.undo()

    commit(project.repo, "Otherwise", many="".join(f"{number if number != 5 else 'V'}\n" for number in range(1, 31)))
    project.installation.move(other, "cancel")
    tried = trial_merges.make_pass(context, tried)
    assert load_notes() == [MergeNote("main", ("many.txt",), ()), None, MergeNote("main", (), ())]
    assert list_events()[-2:] == [
        "conflicts with main in many.txt and overlaps MC-2",
        "conflicts with main in many.txt",
    ]
    git(project.repo, "branch", "--delete", "--force", "mc/MC-3-add-a-line")
    git(project.repo, "checkout", "--quiet", "--orphan", "mc/MC-3-add-a-line")
    commit(project.repo, "Unrelated")
    trial_merges.make_pass(context, tried)
    note = load_notes()[2]
    assert note is not None and "unrelated histories" in note.problem
    for checked, is_tried in ((now(), True), (now() - timedelta(hours=1), False)):
        with writing(engine) as session:
            session.execute(update(BranchState).values(checked=checked))
        with reading(engine) as session:
            [work] = [work for work in branch_states.list_work(session, context.host) if work.ticket_id == third]
        assert (work.tried_base is not None) is is_tried, "git may be able to try it later"


def test_a_repository_in_which_git_hangs_keeps_no_other_from_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Mock(monotonic=Mock(return_value=0.0))

    def list_heads(repository: Path, branches: list[str]) -> dict[str, trial_merge.BranchHead]:
        if repository.name == "hung":
            clock.monotonic.return_value += 60.0
            raise GitHung("git for-each-ref did not end")
        return {branch: trial_merge.BranchHead("a" * 40, "b" * 40) for branch in branches}

    monkeypatch.setattr(trial_merges, "time", clock)
    monkeypatch.setattr(trial_merge, "list_heads", list_heads)
    monkeypatch.setattr(trial_merge, "try_merge", lambda *_: trial_merge.TrialMerge((), {}))
    works = [BranchWork(number, f"/srv/{name}", "mc/1", "main") for number, name in enumerate(("hung", "web", "api"))]
    assert [result.ticket_id for result in trial_merges._try_branches(works)] == [1, 2]


def test_work_that_an_agent_completes_by_itself_lands_and_a_conflict_is_resolved_by_it(
    served_installation: Installation,
) -> None:
    folder = served_installation.project(landing="merge", gate="none")
    script = (
        "git -c user.name=A -c user.email=a@x merge --quiet main 2>/dev/null"
        " || { git checkout --quiet --theirs line.txt 2>/dev/null; }; date +%N >>line.txt"
    )
    ticket_id = served_installation.ticket(script, project="web")
    served_installation.make_pass()
    served_installation.until(ticket_id, TicketStatus.IN_REVIEW)
    commit(folder, "Otherwise", line="another\n")
    assert landing.make_pass(served_installation.context).summary == {"sent_back": 1}

    def again() -> Ticket | None:
        served_installation.make_pass()
        ticket = served_installation.get(ticket_id)
        return ticket if ticket.landing is LandingState.PENDING else None

    wait_until(again, 40, "the second submission")
    assert served_installation.runs(ticket_id)[-1].base_sha == git(folder, "rev-parse", "main"), (
        "what it took in is not its own"
    )
    assert landing.make_pass(served_installation.context).summary == {"landed": 1}
    assert served_installation.get(ticket_id).status is TicketStatus.DONE
    assert "another" in git(folder, "show", "main:line.txt")
