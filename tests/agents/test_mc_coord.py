"""The coordination server: a verdict is on disk before its tool answers, the rest degrades in words."""

from __future__ import annotations

import json
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import TextContent

import mc_coordination_mcp as coord
from tests.workers.runs import build_spec
from workers.agents.coordination import build_server_environment

from .programs import ROOT

Call = tuple[str, dict[str, Any]]


class Board(ThreadingHTTPServer):
    """Answers like the board and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _BoardHandler)
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.status = 200


class _BoardHandler(BaseHTTPRequestHandler):
    server: Board

    def log_message(self, format: str, *args: object) -> None:
        """Kept, not printed."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, self.headers["authorization"], body))
        answer = json.dumps({"identifier": "MC-8", "title": "Say hello"}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET


@pytest.fixture
def board() -> Iterator[Board]:
    with Board() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "workspace").mkdir()
    return build_server_environment(build_spec(tmp_path), tmp_path)


def call_tools(environment: dict[str, str], *calls: Call) -> list[tuple[bool, str]]:
    """What the real server process answers to each call, as (is an error, text)."""
    server = StdioServerParameters(
        command=sys.executable, args=[str(ROOT / "mc_coordination_mcp.py")], env=environment, cwd=str(ROOT)
    )

    async def speak() -> list[tuple[bool, str]]:
        async with Client(server) as client:
            answers = [await client.call_tool(name, arguments) for name, arguments in calls]
            return [
                (
                    bool(answer.is_error),
                    "\n".join(part.text for part in answer.content if isinstance(part, TextContent)),
                )
                for answer in answers
            ]

    return anyio.run(speak)


def test_a_verdict_is_on_disk_and_a_second_one_replaces_it(tmp_path: Path, environment: dict[str, str]) -> None:
    claims = [{"kind": "tests", "text": "All pass", "item": 0}]
    answers = call_tools(
        environment,
        ("mc_report_review", {"summary": "Please look"}),
        ("mc_report_done", {"summary": "Finished", "claims": claims}),
    )
    assert answers[0] == (False, "REVIEW is recorded. End your turn now.")
    assert answers[1] == (False, "DONE is recorded. It replaces your earlier verdict REVIEW. End your turn now.")
    file = tmp_path / "signal.json"
    signal = json.loads(file.read_bytes())
    assert signal | {"ts": ""} == {
        "verdict": "done",
        "summary": "Finished",
        "question": None,
        "claims": claims,
        "nonce": "0123456789abcdef0123456789abcdef",
        "ts": "",
    }
    assert signal["ts"].endswith("Z")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api-token", "signal.json", "workspace"]


def test_changes_are_requested_of_an_earlier_phase(tmp_path: Path, environment: dict[str, str]) -> None:
    answers = call_tools(environment, ("mc_request_changes", {"feedback": "greet.txt lacks a line."}))
    assert answers == [(False, "CHANGES is recorded. End your turn now.")]
    signal = json.loads((tmp_path / "signal.json").read_bytes())
    assert (signal["verdict"], signal["summary"]) == ("changes", "greet.txt lacks a line.")


def test_a_question_carries_its_choices(tmp_path: Path, environment: dict[str, str]) -> None:
    call_tools(
        environment, ("mc_ask_question", {"question": "Blue or red?", "choices": ["Blue", "Red"], "context": "Paint"})
    )
    signal = json.loads((tmp_path / "signal.json").read_bytes())
    assert (signal["verdict"], signal["summary"]) == ("question", "Blue or red?\n\nPaint")
    assert signal["question"]["questions"] == [
        {"text": "Blue or red?", "choices": [{"label": "Blue"}, {"label": "Red"}]}
    ]


def test_without_the_board_only_its_tools_fail_and_say_so(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "workspace/shot.png").write_bytes(b"png")
    answers = call_tools(
        environment,
        ("mc_get_ticket", {}),
        ("mc_add_evidence", {"path": "shot.png", "summary": "The page"}),
        ("mc_progress", {"text": "half way"}),
        ("mc_report_done", {"summary": "Finished"}),
    )
    assert [failed for failed, _ in answers] == [True, True, False, False]
    assert "cannot be reached" in answers[0][1] and "verdict tools still work" in answers[1][1]


def test_the_board_is_asked_with_the_runs_token(tmp_path: Path, environment: dict[str, str], board: Board) -> None:
    shot = tmp_path / "workspace/shot.png"
    shot.write_bytes(b"\x89PNG\r\n")
    environment["MC_API"] = f"http://127.0.0.1:{board.server_address[1]}"
    answers = call_tools(
        environment,
        ("mc_get_ticket", {}),
        ("mc_link_context", {"path": "notes/plan.md", "note": "the plan"}),
        ("mc_create_ticket", {"title": "Another", "priority": "high"}),
        ("mc_add_evidence", {"path": "shot.png", "summary": "The page", "item": 1}),
    )
    assert [failed for failed, _ in answers] == [False] * 4, answers
    assert "Say hello" in answers[0][1] and answers[2][1] == "Created MC-8."
    assert [(method, path) for method, path, _, _ in board.asked] == [
        ("GET", "/api/v1/tickets/3"),
        ("POST", "/api/v1/tickets/3/context"),
        ("POST", "/api/v1/tickets"),
        ("POST", "/api/v1/tickets/3/attachments"),
    ]
    assert {token for _, _, token, _ in board.asked} == {"Bearer mcr_token-of-this-run"}
    upload = board.asked[3][3]
    assert b'name="file"; filename="shot.png"\r\n\r\n\x89PNG\r\n' in upload
    assert b'name="item"\r\n\r\n1' in upload


def test_a_refusal_of_the_board_is_passed_on(environment: dict[str, str], board: Board) -> None:
    environment["MC_API"] = f"http://127.0.0.1:{board.server_address[1]}"
    board.status = 409
    assert "refused this (409)" in call_tools(environment, ("mc_get_ticket", {}))[0][1]


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "link", "folder", "absent", "a\0b"])
def test_evidence_comes_only_from_the_workspace(path: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (workspace / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ToolError):
        coord._read_workspace_file(workspace, path)


def test_evidence_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coord, "MAX_UPLOAD_BYTES", 3)
    (tmp_path / "big").write_bytes(b"1234")
    with pytest.raises(ToolError, match="larger"):
        coord._read_workspace_file(tmp_path, "big")


def test_a_server_without_its_variables_names_them(environment: dict[str, str]) -> None:
    del environment["MC_TICKET_NONCE"], environment["MC_RUN_DIR"]
    with pytest.raises(SystemExit, match="MC_RUN_DIR, MC_TICKET_NONCE"):
        coord.read_service(environment)


def test_the_token_stands_in_no_configuration(tmp_path: Path, environment: dict[str, str]) -> None:
    assert "mcr_token-of-this-run" not in json.dumps(environment)
    assert (tmp_path / "api-token").read_text() == "mcr_token-of-this-run"
    assert stat.S_IMODE((tmp_path / "api-token").stat().st_mode) == 0o600
