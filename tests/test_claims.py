"""Claims cost few statements, and a rival that came too late never takes the write lock."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from database import open_engine, writing
from tickets.lifecycle import transitions
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.errors import IllegalMove
from tickets.shared.inputs import NewTicket

MAX_STATEMENTS = 8
ALICE = Actor.human("alice")


def make_ticket(engine: Engine) -> int:
    with writing(engine) as session:
        return transitions.create_ticket(
            session, NewTicket(title="Work", status="todo", assigned_to="script"), ALICE
        ).id


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []
    listener = ("before_cursor_execute", lambda *call: statements.append(str(call[2])))
    event.listen(engine, *listener)
    try:
        yield statements
    finally:
        event.remove(engine, *listener)


def write_locks(statements: list[str]) -> list[str]:
    return [statement for statement in statements if "IMMEDIATE" in statement or "pg_advisory_xact_lock" in statement]


def test_a_claim_takes_few_statements(engine: Engine) -> None:
    ticket_id = make_ticket(engine)
    with statements_of(engine) as statements, writing(engine) as session:
        statements.clear()  # what takes the lock
        claims.claim_ticket(session, ticket_id, "here")
    assert 0 < len(statements) <= MAX_STATEMENTS


def test_a_claim_lost_before_it_began_asks_for_no_write_lock(engine: Engine) -> None:
    ticket_id = make_ticket(engine)
    require = partial(claims.require_claimable, ticket_id=ticket_id)
    with statements_of(engine) as statements, writing(engine, require) as session:
        claims.claim_ticket(session, ticket_id, "here")
    assert write_locks(statements)

    with statements_of(engine) as statements, pytest.raises(IllegalMove), writing(engine, require):
        pytest.fail("the claim was lost")
    assert statements and write_locks(statements) == []


def test_a_claim_lost_while_another_writes_takes_no_write_lock(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, whose writers stand in line."""
    shutil.copy(template, tmp_path / "mc.db")
    engine, rival_engine = (open_engine(f"sqlite:///{tmp_path / 'mc.db'}") for _ in range(2))
    ticket_id = make_ticket(engine)
    waiting, refusals, flock = threading.Event(), [], fcntl.flock

    def note_wait(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            waiting.set()
        flock(handle, operation)

    def claim() -> None:
        try:
            with writing(rival_engine, partial(claims.require_claimable, ticket_id=ticket_id)) as session:
                claims.claim_ticket(session, ticket_id, "there")
        except IllegalMove as error:
            refusals.append(error)

    rival = threading.Thread(target=claim)
    with statements_of(rival_engine) as statements:
        with writing(engine) as session:
            monkeypatch.setattr(fcntl, "flock", note_wait)
            rival.start()
            assert waiting.wait(30)
            claims.claim_ticket(session, ticket_id, "here")
        rival.join(30)
    engine.dispose()
    rival_engine.dispose()
    assert len(refusals) == 1 and statements and write_locks(statements) == []
