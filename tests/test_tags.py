"""Tags of tickets: the rules that choose them for a new one, and who may bring in a new one."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import ActorKind, Tag
from tickets.lifecycle import editing, schemas, transitions
from tickets.shared import events, lookup, tags
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden
from tickets.shared.inputs import EditTicket, NewTicket
from web.site import event_sentences

from .test_spine import ALICE

TEMPLATE = "## Which bug is it?\n\n## Steps"


@pytest.mark.parametrize(
    ("title", "description", "chosen_tags"),
    [
        ("The export crashes, and CI fails", "", ["bug", "infra"]),
        ("Refactoring of the parser", "It crashes.", ["refactor"]),
        ("Weekly figures", "Compare both ways, then fix what is wrong.", ["bug"]),
        ("Weekly figures", f"{TEMPLATE}\nCompare both ways.", ["research"]),
        ("Debug the address of a circle", "", []),
    ],
)
def test_words_of_the_title_or_else_of_the_description_choose_tags(
    title: str, description: str, chosen_tags: list[str]
) -> None:
    assert tags.choose_tags(title, description, TEMPLATE) == chosen_tags


def test_every_offered_tag_has_a_rule() -> None:
    assert {rule.value for rule in tags.TAG_RULES} == set(Tag)


def create(engine: Engine, actor: Actor = ALICE, **fields: Any) -> tuple[int, list[str], str]:
    """Create a ticket. Returns its id, its tags, and the end of the sentence about its creation."""
    with writing(engine) as session:
        body = NewTicket.model_validate({"title": "Fix the export"} | fields)
        ticket = transitions.create_ticket(session, body, actor)
        entry = events.load_feed(session, events.EventFilter(ticket_id=ticket.id)).events[-1]
        present = schemas.load_tags(session, [ticket.id]).get(ticket.id, [])
        return ticket.id, present, event_sentences.build_sentence(entry).after


@pytest.mark.parametrize(
    ("fields", "present", "words"),
    [
        ({}, ["bug"], " and tagged it bug by rule"),
        ({"tags": ["mine"]}, ["mine"], ""),
        ({"tags": []}, [], ""),
        ({"title": "Weekly figures"}, [], ""),
    ],
)
def test_a_new_ticket_is_tagged_by_rule_unless_its_creator_chose(
    engine: Engine, fields: dict[str, Any], present: list[str], words: str
) -> None:
    assert create(engine, **fields)[1:] == (present, words)


def test_only_people_and_services_bring_in_tags_so_that_agents_do_not_fill_the_menu(engine: Engine) -> None:
    ticket_id = create(engine, tags=["quarterly"])[0]
    create(engine, Actor(ActorKind.SERVICE, "tracker"), tags=["imported"])
    agent = Actor(ActorKind.RUN, "codex", run_id=1, ticket_id=ticket_id)
    with pytest.raises(Forbidden, match="brings in a tag"):
        create(engine, agent, tags=["bug", "invented"], status="inbox")
    with pytest.raises(Forbidden), writing(engine) as session:
        edit = EditTicket.model_validate({"version": 1, "tags": ["quarterly", "invented"]})
        ticket = lookup.get_ticket(session, ticket_id)
        editing.edit_ticket(session, ticket, edit, Actor(ActorKind.ORCHESTRATOR, "luci"))
    assert create(engine, Actor(ActorKind.ORCHESTRATOR, "luci"), tags=["bug", "quarterly"])[1] == ["bug", "quarterly"]
    with reading(engine) as session:
        assert set(tags.list_tags(session)) == {*Tag, "quarterly", "imported"}
