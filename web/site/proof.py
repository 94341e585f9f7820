"""Proving who uses a browser, for acts that give access or choose commands: with a login link or an access token."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import writing
from tickets.operations import tokens
from tickets.shared.errors import DomainError, Forbidden

from . import layout, proof_form
from .login import parse_own_path

blueprint = Blueprint("proof", __name__)


@blueprint.post("/proof")
def prove() -> Response | tuple[str, int]:
    """Record the proof, then have the browser send the form again that needed it.

    A link proves once, but the answer may be lost, and two tabs may ask: while the login has a proof, none is refused.
    """
    secret = _read_secret(request.form.get(proof_form.SECRET, ""))
    path = parse_own_path(request.form.get(proof_form.PATH, ""))
    login = auth.find_login()
    if login is None:
        raise Forbidden("Only a browser that is logged in proves who uses it.")
    try:
        with writing(auth.get_instance().engine, partial(tokens.require_proof, secret=secret)) as session:
            tokens.record_proof(session, login.number, secret, login.actor)
    except DomainError as refusal:
        if not login.actor.has_proof:
            return proof_form.render_proof_form(path, refusal.message), refusal.status
    return Response(status=204) if layout.is_script_request() else redirect(path, 307)


def _read_secret(text: str) -> str:
    """Read the token, or the secret of a pasted login link."""
    return text.strip().rpartition("/login/")[2]
