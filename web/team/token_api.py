"""API of tokens."""

from __future__ import annotations

from tickets.lifecycle.schemas import NewTokenJson, TokenJson
from tickets.operations import tokens
from tickets.operations.tokens import NewToken
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

blueprint = Resource("tokens", __name__)


@blueprint.reads("/tokens", rights=OPERATORS)
def list_tokens(call: Call) -> Page[TokenJson]:
    """List the tokens, revoked ones included, without their secrets."""
    return {"items": [TokenJson.read(row) for row in tokens.list_tokens(call.session)], "next": None}


@blueprint.writes("POST", "/tokens", rights=OPERATORS, status=201, secret=True)
def issue_token(call: Call, body: NewToken) -> NewTokenJson:
    """Issue a token. Only this response has its secret."""
    row, secret = tokens.issue_token(call.session, body, call.actor)
    return NewTokenJson.read(row, token=secret)


@blueprint.writes("DELETE", "/tokens/<number:token>", rights=OPERATORS)
def revoke_token(call: Call, token: int) -> None:
    """Revoke a token, and log out every browser that logged in with it."""
    tokens.revoke_token(call.session, token, call.actor)
