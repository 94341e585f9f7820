"""Browsers that subscribe to push notifications, and answers that people give on a notification."""

from __future__ import annotations

from flask import Blueprint, jsonify, redirect, request
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import writing
from tickets.alerts import answers, deliveries, subscriptions
from tickets.alerts.subscriptions import NewSubscription
from tickets.runs.notify_run import notify_run
from tickets.shared.errors import DomainError, Invalid
from web.site import layout
from workers.host import push_services
from workers.host.fetcher import FetchError

blueprint = Blueprint("push_page", __name__)


@blueprint.post("/settings/alerts/push/subscriptions")
@auth.allow(Right.OPERATOR)
def subscribe() -> Response:
    """Store the subscription of this browser, which its script sends."""
    body = NewSubscription.model_validate({name: request.form.get(name) for name in NewSubscription.model_fields})
    try:
        push_services.check_endpoint(body.endpoint, auth.get_instance().settings.push_hosts)
    except FetchError as error:
        raise Invalid(
            f"The push service of this browser is not among the push_hosts of the settings: {error}"
        ) from None
    with writing(auth.get_instance().engine) as session:
        subscriptions.add_subscription(session, body, request.user_agent.string, auth.get_actor())
    layout.flash_note("This browser gets notifications. Send a test to see one.")
    return redirect("/settings/alerts#push", 303)


@blueprint.post("/settings/alerts/push/subscriptions/<number:subscription_id>/remove")
def unsubscribe(subscription_id: int) -> Response:
    with writing(auth.get_instance().engine) as session:
        subscriptions.remove_subscription(session, subscription_id, auth.get_actor())
    layout.flash_note("The browser gets no more notifications.")
    return redirect("/settings/alerts#push", 303)


@blueprint.post("/alerts/answer")
@auth.allow(Right.OPERATOR)
def answer() -> Response | tuple[Response, int]:
    """Answer the question of a notification by the key of one of its choices, with a message for the service worker."""
    key, choice = request.form.get("key", ""), request.form.get("choice", "")
    try:
        with writing(auth.get_instance().engine) as session:
            alert = deliveries.find_alert(session, "push", key)
            run_id = answers.answer_question(session, alert, auth.get_actor(), choice=choice)
    except DomainError as refusal:
        return jsonify(message=refusal.message), refusal.status
    notify_run(auth.get_instance().settings, run_id)
    return jsonify(message=f"{alert.ticket} is answered.")
