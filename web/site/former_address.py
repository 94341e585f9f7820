"""The plain address at which earlier versions served the board: drafts that a browser keeps there are copied from it."""

from __future__ import annotations

import re

from flask import Blueprint, Response, make_response, render_template, request

import auth

from .headers import build_policy

blueprint = Blueprint("former_address", __name__)

PORT = re.compile(r":[0-9]{1,5}\Z")


@blueprint.get("/drafts")
@auth.serve_everywhere
def hand_over() -> Response:
    """Serve the page that posts this browser's drafts to the address in its fragment, which only our own names may be."""
    response = make_response(render_template("site/plain_address.html"))
    port = PORT.search(request.host)
    targets = f"'self' http://*.localhost{port[0] if port else ''}"
    response.headers["Content-Security-Policy"] = build_policy(form_action=targets)
    response.headers["Referrer-Policy"] = "origin"  # else the post would name no origin
    return response


@blueprint.post("/drafts/<token>")
@auth.accept_handover
def take_over(token: str) -> str:
    """Serve a page that stores the posted drafts in this browser, where it has no newer ones."""
    return render_template("site/copy_drafts.html", drafts=request.form.get("drafts", ""))


def build_handover_link() -> str | None:
    """Build the link to the drafts at the former address, or None at an address that the operator has set."""
    instance = auth.get_instance()
    if instance.settings.public_url or not request.host.startswith(instance.secret_host):
        return None
    former = request.host.replace(instance.secret_host, "127.0.0.1")
    return f"http://{former}/drafts#{request.host_url}drafts/{auth.make_handover_token()}"
