"""The terminal of a run in the browser and for `mc attach`: seen by all, typed into by an operator who asked for it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from database import writing
from models import Run, RunMode, Scope
from tests.streams.conftest import ROOT
from tests.waiting import wait_until
from tickets.runs import claims
from tickets.shared import lookup

from .served_board import Stage, staged

pytestmark = pytest.mark.xdist_group("web-console")


class Screen:
    """A page's end of the console's WebSocket."""

    def __init__(self, board: Stage, run: int, token: str, query: str = "") -> None:
        url = f"ws://127.0.0.1:{board.port}/ws/runs/{run}/console{query}"
        headers = {"Authorization": f"Bearer {token}"}
        self.line: ClientConnection = connect(url, additional_headers=headers).__enter__()
        self.shown = b""
        board.people.append(self)

    def until(self, text: str) -> None:
        while text.encode() not in self.shown:
            data = self.line.recv(20)
            assert isinstance(data, bytes), data
            self.shown += data

    def tell(self, **message: object) -> None:
        self.line.send(json.dumps(message))

    def end(self) -> int | None:
        with suppress(ConnectionClosed):
            for _ in self.line:
                continue
        return self.line.close_code

    def disconnect(self) -> None:
        self.line.socket.close()


@pytest.fixture(scope="module")
def live() -> list[Run]:
    """The run of this module, once a test has asked for it."""
    return []


@pytest.fixture
def run(board: Stage, live: list[Run]) -> Run:
    """A run of the talking agent that nobody looks at."""
    if not live:
        live.append(talk(board))
    wait_until(lambda: clients(board) == [], description="the end of the clients of the test before")
    return live[0]


@pytest.fixture
def board(
    boards: list[Stage], module_stack: ExitStack, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The board of this module; its run lives on from test to test."""
    if not boards:
        boards.append(module_stack.enter_context(staged(template, tmp_path_factory.mktemp("board") / "home")))
    yield boards[0]
    boards[0].cut_off()


def talk(board: Stage) -> Run:
    _, name = board.ticket()
    return board.talking(name)


def clients(board: Stage) -> list[str]:
    """Who looks at a pane: width, height and whether it may type."""
    form = "#{client_width} #{client_height} #{client_readonly}"
    argv = board.tmux.argv("list-clients", "-F", form)
    return subprocess.run(argv, env=board.tmux.environment, capture_output=True, text=True).stdout.splitlines()


def test_a_viewer_sees_the_pane_and_cannot_type(board: Stage, run: Run) -> None:
    screen = Screen(board, run.id, board.person("eve", Scope.VIEWER))
    screen.until("I am listening.")
    assert clients(board)[0].endswith(" 1")

    screen.tell(type="input", data="rm -rf /\r")

    assert screen.end() == 1003
    assert "rm -rf" not in board.tmux.capture(str(run.tmux_target), 50)


def test_an_operator_who_asked_for_it_types(board: Stage, run: Run) -> None:
    screen = Screen(board, run.id, board.person("alice"), "?write=1")
    screen.until("I am listening.")

    screen.tell(type="input", data="typed by hand")

    screen.until("typed by hand")
    assert "typed by hand" in board.tmux.capture(str(run.tmux_target), 50)


def test_only_an_operator_may_ask_to_type(board: Stage, run: Run) -> None:
    eve, alice = board.person("eve", Scope.VIEWER), board.person("alice")
    address = f"/runs/{run.id}/console?write=1"

    assert Screen(board, run.id, eve, "?write=1").end() == 4403
    assert "What you type" not in board.page(address, eve)[0]
    assert "What you type goes into this terminal" in board.page(address, alice)[0]


def test_the_terminal_takes_the_size_of_its_page(board: Stage, run: Run) -> None:
    screen = Screen(board, run.id, board.person("alice"))
    screen.until("I am listening.")

    screen.tell(type="resize", columns=77, lines=22)

    wait_until(lambda: clients(board) == ["77 22 1"], description="the new size")
    screen.tell(type="resize", columns=0, lines=22)
    assert screen.end() == 1003


def test_however_a_page_goes_its_client_is_reaped(board: Stage, run: Run) -> None:
    token = board.person("alice")
    left, broken_screen = Screen(board, run.id, token), Screen(board, run.id, token)
    for screen in (left, broken_screen):
        screen.until("I am listening.")
    assert len(clients(board)) == 2

    left.line.close()
    broken_screen.line.socket.shutdown(socket.SHUT_RDWR)

    wait_until(lambda: clients(board) == [], description="the end of both clients")
    wait_until(lambda: children(board.worker_pid()) == [], description="both reaped")
    assert board.run(run.id).ended is None


def children(pid: int) -> list[str]:
    """The children of a process that are tmux, dead or alive."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == pid and name.startswith("tmux"):
                names.append(name)
    return names


def test_a_reload_ends_the_console_at_once(board: Stage, run: Run) -> None:
    screen = Screen(board, run.id, board.person("alice"))
    screen.until("I am listening.")

    board.signal(signal.SIGHUP)

    assert screen.end() == 1001
    wait_until(lambda: clients(board) == [], description="the end of its client")


def test_an_ended_run_shows_what_its_pane_showed(board: Stage) -> None:
    run, token = talk(board), board.person("alice")
    name = f"MC-{run.ticket_id}"
    guest = board.guest(name, token)
    guest.say("farewell")
    guest.event("agent.text", text="You said: farewell")
    guest.say("bye")
    guest.event("run_ended")

    page, _ = board.page(f"/runs/{run.id}/console", token)

    assert "The run has ended." in page and "You said: farewell" in page
    assert Screen(board, run.id, token).end() == 4404


def test_only_this_route_allows_inline_styles_and_a_frame_of_our_own(board: Stage, run: Run) -> None:
    token = board.person("alice")
    rules = board.page(f"/runs/{run.id}/console", token)[1]["Content-Security-Policy"].split("; ")
    others = board.page(f"/ticket/MC-{run.ticket_id}?tab=console", token)

    assert "style-src 'self' 'unsafe-inline'" in rules and "frame-ancestors 'self'" in rules
    assert "script-src 'self'" in rules
    assert "unsafe" not in others[1]["Content-Security-Policy"]
    assert f'src="/runs/{run.id}/console"' in others[0]


def test_a_run_without_a_pane_here_says_so(board: Stage) -> None:
    reasons: list[tuple[dict[str, object], str]] = [
        ({"host": "elsewhere"}, "This run is on another machine"),
        ({"mode": RunMode.EXTERNAL}, "This work runs outside Mission Control"),
        ({"host": socket.gethostname()}, "The run is starting"),
    ]
    for facts, words in reasons:
        _, name = board.ticket()
        with writing(board.engine) as session:
            claim = claims.claim_ticket(session, lookup.get_ticket(session, name).id, "here")
            claims.record_workspace(session, claim.run.id, **facts)

        page, _ = board.page(f"/runs/{claim.run.id}/console", board.person("alice"))

        assert words in page, facts


def test_a_stranger_sees_no_console(board: Stage, run: Run) -> None:
    url = f"ws://127.0.0.1:{board.port}/ws/runs/{run.id}/console"
    for headers in ({}, {"Origin": "https://evil.example"}, {"Authorization": f"Bearer mct_{uuid4().hex}"}):
        with pytest.raises(Exception, match=r"HTTP 40[13]"):
            connect(url, additional_headers=headers).__enter__()


# ------------------------------------------------------------------------------------------------------------ mc attach


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    outer, inner = pty.openpty()
    yield outer, inner
    for handle in (outer, inner):
        os.close(handle)


def attach(board: Stage, name: str) -> list[str]:
    return [sys.executable, str(ROOT / "mc_cli.py"), "attach", name]


def environment(board: Stage) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "MC_HOME": str(board.home), "MC_PORT": str(board.port), "LANG": "C.UTF-8"}


def test_mc_attach_shows_the_pane_of_the_live_run(board: Stage, run: Run, terminal: tuple[int, int]) -> None:
    outer, inner = terminal
    name, output = f"MC-{run.ticket_id}", b""
    with subprocess.Popen(attach(board, name), stdin=inner, stdout=inner, stderr=inner, env=environment(board)) as mc:
        while b"I am listening." not in output:
            assert select.select([outer], [], [], 20)[0], output
            output += os.read(outer, 65536)
        assert clients(board)[0].endswith(" 0")
        mc.terminate()


def test_mc_attach_says_what_to_do_where_there_is_no_run(board: Stage) -> None:
    _, name = board.ticket()

    done = subprocess.run(attach(board, name), env=environment(board), capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert done.stderr == f"Error: {name} has no live run. Its terminal appears when an agent starts on it.\n"
