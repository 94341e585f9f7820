"""The Telegram accounts that act as people and the chats that get alerts, on the page of alerts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from tickets.alerts import telegram_log, telegram_pairing
from web.site import layout

blueprint = Blueprint("telegram_page", __name__)

PLACE = "/settings/alerts#telegram"


def build_context(session: Session) -> dict[str, Any]:
    """Build what the section of the page shows."""
    return {
        "bot": telegram_log.find_bot(session),
        "people": telegram_pairing.list_people(session),
        "chats": telegram_pairing.list_chats(session),
    }


@blueprint.post("/settings/alerts/telegram/code")
def issue_code() -> str:
    """Issue a pairing code for the person of this browser and show it, only once."""
    actor = auth.get_actor()
    with writing(auth.get_instance().engine) as session:
        code = telegram_pairing.issue_code(session, actor.name, actor)
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        bot = telegram_log.find_bot(session)
    trail = [("Settings", "/settings"), ("Alerts", PLACE), ("Pair Telegram", None)]
    minutes = int(telegram_pairing.CODE_LIFETIME.total_seconds() // 60)
    return layout.render_page(
        "team/telegram_code.html", "alerts", trail, code=code, bot=bot, person=actor.name, minutes=minutes
    )


@blueprint.post("/settings/alerts/telegram/people/<number:user_id>/remove")
def remove_person(user_id: int) -> Response:
    with writing(auth.get_instance().engine) as session:
        person = telegram_pairing.remove_person(session, user_id, auth.get_actor())
    layout.flash_note(f"{person.label or user_id} no longer acts as {person.person}.")
    return redirect(PLACE, 303)


@blueprint.post("/settings/alerts/telegram/chats/<int(signed=True):chat_id>/remove")
def remove_chat(chat_id: int) -> Response:
    with writing(auth.get_instance().engine) as session:
        chat = telegram_pairing.remove_chat(session, chat_id, auth.get_actor())
    layout.flash_note(f"{chat.title or chat_id} gets no more alerts.")
    return redirect(PLACE, 303)
