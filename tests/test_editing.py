"""Editing field by field and item by item: nobody's words are lost to somebody who was faster."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import Evidence, EvidenceSource, EvidenceStatus, Ticket
from tickets.lifecycle import acceptance, editing, transitions
from tickets.lifecycle.acceptance import Item
from tickets.lifecycle.schemas import build_ticket_json
from tickets.shared import events, lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, StaleTicket
from tickets.shared.inputs import EditTicket
from tickets.workflow import evidence, relationships

from .test_spine import ALICE, make

BOB = Actor.human("bob")
ITEMS = [
    {"text": "It greets", "met": False},
    {"text": "It is tested", "met": True},
    {"text": "It is told", "met": False},
]


def sign(engine: Engine, name: str) -> str:
    with reading(engine) as session:
        return editing.fingerprint_value(build_ticket_json(session, [lookup.get_ticket(session, 1)])[0][name])


def revise(engine: Engine, name: str, value: Any, signature: str, actor: Actor = ALICE) -> Ticket:
    with writing(engine) as session:
        return editing.revise_field(session, lookup.get_ticket(session, 1), name, value, signature, actor)


def listed(engine: Engine) -> list[tuple[str, bool]]:
    with reading(engine) as session:
        return [(item["text"], item["met"]) for item in lookup.get_ticket(session, 1).acceptance]


@pytest.mark.both_databases
def test_edits_of_different_fields_do_not_meet(engine: Engine) -> None:
    make(engine)
    title, priority = sign(engine, "title"), sign(engine, "priority")
    revise(engine, "title", "Greet", title)
    revise(engine, "priority", "high", priority, BOB)
    with reading(engine) as session:
        ticket = build_ticket_json(session, [lookup.get_ticket(session, 1)])[0]
    assert (ticket["title"], ticket["priority"], ticket["version"]) == ("Greet", "high", 3)


@pytest.mark.parametrize(
    ("name", "first", "second", "words"),
    [
        ("title", "Greet", "Say hello", "bob changed the title"),
        ("tags", ["bug"], ["infra"], "bob changed the tags"),
        ("assigned_to", "codex", None, "bob changed the owner"),
        ("not_before", "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "bob changed the earliest start"),
    ],
)
def test_an_edit_of_what_somebody_changed_meanwhile_is_refused_with_his_name(
    engine: Engine, name: str, first: Any, second: Any, words: str
) -> None:
    make(engine)
    signature = sign(engine, name)
    revise(engine, name, first, signature, BOB)
    after = sign(engine, name)
    with pytest.raises(StaleTicket, match=words):
        revise(engine, name, second, signature)
    assert sign(engine, name) == after
    revise(engine, name, second, after)
    assert sign(engine, name) != after


def test_a_move_that_gave_the_ticket_to_somebody_is_named_too(engine: Engine) -> None:
    make(engine, status="inbox", assigned_to=None)
    signature = sign(engine, "assigned_to")
    with writing(engine) as session:
        transitions.transition(session, 1, "triage", BOB, assigned_to="codex")
        transitions.transition(session, 1, "park", ALICE, wake={"kind": "manual"})
    with pytest.raises(StaleTicket, match="bob changed the owner"):
        revise(engine, "assigned_to", "script", signature)


@pytest.mark.both_databases
def test_the_same_edit_sent_twice_is_made_once(engine: Engine) -> None:
    make(engine)
    signature = sign(engine, "priority")
    assert (
        revise(engine, "priority", "high", signature).version
        == revise(engine, "priority", "high", signature).version
        == 2
    )


def test_an_edit_that_changes_nothing_leaves_version_and_log(engine: Engine) -> None:
    make(engine, tags=["bug"], not_before="2030-01-01T00:00:00Z")
    same = {"title": "Write a line", "tags": ["bug"], "not_before": "2030-01-01T01:00:00+01:00", "project": None}
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, 1)
        before = ticket.event_seq, ticket.version
        body = EditTicket.model_validate({"version": 1, **same, "title": ticket.title})
        editing.edit_ticket(session, ticket, body, ALICE)
        ticket = lookup.get_ticket(session, 1)
        assert (ticket.event_seq, ticket.version) == before


# --------------------------------------------------------------------------------------------------- the acceptance list


@pytest.mark.both_databases
def test_two_people_change_one_list_and_both_are_heard(engine: Engine) -> None:
    make(engine, acceptance=ITEMS)
    with writing(engine) as session:
        acceptance.remove_item(session, lookup.get_ticket(session, 1), Item(0, "It greets"), BOB)
    with writing(engine) as session:
        acceptance.mark_items(session, lookup.get_ticket(session, 1), [(Item(2, "It is told"), True)], ALICE)
        acceptance.reword_item(
            session, lookup.get_ticket(session, 1), Item(1, "It is tested"), "It is tested twice", ALICE
        )
        acceptance.add_item(session, lookup.get_ticket(session, 1), "It is short", ALICE)
    assert listed(engine) == [("It is tested twice", True), ("It is told", True), ("It is short", False)]


@pytest.mark.both_databases
def test_an_item_that_is_gone_is_not_confused_with_another(engine: Engine) -> None:
    make(engine, acceptance=ITEMS)
    with writing(engine) as session:
        acceptance.reword_item(session, lookup.get_ticket(session, 1), Item(0, "It greets"), "It sings", BOB)
    with writing(engine) as session, pytest.raises(StaleTicket, match="“It greets” is no longer on the list"):
        acceptance.mark_items(session, lookup.get_ticket(session, 1), [(Item(0, "It greets"), True)], ALICE)
    assert listed(engine)[0] == ("It sings", False)


@pytest.mark.both_databases
def test_evidence_follows_its_item_when_an_earlier_one_goes(engine: Engine) -> None:
    ticket_id = make(engine, acceptance=ITEMS)
    with writing(engine) as session:
        for item in (0, 1, 2, None):
            claim = {"kind": "claim", "source": EvidenceSource.CLAIM, "status": EvidenceStatus.UNKNOWN}
            session.add(Evidence(ticket_id=ticket_id, summary="x", author="script", item=item, **claim))
    with writing(engine) as session:
        acceptance.remove_item(session, lookup.get_ticket(session, 1), Item(1, "It is tested"), ALICE)
    with reading(engine) as session:
        assert [row.item for row in evidence.list_evidence(session, ticket_id)] == [0, None, 1, None]


# -------------------------------------------------------------------------------------------------------- relationships


def test_a_relationship_is_told_on_both_tickets(engine: Engine) -> None:
    first, second = make(engine), make(engine)
    with writing(engine) as session:
        relation_id = relationships.relate(session, second, "blocked_by", first, ALICE).id
        relationships.remove_relationship(session, second, relation_id, BOB)
    with reading(engine) as session:
        activity = {
            ticket: [
                (event.event_type, event.payload["kind"], event.payload["other"])
                for event in events.replay(session, ticket)[1:]
            ]
            for ticket in (first, second)
        }
    assert activity == {
        first: [("relationship_added", "blocks", "MC-2"), ("relationship_removed", "blocks", "MC-2")],
        second: [("relationship_added", "blocked by", "MC-1"), ("relationship_removed", "blocked by", "MC-1")],
    }


@pytest.mark.parametrize(
    ("relation", "back", "words"),
    [
        ("blocks", "blocks", "cycle"),
        ("parent_of", "child_of", "already"),
        ("causes", "causes", "cycle"),
        ("relates_to", "relates_to", "already"),
    ],
)
def test_what_contradicts_or_repeats_is_refused_from_either_end(
    engine: Engine, relation: str, back: str, words: str
) -> None:
    first, second = make(engine), make(engine)
    with writing(engine) as session:
        relationships.relate(session, first, relation, second, ALICE)
    with writing(engine) as session, pytest.raises(ConflictError, match=words):
        relationships.relate(session, second, back, first, ALICE)


def test_a_kind_that_nobody_knows_is_refused(engine: Engine) -> None:
    first, second = make(engine), make(engine)
    with writing(engine) as session, pytest.raises(Invalid):
        relationships.relate(session, first, "likes", second, ALICE)
