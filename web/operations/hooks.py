"""The address of inbound hooks, for programs that sign their requests."""

from __future__ import annotations

from flask import Blueprint, request
from werkzeug.wrappers import Response

import auth
from database import writing
from models import now
from tickets.schedule import hooks
from tickets.schedule.hooks import Delivery

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/hooks/<name>")
@auth.accept_signed
def receive(name: str) -> Response:
    """Create the ticket or start the task of a hook. The same id again gets the first answer."""
    instance = auth.get_instance()
    identifier, timestamp = (request.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp"))
    delivery = Delivery(identifier, timestamp, request.headers.get(auth.SIGNATURE_HEADER, ""), request.get_data())
    hooks.authenticate(instance.settings, name, delivery, now())
    with writing(instance.engine) as session:
        answer, is_repeated = hooks.receive(session, instance.settings, name, delivery)
    response = Response(answer.text, answer.status, mimetype="application/json")
    if is_repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
