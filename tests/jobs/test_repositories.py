"""Repositories of projects: a base branch that vanishes, and the slots that a person sets aside, cleans or deletes."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from database import reading, writing
from jobs import repositories as jobs_repositories
from jobs import workspaces
from jobs.job_context import JobContext
from models import ActorKind, Outcome, Project, Run, RunState, SlotAction, TicketStatus, now
from tests.waiting import wait_until
from tests.workers.repositories import git
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid
from tickets.team import projects, repositories
from tickets.team.repositories import NewSlotRequest
from workers.host import processes
from workers.repository import workspace

from .installation import ALICE, Installation


def test_tickets_wait_at_one_gate_for_a_base_branch_and_start_once_it_is_back(installation: Installation) -> None:
    folder = installation.project()
    ticket_id = installation.ticket("true", project="web")
    git(folder, "branch", "--move", "main", "elsewhere")

    result = installation.make_pass()

    assert (result.summary["claimed"], result.summary["skipped"]) == ([], {"repository": 1})
    ticket = installation.get(ticket_id)
    assert (ticket.last_gate, ticket.attempts, installation.runs()) == ("repository", 0, [])
    with reading(installation.engine) as session:
        [problem] = repositories.find_problems(session, installation.context.host).values()
        assert repositories.find_problems(session, "another") == {}, "another host of the fleet may have what it needs"
    assert "has no branch main. Its tickets start automatically" in problem and installation.context.host in problem
    assert installation.make_pass().summary["skipped"] == {"repository": 1}

    git(folder, "branch", "--move", "elsewhere", "main")

    assert installation.make_pass().summary["claimed"] == ["MC-1"]


def test_a_repository_in_which_git_hangs_delays_no_ticket_of_another_project(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: each pass waited for such a repository, for the time limit of git, before it started anything."""
    examinations: list[tuple[str, TicketStatus | None]] = []
    find_problem, good_id = jobs_repositories.find_problem, 0

    def examine(project: Project) -> str:
        if project.slug != "web":
            return find_problem(project)
        examinations.append((project.slug, installation.get(good_id).status if good_id else None))
        return "git does not answer"

    monkeypatch.setattr(jobs_repositories, "find_problem", examine)
    for slug in ("web", "good"):
        installation.project(slug=slug)
    installation.ticket("true", project="web")
    installation.make_pass(probes=False)
    good_id = installation.ticket("true", project="good")

    installation.make_pass()
    installation.make_pass(probes=False)
    monkeypatch.setattr(jobs_repositories, "CONFIRM_SECONDS", -1)
    installation.make_pass()

    assert examinations == [("web", None), ("web", TicketStatus.IN_PROGRESS)]


def request(context: JobContext, slot: str, action: SlotAction, actor: Actor = ALICE) -> str:
    """Request an action on a slot, carry it out, and return the state of the slot afterwards."""
    with writing(context.engine) as session:
        body = NewSlotRequest(host=context.host, slot=slot, action=action)
        repositories.request_slot(session, "web", body, actor)
    assert jobs_repositories.answer_requests(context) == 1
    with reading(context.engine) as session:
        [state] = repositories.list_states(session, projects.get_project(session, "web").id)
    return next((entry["state"] for entry in state.slots if entry["name"] == slot), "gone")


def test_a_person_cleans_sets_aside_and_deletes_slots(installation: Installation) -> None:
    folder, context = installation.project(), installation.context
    pool = installation.settings.worktrees_dir / "web"
    slot = workspace.acquire(folder, "main", "mc/MC-1", pool, 1, "run-1").path
    (slot / "new.txt").write_text("uncommitted\n")
    jobs_repositories.record_slots(context)
    for name, action in (("pool-9", SlotAction.CLEAN), ("pool-1", SlotAction.DELETE)):
        with pytest.raises(Invalid):
            request(context, name, action)
    with pytest.raises(Forbidden):
        request(context, "pool-1", SlotAction.CLEAN, Actor(ActorKind.SERVICE, "ci"))

    assert request(context, "pool-1", SlotAction.SET_ASIDE) == "gone"
    [old] = [entry.name for entry in pool.iterdir() if entry.name.startswith("pool-1.2") and entry.is_dir()]
    assert (pool / old / "new.txt").exists()
    assert request(context, old, SlotAction.DELETE) == "gone"
    assert not (pool / old).exists() and git(folder, "worktree", "list").count("\n") == 0

    slot = workspace.acquire(folder, "main", "mc/MC-1", pool, 1, "run-1").path
    (slot / "new.txt").write_text("uncommitted\n")
    jobs_repositories.record_slots(context)
    assert request(context, "pool-1", SlotAction.CLEAN) == "gone"
    assert git(folder, "for-each-ref", "refs/mc/saved/mc/MC-1/")


def test_a_slot_is_requested_once_and_deleted_after_its_time(installation: Installation) -> None:
    folder, context = installation.project(), installation.context
    pool = installation.settings.worktrees_dir / "web"
    slot = workspace.acquire(folder, "main", "mc/MC-1", pool, 1, "run-1").path
    workspace.set_aside(folder, slot, set())
    jobs_repositories.record_slots(context)
    with reading(context.engine) as session:
        [state] = repositories.list_states(session, 1)
    [entry] = state.slots
    body = NewSlotRequest(host=context.host, slot=entry["name"], action=SlotAction.DELETE)
    with writing(context.engine) as session:
        repositories.request_slot(session, "web", body, ALICE)
        with pytest.raises(ConflictError):
            repositories.request_slot(session, "web", body, ALICE)

    assert jobs_repositories.remove_old_slots(context, 1) == 0
    assert jobs_repositories.remove_old_slots(context, -1) == 1
    assert jobs_repositories.answer_requests(context) == 1


def test_the_tear_down_of_a_run_whose_wrapper_died_is_run_at_its_release(installation: Installation) -> None:
    installation.project(teardown_command=["sh", "-c", "echo $MC_PORT_1 >$HOME/torn; echo no disk; exit 3"])
    installation.ticket("sleep 300", project="web")
    installation.make_pass()
    [run] = installation.runs()
    wait_until(lambda: installation.is_wrapper_alive(run), description="the wrapper")
    processes.stop(processes.Identity(0, "", ""), installation.context.marker(run.id), 0)
    with writing(installation.engine) as session:
        session.execute(update(Run).values(state=RunState.ENDED, ended=now(), outcome=Outcome.LOST))

    workspaces.release_ended_slots(installation.context)

    assert (installation.settings.home / "torn").read_text().strip().isdigit()
    with reading(installation.engine) as session:
        [event] = [event for event in events.list_after(session, 0, 500) if event.event_type == "teardown_failed"]
    assert event.payload["reason"] == "The tear-down command failed (exit code 3): no disk"
    assert not list(installation.settings.ports_dir.iterdir())
