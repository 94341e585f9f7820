"""Evidence that a project requires: each kind is met by its own proof alone, and what is missing stops the move."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, select

from database import reading, writing
from models import (
    ActorKind,
    Evidence,
    EvidenceSource,
    EvidenceStatus,
    Failure,
    Outcome,
    Project,
    Run,
    Ticket,
    TicketEvent,
    TicketStatus,
)
from tickets.conversation import attachments
from tickets.lifecycle import editing
from tickets.runs import claims, prompt, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import EvidenceMissing, Forbidden, Invalid
from tickets.shared.inputs import EditTicket
from tickets.team import evidence_policy, projects
from tickets.team.evidence_policy import EvidenceKind, EvidenceRule, Stage
from tickets.team.projects import EditProject, NewProject
from tickets.workflow import branch_states, evidence, evidence_gates, item_evidence, live_routes
from tickets.workflow.evidence_gates import GateState, SignOff, WaiveGate
from tickets.workflow.live_routes import CheckRoute, RouteResult

from .test_item_evidence import LATER_TREE, TREE, prove, submit
from .test_landing import BOB, SEEN, SHA, move, project
from .test_spine import ALICE, make

TESTS_CLAIM: dict[str, Any] = {"kind": "tests", "text": "It is tested", "proof": {"kind": "event", "ref": "greet.sh"}}


def require(engine: Engine, *rules: dict[str, Any], **fields: Any) -> None:
    with writing(engine) as session:
        version = project(session, "leave").version
        body = EditProject.model_validate({"version": version, "evidence_policy": rules, **fields})
        projects.edit_project(session, "web", body, ALICE)


def list_gates(engine: Engine, ticket_id: int) -> dict[str, tuple[str, str]]:
    with reading(engine) as session:
        gates = evidence.list_gates(session, lookup.get_ticket(session, ticket_id))
    return {gate.kind.value: (gate.state.value, gate.detail) for gate in gates}


def act(engine: Engine, action: Any, ticket_id: int, body: Any, actor: Actor = ALICE) -> Any:
    with writing(engine) as session:
        return action(session, lookup.get_ticket(session, ticket_id), body, actor)


def load(engine: Engine, ticket_id: int) -> tuple[Ticket, Run]:
    with reading(engine) as session:
        run = claims.find_latest(session, ticket_id)
        assert run is not None
        return lookup.get_ticket(session, ticket_id), run


@pytest.mark.both_databases
def test_work_without_required_evidence_is_refused_told_and_not_tried_for_ever(engine: Engine) -> None:
    require(
        engine,
        {"kind": "tests", "before": "submit", "tags": ["bug"], "runbook": "https://docs.test/tests"},
        {"kind": "screenshot", "before": "submit", "tags": ["feature"]},
        {"kind": "sign_off"},
    )
    ticket_id = make(engine, project="web", tags=["bug"])
    submit(engine, ticket_id, [])

    ticket, run = load(engine, ticket_id)
    assert (run.outcome, run.failure, ticket.status) == (Outcome.FAILED, Failure.CHECK_FAILED, TicketStatus.TODO)
    assert "1 requirement unmet: Tests: missing; report a claim of kind tests" in (ticket.failure_reason or "")
    with writing(engine) as session:
        composed = prompt.compose_prompt(session, ticket, run)
    assert "Its report was refused: check_failed: The work was not accepted" in composed
    assert "- Tests (before review): report a claim" in composed and "Runbook: https://docs.test/tests" in composed
    assert "- Sign-off (before approval)" in composed and "Screenshot" not in composed

    submit(engine, ticket_id, [])
    assert load(engine, ticket_id)[0].status is TicketStatus.BLOCKED, "the same refusal twice is left to a person"
    move(engine, ticket_id, "unblock")
    submit(engine, ticket_id, [TESTS_CLAIM])
    assert load(engine, ticket_id)[0].status is TicketStatus.IN_REVIEW
    assert list_gates(engine, ticket_id)["tests"] == ("met", "It is tested")


def test_the_submission_itself_is_refused_by_the_lifecycle(engine: Engine) -> None:
    require(engine, {"kind": "artifact", "before": "submit"})
    ticket_id = make(engine, project="web")
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        actor = Actor(ActorKind.RUN, run.agent, run.id, ticket_id)
    with pytest.raises(EvidenceMissing, match="MC-1 cannot be handed in, 1 requirement unmet: File: missing"):
        move(engine, ticket_id, "submit", actor, run=run.id)


@pytest.mark.both_databases
def test_an_approval_lists_what_is_missing_until_a_person_provides_or_waives_it(engine: Engine) -> None:
    require(engine, {"kind": "sign_off"}, {"kind": "screenshot"}, {"kind": "commit"}, {"kind": "diff"})
    ticket_id = make(engine, project="web", acceptance=("It greets",))
    submit(engine, ticket_id, [prove(0, "event", "greet.sh")])
    assert [gate[0] for gate in list_gates(engine, ticket_id).values()] == ["missing", "missing", "met", "met"]
    with pytest.raises(
        EvidenceMissing, match=r"3 requirements unmet: Sign-off: missing.*Screenshot: missing.*It greets"
    ):
        move(engine, ticket_id, "approve")

    with pytest.raises(Forbidden, match="Only a person waives required evidence"):
        move(engine, ticket_id, "approve", BOB, waive="Good enough")
    waiver = WaiveGate(kind=EvidenceKind.SCREENSHOT, reason="It has no page")
    for action, body in ((evidence_gates.waive_gate, waiver), (evidence_gates.sign_off, SignOff())):
        with pytest.raises(Forbidden, match="Only a person"):
            act(engine, action, ticket_id, body, BOB)
        act(engine, action, ticket_id, body)
    with pytest.raises(Invalid, match="needs no evidence of this kind: Tests"):
        act(engine, evidence_gates.waive_gate, ticket_id, WaiveGate(kind=EvidenceKind.TESTS, reason="No"))
    assert list_gates(engine, ticket_id)["screenshot"] == ("waived", "It has no page")
    act(engine, evidence_gates.waive_gate, ticket_id, WaiveGate(kind=EvidenceKind.SCREENSHOT))
    assert list_gates(engine, ticket_id)["screenshot"][0] == "missing"
    act(engine, evidence_gates.waive_gate, ticket_id, waiver)

    with writing(engine) as session:
        branch_states.record_head(session, ticket_id, "d" * 40, LATER_TREE)
    stale = "the files have changed since; a person signs off on the Evidence tab"
    assert list_gates(engine, ticket_id)["sign_off"] == ("missing", stale)
    act(engine, evidence_gates.sign_off, ticket_id, SignOff(note="Looks right"))
    with pytest.raises(EvidenceMissing, match="1 acceptance item unmet: It greets"):
        move(engine, ticket_id, "approve")
    with reading(engine) as session:
        events = session.scalars(select(TicketEvent.event_type).where(TicketEvent.ticket_id == ticket_id)).all()
    assert events.count("evidence_gate_waived") == 2 and events.count("ticket_signed_off") == 2
    assert "evidence_gate_restored" in events


def claim(kind: str, proof: dict[str, Any] | None, **facts: Any) -> Evidence:
    data = {"proof": proof, "commit": SHA, "tree": TREE} if proof else {}
    values = {"source": EvidenceSource.CLAIM, "status": EvidenceStatus.UNKNOWN, "summary": "So it is", "author": "bob"}
    return Evidence(**{"run_id": 1, "kind": kind, "data": data, **values, **facts})


def fact(kind: str, status: EvidenceStatus, run_id: int = 2) -> Evidence:
    return claim(kind, None, source=EvidenceSource.FACT, status=status, run_id=run_id)


OK, FAILED, UNKNOWN = EvidenceStatus.OK, EvidenceStatus.FAILED, EvidenceStatus.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "rows", "is_met"),
    [
        (
            "tests",
            [claim("tests", {"kind": "event", "ref": "pytest", "entry": 5, "is_command": True, "failed": False})],
            True,
        ),
        (
            "tests",
            [claim("tests", {"kind": "event", "ref": "pytest", "entry": 5, "is_command": True, "failed": True})],
            False,
        ),
        ("tests", [claim("tests", {"kind": "event", "ref": "7", "seq": 7, "entry": None})], False),
        ("tests", [claim("tests", {"kind": "diff", "ref": "tests/test_a.py"})], False),
        ("tests", [claim("tests", {"kind": "event", "ref": "Read", "entry": 5, "is_command": False})], False),
        ("tests", [claim("other", {"kind": "event", "ref": "pytest", "entry": 5, "is_command": True})], False),
        ("tests", [claim("tests", {"kind": "check", "ref": ""}), fact("check", OK, run_id=1)], True),
        ("tests", [claim("tests", {"kind": "check", "ref": ""}), fact("check", FAILED, run_id=1)], False),
        ("tests", [claim("tests", None)], False),
        ("check", [fact("check", OK)], True),
        ("check", [fact("check", FAILED)], False),
        ("check", [fact("check", OK, run_id=1)], False),
        ("commit", [claim("commit", {"kind": "diff", "ref": "a.py"})], False),
        ("screenshot", [claim("attachment", None, data={"attachment": 1, "media_type": "image/png"})], True),
        ("screenshot", [claim("attachment", None, data={"attachment": 1, "media_type": "text/plain"})], False),
        ("artifact", [claim("attachment", None, data={"attachment": 1, "media_type": "text/plain"})], True),
        ("live_route", [fact("live_route", OK)], True),
        ("live_route", [fact("live_route", UNKNOWN)], False),
        ("live_route", [fact("live_route", OK), fact("live_route", FAILED)], False),
        ("live_route", [claim("live_route", None)], False),
        ("sign_off", [claim("claim", None)], False),
    ],
)
def test_a_kind_is_met_by_evidence_of_that_kind_alone(kind: str, rows: list[Evidence], is_met: bool) -> None:
    reader = evidence_gates._GateReader(rows, 2, item_evidence.StaleTest(None, rows))
    gate = reader.build_gate(EvidenceRule(kind=EvidenceKind(kind)))
    assert (gate.state is GateState.MET) == is_met


@pytest.mark.parametrize("kind", ["sign_off", "waiver", "judgement", "attachment", "live_route"])
def test_an_agent_neither_signs_off_nor_waives_nor_judges_by_the_kind_of_a_claim(engine: Engine, kind: str) -> None:
    require(engine, *({"kind": name, "before": "approve"} for name in ("sign_off", "artifact")), live_hosts=["a.test"])
    ticket_id = make(engine, project="web", acceptance=["It works"])
    submit(engine, ticket_id, [{"kind": kind, "text": "So it is", "item": 0}])
    assert {state for state, _ in list_gates(engine, ticket_id).values()} == {"missing"}
    with reading(engine) as session:
        ticket, rows = lookup.get_ticket(session, ticket_id), evidence.list_evidence(session, ticket_id)
        [item] = item_evidence.build_items(session, ticket, rows)
        assert (item.state, item.judge) == (item_evidence.ItemState.GAPS, None)
        assert attachments.find_evidence_ids(session, ticket_id) == set()
        assert live_routes.list_pending(session, "here") == []
        assert [row.kind for row in rows if row.source is EvidenceSource.CLAIM] == ["claim"]


@pytest.mark.parametrize("change", [{"tags": []}, {"tags": ["infra"]}, {"project": None}])
def test_a_program_frees_no_work_from_evidence_by_its_tags_or_project(engine: Engine, change: dict[str, Any]) -> None:
    rules = [{"kind": "tests", "before": "submit", "tags": ["bug"]}, {"kind": "tests", "tags": ["infra"]}]
    require(engine, *rules)
    ticket_id = make(engine, project="web", tags=["bug"])

    def edit(actor: Actor, **fields: Any) -> None:
        with writing(engine) as session:
            ticket = lookup.get_ticket(session, ticket_id)
            editing.edit_ticket(session, ticket, EditTicket(version=ticket.version, **fields), actor)

    for kind in (ActorKind.ORCHESTRATOR, ActorKind.SERVICE):
        with pytest.raises(Forbidden, match="Only a person waives required evidence"):
            edit(Actor(kind, "luci"), **change)
    edit(Actor.service("ci"), tags=["bug", "infra"])
    edit(ALICE, **change)


def test_rules_apply_by_tag_and_stage() -> None:
    rules = [
        {"kind": "tests", "before": "approve"},
        {"kind": "tests", "before": "submit", "tags": ["bug"]},
        {"kind": "check", "before": "complete"},
    ]
    web = Project(evidence_policy=rules)
    assert [rule.before for rule in evidence_policy.list_rules(web, {"bug"})] == [Stage.SUBMIT, Stage.COMPLETE]
    assert [rule.before for rule in evidence_policy.list_rules(web, set())] == [Stage.COMPLETE, Stage.APPROVE]


@pytest.mark.parametrize("host", ["example.com", "*.example.com:8443", "localhost:*", "[::1]:8080", "127.0.0.1:*"])
def test_a_live_host_is_a_name_with_an_optional_port(host: str) -> None:
    facts = {"slug": "a", "name": "A", "folder": "/a"}
    assert NewProject(**facts, live_hosts=[host]).live_hosts == [host]
    for wrong in (f"http://{host}", f"{host}/path", f"me@{host}", "*", "*.", f"*{host}", f"{host}\n"):
        with pytest.raises(ValueError, match="live_hosts"):
            NewProject(**facts, live_hosts=[wrong])


@pytest.mark.both_databases
def test_a_live_route_is_requested_by_a_run_and_recorded_once(engine: Engine) -> None:
    url = "http://127.0.0.1:5000/status"
    require(engine, {"kind": "live_route", "before": "submit"})
    ticket_id = make(engine, project="web")
    with pytest.raises(Invalid, match="lists no hosts"):
        act(engine, live_routes.request_check, ticket_id, CheckRoute(url=url))
    require(engine, {"kind": "live_route", "before": "submit"}, live_hosts=["127.0.0.1:*"])
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        actor = Actor(ActorKind.RUN, run.agent, run.id, ticket_id)
    for secret in ("http://me:secret@127.0.0.1:5000/", "http://me@127.0.0.1/", "http://127.0.0.1\\@a.test/"):
        with pytest.raises(ValidationError):
            CheckRoute(url=secret)
    for plain in ("http://127.0.0.1:5000?a=b@c", "https://[::1]:8080/@me", "http://localhost"):
        assert CheckRoute(url=plain).url == plain
    first, again = (act(engine, live_routes.request_check, ticket_id, CheckRoute(url=url), actor).id for _ in "ab")
    assert first == again
    with pytest.raises(Forbidden, match="only its own ticket"):
        act(engine, live_routes.request_check, make(engine, project="web"), CheckRoute(url=url), actor)

    with reading(engine) as session:
        assert live_routes.list_pending(session, "elsewhere") == []
        [pending] = live_routes.list_pending(session, "here")
    assert (pending.url, pending.live_hosts) == (url, ("127.0.0.1:*",))
    for result in (RouteResult(200, "a" * 64, 12), RouteResult(problem="too late")):
        with writing(engine) as session:
            live_routes.record_result(session, pending, result)
    assert list_gates(engine, ticket_id)["live_route"] == ("met", f"{url}: status 200, 12 bytes")

    claim_list = [{"kind": "route", "text": "It runs", "item": 0, "proof": {"kind": "route", "ref": url}}]
    with writing(engine) as session:
        body = {
            "verdict": "review",
            "summary": "Done.",
            "observations": SEEN | {"tree_sha": TREE},
            "claims": claim_list,
        }
        reports.apply_report(session, run.id, reports.RunReport.model_validate(body), reports.RetryPolicy())
        ticket = lookup.get_ticket(session, ticket_id)
        ticket.acceptance = [{"text": "It runs", "met": False}]
        rows = evidence.list_evidence(session, ticket_id)
        for row in rows:
            row.data = (row.data or {}) | {"of": "It runs"}
        [item] = item_evidence.build_items(session, ticket, rows)
    assert (ticket.status, item.label) == (TicketStatus.IN_REVIEW, "Verified")
    assert item.proofs[0].href == f"/ticket/MC-1?tab=evidence&run={run.id}#fact-{first}"

    with writing(engine) as session:
        branch_states.record_head(session, ticket_id, "d" * 40, LATER_TREE)
    assert "the files have changed since" in list_gates(engine, ticket_id)["live_route"][1]
