"""API of relationships between tickets."""

from __future__ import annotations

from models import RelationKind, Ticket
from tickets.lifecycle.schemas import RelationJson
from tickets.shared import lookup
from tickets.shared.inputs import Body, Reference
from tickets.workflow import relationships
from web.api.page import Page
from web.api.resource import ANYBODY, RUNS, Call, Resource

blueprint = Resource("relations", __name__)


class NewRelation(Body):
    """A relationship to another ticket. `kind` reads from this ticket: it blocks the other one."""

    kind: RelationKind
    ticket: Reference


@blueprint.reads("/tickets/<ticket>/relationships", rights=ANYBODY | RUNS)
def list_relationships(call: Call, ticket: Ticket) -> Page[RelationJson]:
    """List relationships as seen from this ticket."""
    return {
        "items": [RelationJson.read(relation) for relation in relationships.list_relations(call.session, ticket.id)],
        "next": None,
    }


@blueprint.writes("POST", "/tickets/<ticket>/relationships", status=201)
def add_relationship(call: Call, ticket: Ticket, body: NewRelation) -> RelationJson:
    """Relate this ticket to another. Cycles of parents or blockers are refused."""
    other = lookup.get_ticket(call.session, body.ticket)
    added = relationships.add_relationship(call.session, ticket.id, body.kind.value, other.id, call.actor)
    return next(
        RelationJson.read(relation)
        for relation in relationships.list_relations(call.session, ticket.id)
        if relation.id == added.id
    )


@blueprint.writes("DELETE", "/tickets/<ticket>/relationships/<number:relationship>")
def remove_relationship(call: Call, ticket: Ticket, relationship: int) -> None:
    """Remove a relationship, from either of its tickets."""
    relationships.remove_relationship(call.session, ticket.id, relationship, call.actor)
