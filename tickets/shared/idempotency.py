"""Answers kept for a day under the key that the client chose: a write repeated with it is not done again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import IdempotencyKey, now

from .errors import ConflictError


class KeyReused(ConflictError):
    """This Idempotency-Key was used before, for another request."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """Who asks under which key, and a hash of what is asked."""

    caller: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """An HTTP status and the JSON text that went with it."""

    status: int
    text: str


def find_response(session: Session, request: KeyedRequest) -> StoredResponse | None:
    """What was answered before, or None for a new key. Raises `KeyReused` where the request is not the same."""
    mine = (IdempotencyKey.actor == request.caller, IdempotencyKey.key == request.key)
    row = session.scalar(select(IdempotencyKey).where(*mine))
    if row is None:
        return None
    if row.fingerprint != request.fingerprint:
        raise KeyReused(key=request.key)
    return StoredResponse(row.status or 200, row.response or "null")


def store_response(session: Session, request: KeyedRequest, answer: StoredResponse) -> None:
    """Keep the answer in the transaction of the write itself, so that neither exists without the other."""
    session.add(
        IdempotencyKey(
            actor=request.caller,
            key=request.key,
            fingerprint=request.fingerprint,
            status=answer.status,
            response=answer.text,
            created=now(),
        )
    )
