"""Who may use the Telegram bot, and which chats get its alerts: people are paired by a code, chats by being where they did it.

A code is issued on the board to a person who gives access, and is good for one account, for ten minutes and few attempts.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Annotated

from pydantic import StringConstraints
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import ActorKind, TelegramChat, TelegramCode, TelegramPerson, TelegramThread, now
from tickets.runs.claims import hash_token
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body
from tickets.shared.rights import Act

from .alert import clean_line

CODE_LIFETIME = timedelta(minutes=10)
CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without letters and digits that look alike."""
CODE_CHARACTERS = 10
MAX_ATTEMPTS = 5
"""Wrong codes, from anybody, after which the open ones are void."""
MAX_NAME_BYTES = 80


class PairingRequest(Body):
    """The person as whom a Telegram account will act."""

    person: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


def issue_code(session: Session, person: str, actor: Actor) -> str:
    """Issue a pairing code, which replaces an earlier one of the same person. It is stored as a hash."""
    rights.require(actor, Act.GIVE_ACCESS)
    code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_CHARACTERS))
    session.execute(delete(TelegramCode).where(TelegramCode.person == person))
    session.add(TelegramCode(person=person, code_hash=hash_token(code), expires=now() + CODE_LIFETIME))
    events.append(session, None, "telegram_code_issued", {"person": person}, actor)
    return code


def pair_account(session: Session, code: str, user_id: int, label: str) -> str | None:
    """Consume a code and pair an account with its person, who is returned. None for a code that is not valid."""
    person: str | None = session.scalar(
        delete(TelegramCode)
        .where(
            TelegramCode.code_hash == hash_token(code.strip().upper()),
            TelegramCode.expires > now(),
            TelegramCode.attempts < MAX_ATTEMPTS,
        )
        .returning(TelegramCode.person)
    )
    if person is None:
        session.execute(update(TelegramCode).values(attempts=TelegramCode.attempts + 1))
        return None
    account = clean_line(label, MAX_NAME_BYTES)
    session.merge(TelegramPerson(user_id=user_id, person=person, label=account))
    events.append(session, None, "telegram_paired", {"person": person, "account": account}, Actor.human(person))
    return person


def find_actor(session: Session, user_id: int) -> Actor | None:
    """Find the person as whom an account acts. It has proved nothing beside its account, so some acts need the board."""
    person = session.get(TelegramPerson, user_id)
    return None if person is None else Actor(ActorKind.HUMAN, person.person, has_proof=False)


def list_people(session: Session) -> list[TelegramPerson]:
    return list(session.scalars(select(TelegramPerson).order_by(TelegramPerson.person, TelegramPerson.user_id)))


def remove_person(session: Session, user_id: int, actor: Actor) -> TelegramPerson:
    """Remove a paired account and its private chat, whose id is that of the account. Raises `NotFound`."""
    rights.require(actor, Act.ADMINISTER)
    person = session.get(TelegramPerson, user_id)
    if person is None:
        raise NotFound(f"No Telegram account {user_id} is paired.")
    session.delete(person)
    _delete_chat(session, user_id)
    events.append(session, None, "telegram_removed", {"person": person.person, "account": person.label}, actor)
    return person


# --------------------------------------------------------------------------------------------------------------- chats


def list_chats(session: Session) -> list[TelegramChat]:
    """List the chats that get alerts, in the order in which they were added."""
    return list(session.scalars(select(TelegramChat).order_by(TelegramChat.created, TelegramChat.chat_id)))


def find_chat(session: Session, chat_id: int) -> TelegramChat | None:
    return session.get(TelegramChat, chat_id)


def add_chat(session: Session, chat_id: int) -> None:
    """Add a chat that gets alerts, unless it does already."""
    session.execute(insert_or_ignore(session, TelegramChat).values(chat_id=chat_id, created=now()))


def update_chat(session: Session, chat_id: int, title: str, *, is_forum: bool) -> None:
    """Record what a message from a chat tells about it, and that it can be reached again."""
    row = session.get(TelegramChat, chat_id)
    values = (clean_line(title, MAX_NAME_BYTES), is_forum, "")
    if row is not None and (row.title, row.is_forum, row.problem) != values:
        row.title, row.is_forum, row.problem = values


def record_chat_problem(session: Session, chat_id: int, problem: str) -> None:
    """Record why a chat cannot be reached, which is shown on the page. An empty text clears it."""
    session.execute(update(TelegramChat).where(TelegramChat.chat_id == chat_id).values(problem=clean_line(problem)))


def remove_chat(session: Session, chat_id: int, actor: Actor) -> TelegramChat:
    """Remove a chat, which gets no more alerts. Raises `NotFound`."""
    rights.require(actor, Act.ADMINISTER)
    row = session.get(TelegramChat, chat_id)
    if row is None:
        raise NotFound(f"No Telegram chat {chat_id} gets alerts.")
    _delete_chat(session, chat_id)
    events.append(session, None, "telegram_chat_removed", {"chat": row.title or str(chat_id)}, actor)
    return row


def move_chat(session: Session, old_id: int, new_id: int) -> None:
    """Give a group its new id after it has become a supergroup, in which the earlier messages have other numbers."""
    row = session.get(TelegramChat, old_id)
    if row is None:
        return
    session.execute(
        insert_or_ignore(session, TelegramChat).values(chat_id=new_id, title=row.title, created=row.created)
    )
    _delete_chat(session, old_id)


def _delete_chat(session: Session, chat_id: int) -> None:
    session.execute(delete(TelegramThread).where(TelegramThread.chat_id == chat_id))
    session.execute(delete(TelegramChat).where(TelegramChat.chat_id == chat_id))
