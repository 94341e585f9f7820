"""Stored responses to requests with an Idempotency-Key, so that a repeated write is not applied twice (kept for a day)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import IdempotencyKey, now

from .errors import ConflictError


class KeyReused(ConflictError):
    """This Idempotency-Key was already used for another request. Choose a new key."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """The caller, the idempotency key and a hash of the request."""

    caller: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The status and JSON text of an earlier response."""

    status: int
    text: str


def find_response(session: Session, request: KeyedRequest) -> StoredResponse | None:
    """Find the stored response of a request, or None for a new key. Raises `KeyReused` when the request differs."""
    mine = (IdempotencyKey.actor == request.caller, IdempotencyKey.key == request.key)
    row = session.scalar(select(IdempotencyKey).where(*mine))
    if row is None:
        return None
    if row.fingerprint != request.fingerprint:
        raise KeyReused(key=request.key)
    return StoredResponse(row.status or 200, row.response or "null")


def store_response(session: Session, request: KeyedRequest, answer: StoredResponse) -> None:
    """Store the response in the transaction of the write itself, so that neither exists without the other."""
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
