"""The pane log of a ticket's newest run, as text and as a stream."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from database import writing
from tests.waiting import wait_until
from tickets.runs import claims
from web.stream.log_tail import PaneLog, TailStream

from .client import Client
from .conftest import Server

pytestmark = pytest.mark.xdist_group("test_tail")

Serve = Callable[..., Server]


def begin_run(server: Server, ticket_id: int, name: str) -> tuple[Path, str]:
    """A claimed ticket with its pane log; returns the log's path and the run's token."""
    with writing(server.engine) as session:
        claim = claims.claim_ticket(session, ticket_id, "here")
    folder = server.home / "runs" / str(claim.run.id)
    folder.mkdir(mode=0o700, parents=True)
    log = folder / f"mc-{name}.tmux.log"
    log.touch(0o600)
    return log, claim.token


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def read_text(client: Client, count: int = 1) -> str:
    return "".join(message.json["text"] for message in islice(client.events(), count))


def test_the_last_lines_are_answered_as_text(server: Server) -> None:
    ticket_id, name = server.ticket()
    assert server.client(f"/api/v1/tickets/{name}/tail").status == 404
    log, token = begin_run(server, ticket_id, name)
    write(log, "".join(f"line {number} ✓\n" for number in range(1000)))

    answer = Client(server.port, token, f"/api/v1/tickets/{name}/tail?lines=2").open()

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert answer.body().decode() == "line 998 ✓\nline 999 ✓\n"
    assert server.client(f"/api/v1/tickets/{name}/tail?lines=0").status == 422


def test_a_log_is_followed_by_whole_lines_and_resumed_where_it_was_left(server: Server) -> None:
    ticket_id, name = server.ticket()
    log, _ = begin_run(server, ticket_id, name)
    write(log, "one\ntwo\n")
    client = server.client(f"/api/v1/tickets/{name}/tail?follow=1&lines=1")
    assert read_text(client) == "two\n"

    write(log, "thr")
    write(log, "ee\n")
    assert read_text(client) == "three\n"
    client.close()
    write(log, "four\n")

    assert read_text(client.open()) == "four\n"


def test_a_follower_moves_on_to_the_next_run(server: Server) -> None:
    ticket_id, name = server.ticket()
    client = server.client(f"/api/v1/tickets/{name}/tail?follow=1")
    log, _ = begin_run(server, ticket_id, name)

    write(log, "begun\n")

    message = next(client.events())
    assert message.json == {"run": int(log.parent.name), "text": "begun\n"}


def test_tails_have_places_of_their_own(serve: Serve) -> None:
    server = serve(SSE_MAX_TAIL_CLIENTS=1)
    _, name = server.ticket()
    path = f"/api/v1/tickets/{name}/tail?follow=1"
    first_client = server.client(path)

    extra_client = server.client(path)

    assert (extra_client.status, extra_client.body()) == (503, b"retry: 30000\n\n")
    assert server.client().status == 200
    first_client.close()
    wait_until(lambda: server.client(path).status == 200, description="the place of the client that left")


def test_a_run_watches_its_own_ticket_and_nothing_else(server: Server) -> None:
    (mine, name), (_, other) = server.ticket(), server.ticket()
    _, token = begin_run(server, mine, name)

    def status(path: str, credential: str = token) -> int:
        return Client(server.port, credential, f"/api/v1/{path}").open().status

    assert status(f"tickets/{name}/stream") == 200
    assert status(f"tickets/{name}/tail?follow=1") == 200
    assert {status(f"tickets/{other}/{suffix}") for suffix in ("stream", "tail", "tail?follow=1")} == {403}
    assert {status("stream"), status(f"stream?tickets={name}")} == {403}
    assert status("stream", "mc_nobody") == 401


@pytest.mark.parametrize("planted", ["link", "pipe", "folder", "linked folder"])
def test_only_a_plain_file_in_the_run_directory_is_a_pane_log(tmp_path: Path, planted: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "mc-MC-1.tmux.log").write_text("secret\n")
    log = PaneLog(1, tmp_path / "runs/1/mc-MC-1.tmux.log")
    if planted == "linked folder":
        log.path.parent.parent.mkdir()
        log.path.parent.symlink_to(secret)
        assert log.path.exists()
    else:
        log.path.parent.mkdir(parents=True)
        make: dict[str, Callable[[], object]] = {
            "link": lambda: log.path.symlink_to(secret / "mc-MC-1.tmux.log"),
            "pipe": lambda: os.mkfifo(log.path),
            "folder": log.path.mkdir,
        }
        make[planted]()

    assert log.open() is None


def test_a_reader_cannot_begin_within_a_secret(tmp_path: Path) -> None:
    """Regression: a reader names the offset at which a stream resumes, and was shown all of a token but its beginning."""
    log = PaneLog(1, tmp_path / "mc-MC-1.tmux.log")
    log.path.write_text("token ghp_16C7e42F292c6912E7710c838347Ae178B4a\nnext\n")
    for cursor, text in (
        ("1-12", "token [redacted]\\nnext\\n"),
        ("1-47", "next\\n"),
        ("1-0", "token [redacted]\\nnext\\n"),
    ):
        stream = TailStream(lambda: log, cursor, 10)
        assert f'"{text}"' in stream.take(0).decode()
        stream.close()
