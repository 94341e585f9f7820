"""The page of the settings for alerts: channels with their rules and secrets, a test of each, and the latest deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Blueprint, redirect, request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

import auth
import secret_files
from auth import Right
from database import Session, reading, writing
from models import AlertChannel, AlertKind
from settings import Settings
from tickets.alerts import channels, deliveries, subscriptions
from tickets.alerts.channels import ChannelRules, ChannelType
from tickets.shared.errors import DomainError, Invalid
from tickets.team import projects
from web.site import layout
from web.site.errors import convert_validation_error
from web.site.proof_form import SECRET_PREFIX

from . import telegram_page

blueprint = Blueprint("alert_page", __name__)
layout.add_nav_item("alerts", "/settings/alerts", "bell", "Alerts", "Machine", go="e", after="team")

View = dict[str, Any]
Parsed = TypeVar("Parsed", bound=BaseModel)
MAX_SECRET_LENGTH = 4000
KIND_LABELS = {
    AlertKind.NEEDS_YOU: "Needs you",
    AlertKind.BLOCKED: "Blocked",
    AlertKind.MESSAGE: "Message not delivered",
    AlertKind.INCIDENT: "Incident",
    AlertKind.BUDGET: "Budget reached",
    AlertKind.DONE: "Done",
    AlertKind.DIGEST: "Digest",
    AlertKind.TEST: "Test",
}
MODES = [("", "Off"), ("now", "At once"), ("digest", "In the digest")]
SECURITY = [("starttls", "STARTTLS"), ("tls", "TLS"), ("none", "None")]
SUBJECT_TEXTS = {
    "email": "Plain-text mails over SMTP, one thread for each ticket.",
    "push": "Encrypted notifications on computers and phones, also while they are locked.",
    "telegram": "A bot of your own, which also takes answers and new tickets.",
    "apprise": "Any service that Apprise has a URL for.",
}
FIELDS: dict[str, list[View]] = {
    "email": [
        {"name": "host", "label": "SMTP server", "placeholder": "smtp.example.com", "required": True},
        {"name": "port", "label": "Port", "type": "number", "value": 587},
        {"name": "security", "label": "Encryption", "type": "select", "options": SECURITY, "value": "starttls"},
        {"name": "username", "label": "User name"},
        {"name": "password", "label": "Password", "secret": True},
        {"name": "sender", "label": "From", "placeholder": "mc@example.com", "required": True},
        {
            "name": "recipients",
            "label": "To",
            "placeholder": "you@example.com",
            "help": "Separated by commas.",
            "required": True,
        },
    ],
    "push": [
        {
            "name": "contact",
            "label": "Contact",
            "placeholder": "mailto:you@example.com",
            "help": "Push services get this address, to reach you if something is wrong: mailto: or https:.",
            "required": True,
        }
    ],
    "telegram": [
        {
            "name": "token",
            "label": "Bot token",
            "secret": True,
            "optional": False,
            "help": "Write /newbot to @BotFather in Telegram, and copy the token here, such as 123456:ABC-DEF.",
        }
    ],
    "apprise": [
        {
            "name": "urls",
            "label": "URLs",
            "type": "textarea",
            "secret": True,
            "optional": False,
            "help": "One per line, such as ntfys://host/topic.",
        }
    ],
}  # fmt: skip
"""The fields of each channel beside the rules. Those of a secret are never filled in."""
LIST_FIELDS = frozenset({"recipients"})


@blueprint.get("/settings/alerts")
@auth.allow(Right.OPERATOR)
def show_alerts() -> str:
    return _render_page()


def _render_page(name: str = "", form: Mapping[str, Any] | None = None, errors: Mapping[str, str] | None = None) -> str:
    """Render the page; the form of one channel with the values and errors of what was sent."""
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        rows = {row.name: row for row in channels.list_channels(session)}
        views = [_build_channel(kind, rows.get(kind.name)) for kind in channels.CHANNEL_TYPES.values()]
        context: View = {
            "projects": [project.slug for project in projects.list_projects(session)],
            "telegram": telegram_page.build_context(session),
            "browsers": subscriptions.list_subscriptions(session),
            "deliveries": _list_deliveries(session),
        }
    for view in views:
        if view["name"] == name:
            view["values"] |= form or {}
            view["errors"] = errors or {}
    settings = auth.get_instance().settings
    context |= {"channels": views, "modes": MODES, "zone_name": settings.timezone}
    context |= {"push_key": secret_files.read_public_push_key(settings)}
    return layout.render_page("team/alerts.html", "alerts", [("Settings", "/settings"), ("Alerts", None)], **context)


def _build_channel(kind: ChannelType, row: AlertChannel | None) -> View:
    secrets = secret_files.read_channel_secrets(auth.get_instance().settings, kind.name)
    values: View = {field["name"]: field.get("value", "") for field in FIELDS[kind.name]}
    values |= {f"kind-{name}": mode for name, mode in (row.kinds if row else channels.DEFAULT_KINDS).items()}
    if row:
        values |= {name: ", ".join(value) if name in LIST_FIELDS else value for name, value in row.options.items()}
        values |= {"enabled": row.enabled, "projects": row.projects}
        values |= {"quiet_hours": row.quiet_hours or "", "digest_time": row.digest_time or ""}
    return {
        "name": kind.name,
        "title": kind.title,
        "text": SUBJECT_TEXTS[kind.name],
        "is_set_up": row is not None,
        "fields": [field | {"is_set": field["name"] in secrets} for field in FIELDS[kind.name]],
        "kinds": [(f"kind-{alert_kind.value}", KIND_LABELS[alert_kind]) for alert_kind in channels.RULED_KINDS],
        "values": values,
        "errors": {},
    }


def _list_deliveries(session: Session) -> list[View]:
    return [
        {
            "row": row,
            "title": row.alert["title"],
            "path": row.alert["path"],
            "kind": KIND_LABELS[row.kind],
            "channel": channels.CHANNEL_TYPES[row.channel].title,
        }
        for row in deliveries.list_latest(session)
    ]


@blueprint.get("/settings/alerts/deliveries")
@auth.allow(Right.OPERATOR)
def show_deliveries() -> str:
    with reading(auth.get_instance().engine) as session:
        listed = _list_deliveries(session)
    return layout.render_part("team/_alert_deliveries", deliveries=listed)


@blueprint.post("/settings/alerts/<name>")
def save_channel(name: str) -> Response | tuple[str, int]:
    """Save options, secrets and rules of a channel. A secret that is left empty stays as it is."""
    kind = channels.get_type(name)
    form = request.form
    errors: dict[str, str] = {}
    options = _parse(kind.options, _read_options(kind, form), errors)
    rules = _parse(ChannelRules, _read_rules(form), errors)
    if rules is not None and rules.enabled:
        errors |= _find_missing_secrets(kind, form)
    if options is None or rules is None or errors:
        return _render_page(name, _keep_values(form), errors), 422
    try:
        with writing(auth.get_instance().engine) as session:
            channels.save_channel(session, kind, rules, options, auth.get_actor())
            _store_secrets(kind, form)
    except DomainError as refusal:
        return _render_page(name, _keep_values(form), {"form": refusal.message}), refusal.status
    layout.flash_note(f"{kind.title} is saved{'' if rules.enabled else ', and off'}.")
    return redirect(f"/settings/alerts#{name}", 303)


def _find_missing_secrets(kind: ChannelType, form: MultiDict[str, str]) -> dict[str, str]:
    """Return an error for each secret that a channel needs while it is on, and that is neither entered nor saved."""
    saved = secret_files.read_channel_secrets(auth.get_instance().settings, kind.name)
    required = [field["name"] for field in FIELDS[kind.name] if field.get("secret") and not field.get("optional", True)]
    missing = [name for name in required if name not in saved and not form.get(f"{SECRET_PREFIX}{name}", "").strip()]
    return dict.fromkeys(missing, "needed to turn this channel on")


def _parse(model: type[Parsed], values: View, errors: dict[str, str]) -> Parsed | None:
    """Parse values, or add the problem of each field to `errors` and return None."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fields = convert_validation_error(error).detail["fields"]
        errors |= {path.partition(".")[0]: text for path, text in fields.items()}
        return None


def _read_options(kind: ChannelType, form: MultiDict[str, str]) -> View:
    """Read the options of a channel from its form. An empty field means the default."""
    entered = {name: form.get(name, "").strip() for name in kind.options.model_fields}
    lists = {name: [part.strip() for part in entered[name].split(",")] for name in LIST_FIELDS & entered.keys()}
    return {name: value for name, value in (entered | lists).items() if value not in ("", [""])}


def _read_rules(form: MultiDict[str, str]) -> View:
    modes = {kind.value: form.get(f"kind-{kind.value}", "") for kind in channels.RULED_KINDS}
    return {
        "enabled": form.get("enabled") == "yes",
        "kinds": {kind: mode for kind, mode in modes.items() if mode},
        "projects": form.getlist("projects"),
        "quiet_hours": form.get("quiet_hours", "").strip() or None,
        "digest_time": form.get("digest_time", "").strip() or None,
    }


def _keep_values(form: MultiDict[str, str]) -> View:
    """Return the values of a form that is shown again, without its secrets."""
    values: View = {name: value for name, value in form.items() if not name.startswith(SECRET_PREFIX)}
    return values | {"projects": form.getlist("projects")}


def _store_secrets(kind: ChannelType, form: MultiDict[str, str]) -> None:
    """Store the secrets that were entered. The caller has saved the channel, so the actor may change it."""
    settings = auth.get_instance().settings
    if kind.name == secret_files.PUSH_CHANNEL:
        _ensure_push_key(settings)
    entered = {name: form.get(f"{SECRET_PREFIX}{name}", "").strip()[:MAX_SECRET_LENGTH] for name in kind.secrets}
    changes = {name: value for name, value in entered.items() if value}
    secrets = secret_files.read_channel_secrets(settings, kind.name) | changes
    secret_files.write_channel_secrets(settings, kind.name, secrets)


def _ensure_push_key(settings: Settings) -> None:
    try:
        secret_files.ensure_push_key(settings)
    except ImportError:
        raise Invalid(
            "Web push is not installed. Run .venv/bin/python -m pip install -e '.[push]' where Mission Control is installed."
        ) from None


@blueprint.post("/settings/alerts/<name>/test")
def test_channel(name: str) -> Response:
    """Have the scheduler send a test by the channel. Its result is shown among the deliveries."""
    try:
        with writing(auth.get_instance().engine) as session:
            deliveries.request_test(session, name, auth.get_actor())
    except DomainError as refusal:
        layout.flash_note(f"{refusal.message.removesuffix('.')}.", "bad")
    else:
        layout.flash_note("The test is on its way. Its result appears under Latest deliveries.")
    return redirect("/settings/alerts#deliveries", 303)
