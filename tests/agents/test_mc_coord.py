"""The coordination server: a verdict is on disk before its tool answers, the rest degrades in words."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

import mc_coordination_mcp as coord
from redaction import SHAPES
from tests.canary import CANARY, list_leaks, put_escape
from tests.workers.runs import build_spec
from workers.agents.coordination import SERVER_COMMAND, VERSION, build_server_environment
from workers.contract.agent_events import MAX_TEXT_BYTES
from workers.contract.spec import write_spec
from workers.run import mcp_server, verdict
from workers.run.mcp_server import McpServer, Tool, ToolError

from .programs import ROOT

Call = tuple[str, dict[str, Any]]
ANSWER = {
    "identifier": "MC-8",
    "title": "Say hello",
    "error": "claim_lost",
    "message": "The run has ended.",
    "items": [],
}


class Board(ThreadingHTTPServer):
    """Answers like the board and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _BoardHandler)
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.status = 200
        self.contents: dict[str, bytes] = {}


class _BoardHandler(BaseHTTPRequestHandler):
    server: Board

    def log_message(self, format: str, *args: object) -> None:
        """Kept, not printed."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, self.headers["authorization"], body))
        answer = self.server.contents.get(self.path) or json.dumps(ANSWER).encode()
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
    spec = build_spec(tmp_path, secrets=(CANARY,))
    write_spec(tmp_path, spec)
    return build_server_environment(spec, tmp_path)


def call_tools(environment: dict[str, str], *calls: Call) -> list[tuple[bool, str]]:
    """What the real server process answers to each call, as (is an error, text)."""
    server = StdioServerParameters(command=SERVER_COMMAND[0], args=list(SERVER_COMMAND[1:]), env=environment)

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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "api-token",
        "coordination.json",
        "coordination.lock",
        "signal.json",
        "spec.json",
        "workspace",
    ]


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
    note = b"Mind the gap.\n"
    row = {"id": 7, "name": "../no te.txt", "media_type": "text/plain", "size": len(note), "author": "alice"}
    board.contents["/api/v1/tickets/3/attachments"] = json.dumps({**ANSWER, "items": [row]}).encode()
    board.contents["/api/v1/attachments/7"] = note
    route = {"id": 5, "state": "ok", "summary": "http://127.0.0.1:5000/: status 200, 2 bytes"}
    board.contents["/api/v1/tickets/3/routes"] = json.dumps({"id": 5, "items": [route]}).encode()
    shot = tmp_path / "workspace/shot.png"
    shot.write_bytes(b"\x89PNG\r\n")
    environment["MC_API"] = f"http://127.0.0.1:{board.server_address[1]}"
    answers = call_tools(
        environment,
        ("mc_get_ticket", {}),
        ("mc_link_context", {"path": "notes/plan.md", "note": "the plan"}),
        ("mc_create_ticket", {"title": "Another", "priority": "high"}),
        ("mc_add_evidence", {"path": "shot.png", "summary": "The page", "item": 1}),
        ("mc_get_attachment", {"attachment": 7}),
        ("mc_get_attachment", {"attachment": 8}),
        ("mc_check_route", {"url": "http://127.0.0.1:5000/"}),
        ("mc_answer_comment", {"comment": 7, "answer": "It is kept."}),
    )
    assert [failed for failed, _ in answers] == [False] * 5 + [True, False, False], answers
    assert answers[6][1] == "OK: http://127.0.0.1:5000/: status 200, 2 bytes"
    assert "Say hello" in answers[0][1] and "no te.txt" in answers[0][1] and answers[2][1] == "Created MC-8."
    copy = tmp_path / "attachments/7-_no_te.txt"
    assert answers[4][1] == f"{copy} (text/plain, 14 bytes)\n\nMind the gap.\n"
    assert (copy.read_bytes(), stat.S_IMODE(copy.stat().st_mode)) == (note, 0o400)
    assert answers[5][1] == "The ticket has no file 8. Its files: 7 (see mc_get_ticket)."
    assert [(method, path) for method, path, _, _ in board.asked] == [
        ("GET", "/api/v1/tickets/3/attachments"),
        ("GET", "/api/v1/tickets/3"),
        ("POST", "/api/v1/tickets/3/context"),
        ("POST", "/api/v1/tickets"),
        ("POST", "/api/v1/tickets/3/attachments"),
        ("GET", "/api/v1/tickets/3/attachments"),
        ("GET", "/api/v1/attachments/7"),
        ("GET", "/api/v1/tickets/3/attachments"),
        ("POST", "/api/v1/tickets/3/routes"),
        ("GET", "/api/v1/tickets/3/routes"),
        ("POST", "/api/v1/tickets/3/line-comments/7/answer"),
    ]
    assert json.loads(board.asked[-1][3]) == {"answer": "It is kept."}
    assert {token for _, _, token, _ in board.asked} == {"Bearer mcr_token-of-this-run"}
    upload = board.asked[4][3]
    assert b'name="file"; filename="shot.png"\r\n\r\n\x89PNG\r\n' in upload
    assert b'name="item"\r\n\r\n1' in upload


def test_a_refusal_of_the_board_is_passed_on(environment: dict[str, str], board: Board) -> None:
    environment["MC_API"] = f"http://127.0.0.1:{board.server_address[1]}"
    board.status = 409
    answer = call_tools(environment, ("mc_link_context", {"path": "plan.md"}))[0]
    assert answer == (True, "Mission Control refused this (409): The run has ended.")


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


# ------------------------------------------------------------------------------------------------------- the protocol


def converse(lines: list[object], tools: list[Tool] | None = None) -> list[dict[str, Any]]:
    """Send messages (objects, or lines as they are) to a server and return its responses, in the order of their ids."""
    requests = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    responses = io.BytesIO()
    McpServer("mc-coord", VERSION, "Report.", tools or [], lambda: None).serve(io.BytesIO(requests), responses)
    decoded: list[dict[str, Any]] = [json.loads(line) for line in responses.getvalue().splitlines()]
    return sorted(decoded, key=lambda response: str(response["id"]))


def build_request(number: object, method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize(
    ("version", "expected"), [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2031-01-01", "2025-11-25")]
)
def test_the_protocol_version_is_the_clients_or_the_newest(version: str, expected: str) -> None:
    [response] = converse([build_request(1, "initialize", protocolVersion=version)])
    assert response["result"]["protocolVersion"] == expected
    assert response["result"]["serverInfo"] == {"name": "mc-coord", "version": VERSION}


def test_what_is_no_request_gets_an_error_with_the_right_code() -> None:
    responses = converse(
        [
            b"not JSON\n",
            b"[]\n",
            {"jsonrpc": "2.0", "id": True, "method": "ping"},
            {"jsonrpc": "2.0", "id": [1], "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "method": "unknown/notification"},
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": ["odd"]}},
            build_request(1, "server/discover"),
            build_request(2, "tools/call", name="mc_unknown"),
            {**build_request(3, "ping"), "params": [1]},
            build_request(4, "ping"),
        ]
    )
    codes = [(response["id"], response.get("error", {}).get("code")) for response in responses]
    errors = [(None, -32700), (None, -32600), (None, -32600), (None, -32600)]
    assert sorted(codes, key=str) == sorted([*errors, (1, -32601), (2, -32602), (3, -32602), (4, None)], key=str)


def test_a_cancelled_call_is_not_answered_and_holds_nothing_up() -> None:
    gate = threading.Event()
    slow = Tool("slow", "", lambda: str(gate.wait(5)), {})
    requests = [
        build_request(1, "tools/call", name="slow"),
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        build_request(2, "ping"),
    ]

    class Requests(io.BytesIO):
        def __iter__(self) -> Iterator[bytes]:
            yield from (json.dumps(request).encode() for request in requests)
            gate.set()

    responses = io.BytesIO()
    McpServer("mc-coord", VERSION, "", [slow], lambda: None).serve(Requests(), responses)
    assert [json.loads(line)["id"] for line in responses.getvalue().splitlines()] == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "mc_report_done needs summary."),
        ({"summary": None}, "mc_report_done.summary must be a string."),
        ({"summary": " "}, "mc_report_done.summary must not be empty."),
        ({"summary": "a", "verdict": "done"}, "mc_report_done has no verdict. It takes summary, claims."),
        ({"summary": "a", "claims": "All pass"}, "mc_report_done.claims must be an array."),
        (
            {"summary": "a", "claims": [{"text": "a", "item": True}]},
            "mc_report_done.claims[0].item must be an integer.",
        ),
        ({"summary": "a", "claims": [{"text": "a", "item": 50}]}, "mc_report_done.claims[0].item must be at most 49."),
        ({"summary": "a", "claims": [{"text": "a", "item": -1}]}, "mc_report_done.claims[0].item must be at least 0."),
        (
            {"summary": "a", "claims": [{"text": "a", "kind": "hope"}]},
            "mc_report_done.claims[0].kind must be one of tests, commit, file, route, review, other.",
        ),
        (["done"], "mc_report_done must be an object."),
        ({"summary": "a", "claims": None}, ""),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words(arguments: object, message: str, tmp_path: Path) -> None:
    service = coord.CoordinationService(
        tmp_path, tmp_path, 3, "nonce", "http://127.0.0.1:9", tmp_path / "token", SHAPES
    )
    [tool] = [tool for tool in coord._build_verdict_tools(service) if tool.name == "mc_report_done"]
    text, failed = mcp_server.run_tool(tool, arguments)
    assert (text if failed else "") == message
    assert (tmp_path / "signal.json").exists() is not failed


def test_a_verdict_that_the_wrapper_would_not_read_is_not_recorded(tmp_path: Path) -> None:
    service = coord.CoordinationService(
        tmp_path, tmp_path, 3, "nonce", "http://127.0.0.1:9", tmp_path / "token", SHAPES
    )
    verdicts = coord.VerdictFile(service)
    claims = [{"text": "é" * 4000, "kind": "other"} for _ in range(60)]
    verdicts.record("done", "é" * 30_000, claims)
    signal = verdict.read_signal(tmp_path, "nonce", SHAPES)
    assert signal is not None and len(signal.claims) == 60, "it is not escaped to six times its size"
    with pytest.raises(ToolError, match="shorten its claims"):
        verdicts.record("done", "x", claims * 3)


def test_no_secret_leaves_through_a_tool(tmp_path: Path, environment: dict[str, str], board: Board) -> None:
    """Regression: texts and files that an agent gave to these tools were sent as they were."""
    environment["MC_API"] = f"http://127.0.0.1:{board.server_address[1]}"
    workspace = tmp_path / "workspace"
    (workspace / f"{CANARY}.log").write_text(f"see {put_escape(CANARY)}")
    (workspace / "dump.bin").write_bytes(b"\xff\xfe" + CANARY.encode())
    long = "s" * (MAX_TEXT_BYTES - 20) + CANARY
    answers = call_tools(
        environment,
        ("mc_progress", {"text": "p" * 480 + CANARY}),
        ("mc_create_ticket", {"title": f"Rotate {CANARY}", "description": long}),
        ("mc_link_context", {"path": f"keys/{CANARY}.md", "note": CANARY}),
        ("mc_answer_comment", {"comment": 1, "answer": CANARY}),
        ("mc_add_evidence", {"path": f"{CANARY}.log", "summary": f"It is {CANARY}"}),
        ("mc_add_evidence", {"path": "dump.bin", "summary": "x"}),
        ("mc_ask_question", {"question": long, "choices": [CANARY], "context": CANARY}),
    )
    assert [failed for failed, _ in answers] == [False, False, False, False, False, True, False]
    assert "contains a secret" in answers[5][1]
    bodies = b"".join(body for _, _, _, body in board.asked)
    assert b"[redacted]" in bodies and list_leaks(bodies) == []
    assert list_leaks((tmp_path / "signal.json").read_bytes()) == []
    call_tools(environment, ("mc_report_done", {"summary": long, "claims": [{"text": f"It is {CANARY}"}]}))
    assert list_leaks((tmp_path / "signal.json").read_bytes()) == [] and list_leaks(answers[0][1]) == []


def test_a_server_that_cannot_read_the_secrets_of_its_run_does_not_start(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(SystemExit, match="cannot read the secrets"):
        coord.read_service(environment)


def test_the_server_starts_light(environment: dict[str, str]) -> None:
    """Within 25 MB and without what is slow to import; `bin/bench coordination` measures the time."""
    check = (
        "import sys; sys.path.insert(0, sys.argv[1]); import mc_coordination_mcp;"
        "print({'ssl', 'asyncio', 'http', 'email', 'mcp', 'pydantic'} & sys.modules.keys() or 'light');"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    argv = [sys.executable, "-I", "-S", "-c", check, str(ROOT)]
    words = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert words[0] == "light" and int(words[1]) < 25 * 1024
