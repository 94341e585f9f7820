"""mc-coord: the MCP server with which an agent reports to Mission Control while it works on a ticket.

The agent's program starts it over stdio, one per run. A verdict (`mc_report_done`, `mc_report_review`,
`mc_request_changes`, `mc_ask_question`) is written to `signal.json` in the run's directory before the tool returns,
so it survives the agent, the web server and this process. The other tools call the board with the run's token and
report when it cannot be reached. It imports next to nothing: a program leaves a server out that starts slowly.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from protocol import COORDINATION, MAX_PROOF_CHARACTERS, AgentVerdict, ProofKind
from redaction import Redaction, cut_text, read_run_secrets, strip_controls
from workers.agents.coordination import BOARD_TOKEN_VARIABLE, PRESENCE_FILE, VERSION, hold_liveness_lock
from workers.contract import attached_files
from workers.contract.agent_events import MAX_TEXT_BYTES
from workers.contract.spec import SPEC_FILE
from workers.host import files
from workers.run import board_tools
from workers.run.api import JSON_TYPE, ApiClient, ApiResponse, Unreachable
from workers.run.mcp_server import Json, McpServer, Tool, ToolError, build_object_schema
from workers.run.verdict import MAX_SIGNAL_BYTES, SIGNAL_FILE

T = TypeVar("T")
TIMEOUT_SECONDS = 15
ROUTE_SECONDS = 30
POLL_SECONDS = 0.5
MAX_UPLOAD_BYTES = 25 << 20
MAX_ECHO_BYTES = 500
MAX_INLINE_BYTES = 16 << 10
"""A text of at most this size is returned with the path of its file."""
_INSTRUCTIONS = (
    "Mission Control tracks this ticket. Say where you are with mc_progress. When you are finished call exactly "
    "one of mc_report_done, mc_report_review, mc_request_changes or mc_ask_question (for a review, mc_review), then end your"
    " turn."
)
_UNREACHABLE = (
    "Mission Control cannot be reached at the moment. Go on with your work; "
    "the verdict tools still work, they write to disk."
)

_ITEM: Json = {"type": "integer", "minimum": 0, "maximum": 49}
_ITEM_TEXT = "Index of the acceptance item which this meets, from 0."
_REF_TEXT = (
    "check: nothing, it is the project's check command. event: the command that you ran, as you ran it. diff: the line of"
    " your last commit, as in src/a.py:10 or src/a.py:10-12. route: the address that mc_check_route fetched."
)
_CLAIM = build_object_schema(
    {
        "kind": {"type": "string", "enum": ["tests", "commit", "file", "route", "review", "other"]},
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": 4000,
            "description": "What is true now, in one sentence.",
        },
        "item": {**_ITEM, "description": _ITEM_TEXT},
        "proof": build_object_schema(
            {
                "kind": {"type": "string", "enum": [kind.value for kind in ProofKind]},
                "ref": {"type": "string", "maxLength": MAX_PROOF_CHARACTERS, "description": _REF_TEXT},
            },
            ["kind"],
        ),
    },
    ["text"],
)
_CLAIMS: Json = {
    "type": "array",
    "items": _CLAIM,
    "maxItems": 200,
    "description": "Statements about the work that Mission Control can check.",
}


_FINDINGS: Json = {
    "type": "array",
    "maxItems": 50,
    "items": build_object_schema(
        {
            "severity": {"type": "string", "enum": ["CRITICAL", "IMPORTANT", "MINOR"]},
            "category": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,23}$"},
            "path": {"type": "string", "minLength": 1, "description": "Path within the repository, as in src/a.py."},
            "line": {"type": "integer", "minimum": 1},
            "title": {"type": "string", "minLength": 1, "maxLength": 200},
            "detail": {"type": "string", "maxLength": 3000},
        },
        ["severity", "category", "path", "line", "title"],
    ),
}


@dataclass(frozen=True, slots=True)
class CoordinationService:
    """The run's directory, its ticket and the API that its tools use."""

    run_dir: Path
    workspace: Path
    ticket_id: int
    nonce: str
    api: str
    token_file: Path
    redaction: Redaction
    board_token_file: Path | None = None

    def get(self, path: str) -> Json:
        """Get a JSON object of the board. `ToolError` has a text that the agent can act on."""
        return _require_success(self._call_board(lambda client: client.get(path)))

    def post(self, path: str, body: Mapping[str, object] | bytes, kind: str = JSON_TYPE) -> Json:
        """Post redacted JSON, or a body of another `kind`, to the board. Raises `ToolError`."""
        content = body if isinstance(body, bytes) else json.dumps(self.redaction.clean_fields(body)).encode()
        return _require_success(self._call_board(lambda client: client.post(path, content, kind)))

    def download(self, path: str, size: int) -> bytes:
        """Download a file of the board. Raises `ToolError`."""
        status, content = self._call_board(lambda client: client.download(path, size))
        if status != 200:
            raise ToolError(f"Mission Control refused this ({status}).")
        return content

    def _call_board(self, call: Callable[[ApiClient], T]) -> T:
        try:
            return call(ApiClient(self.api, self.token_file.read_text().strip(), TIMEOUT_SECONDS))
        except (OSError, Unreachable) as error:
            raise ToolError(_UNREACHABLE) from error

    @property
    def ticket(self) -> str:
        return f"/tickets/{self.ticket_id}"

    def record_presence(self) -> None:
        """Record that a program uses this server, for a wrapper whose program does not report it."""
        files.replace(self.run_dir / PRESENCE_FILE, json.dumps({"version": VERSION}).encode())


def _require_success(response: ApiResponse) -> Json:
    if not 200 <= response.status < 300:
        message = response.data.get("message") or "It gave no reason."
        raise ToolError(f"Mission Control refused this ({response.status}): {message}")
    return response.data


class VerdictFile:
    """The run's verdict on disk. The last one written counts."""

    def __init__(self, service: CoordinationService) -> None:
        self._service = service
        self._lock = threading.Lock()

    def record(
        self,
        verdict: AgentVerdict,
        summary: str,
        claims: Sequence[Json] = (),
        question: Mapping[str, object] | None = None,
    ) -> str:
        """Write the redacted verdict and return a confirmation. It replaces an earlier one."""
        redaction = self._service.redaction
        signal = {
            "verdict": verdict,
            "summary": redaction.clean_text(summary, MAX_TEXT_BYTES),
            "question": redaction.clean_value(question),
            "claims": redaction.clean_value([{"kind": "other", "item": None, **claim} for claim in claims]),
            "nonce": self._service.nonce,
            "ts": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        data = json.dumps(signal, ensure_ascii=False).encode()
        if len(data) > MAX_SIGNAL_BYTES:
            raise ToolError(
                f"The verdict has {len(data):,} bytes, and may have {MAX_SIGNAL_BYTES:,}: shorten its claims."
            )
        with self._lock:
            earlier_verdict = self._read_earlier()
            files.replace(self._service.run_dir / SIGNAL_FILE, data)
        notice = f" It replaces your earlier verdict {earlier_verdict.upper()}." if earlier_verdict else ""
        return f"{verdict.upper()} is recorded.{notice} End your turn now."

    def ask_question(self, question: str, choices: Sequence[str] = (), context: str = "") -> str:
        """Record a question to a person as the verdict."""
        text = self._service.redaction.clean_text(question, MAX_TEXT_BYTES)
        card = {"text": text, "choices": [{"label": choice} for choice in choices]}
        summary = f"{question}\n\n{context}" if context else question
        return self.record("question", summary, question={"request": "mc_ask_question", "questions": [card]})

    def _read_earlier(self) -> str:
        try:
            return str(json.loads((self._service.run_dir / SIGNAL_FILE).read_bytes())["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def read_service(environment: Mapping[str, str] = os.environ) -> CoordinationService:
    """Read the service from the run's environment. `SystemExit` names what is missing."""
    names = ("MC_RUN_DIR", "MC_WORKSPACE", "MC_TICKET_ID", "MC_TICKET_NONCE", "MC_API", "MC_API_TOKEN_FILE")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise SystemExit(f"{COORDINATION} is started by a run of Mission Control; missing: {', '.join(missing)}")
    run_dir, workspace, ticket_id, nonce, api, token_file = (environment[name] for name in names)
    try:
        redaction = Redaction(read_run_secrets((Path(run_dir) / SPEC_FILE).read_bytes()))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{COORDINATION} cannot read the secrets of its run, which it must redact: {error}") from error
    if not ticket_id.isascii() or not ticket_id.isdecimal():
        raise SystemExit("MC_TICKET_ID is not a number")
    board_token = environment.get(BOARD_TOKEN_VARIABLE)
    return CoordinationService(
        Path(run_dir),
        Path(workspace),
        int(ticket_id),
        nonce,
        api,
        Path(token_file),
        redaction,
        Path(board_token) if board_token else None,
    )


def build_server(service: CoordinationService) -> McpServer:
    """Build the server with all tools, for one run."""
    builders = (
        _build_verdict_tools,
        _build_ticket_tools,
        _build_reply_tools,
        _build_route_tools,
        _build_file_tools,
        _build_board_tools,
    )
    tools = [tool for build in builders for tool in build(service)]
    return McpServer(COORDINATION, VERSION, _INSTRUCTIONS, tools, service.record_presence)


def _describe_text(description: str = "", **bounds: int) -> Json:
    schema: Json = {"type": "string", **bounds}
    return {**schema, "description": description} if description else schema


def _build_verdict_tools(service: CoordinationService) -> list[Tool]:
    verdicts = VerdictFile(service)
    report: dict[str, Json] = {"summary": _describe_text(minLength=1), "claims": _CLAIMS}
    return [
        Tool(
            "mc_report_done",
            "Report that the ticket is complete. `summary` says what changed and how you checked it.",
            lambda summary, claims=(): verdicts.record("done", summary, claims),
            report,
            ["summary"],
        ),
        Tool(
            "mc_report_review",
            "Hand the work over for review. `summary` says what to look at and what you are unsure of.",
            lambda summary, claims=(): verdicts.record("review", summary, claims),
            report,
            ["summary"],
        ),
        Tool(
            "mc_request_changes",
            "Send the ticket back to an earlier phase: `feedback` tells its agent what must change, and how you saw"
            " that. For a phase that judges what another made; where there is no earlier phase, a person decides.",
            lambda feedback: verdicts.record("changes", feedback),
            {"feedback": _describe_text(minLength=1)},
            ["feedback"],
        ),
        _build_review_tool(service, verdicts),
        *_build_question_tools(service, verdicts),
    ]


def _build_review_tool(service: CoordinationService, verdicts: VerdictFile) -> Tool:
    def review(verdict: str, summary: str, findings: Sequence[Json] = ()) -> str:
        body = {"verdict": verdict, "summary": summary, "findings": list(findings)}
        service.post(f"{service.ticket}/assessment", body)
        return verdicts.record("done", summary)

    return Tool(
        "mc_review",
        "Report a review, where the ticket is one: the verdict, a summary, and each finding at a line of the reviewed"
        " commit. A CRITICAL finding forbids approve.",
        review,
        {
            "verdict": {"type": "string", "enum": ["approve", "request_changes", "needs_person"]},
            "summary": _describe_text(minLength=1, maxLength=8000),
            "findings": _FINDINGS,
        },
        ["verdict", "summary"],
    )


def _build_question_tools(service: CoordinationService, verdicts: VerdictFile) -> list[Tool]:
    return [
        Tool(
            "mc_ask_question",
            "Ask a person what you cannot decide; the answer comes in your next turn. Offer choices where you can.",
            verdicts.ask_question,
            {
                "question": _describe_text(minLength=1),
                "choices": {"type": "array", "items": _describe_text(minLength=1, maxLength=500), "maxItems": 20},
                "context": _describe_text("What a person needs to know to answer."),
            },
            ["question"],
        ),
        Tool(
            "mc_progress",
            "Say in one sentence what you are doing now; it is shown on the ticket.",
            lambda text: f"Shown on the ticket: {service.redaction.clean_text(text, MAX_ECHO_BYTES)}",
            {"text": _describe_text(minLength=1)},
            ["text"],
        ),
    ]


def _build_board_tools(service: CoordinationService) -> list[Tool]:
    """Build the tools of an orchestrator, whose run has a token of the board."""
    if service.board_token_file is None:
        return []
    client = ApiClient(service.api, service.board_token_file.read_text().strip(), TIMEOUT_SECONDS)
    return board_tools.list_tools(client, service.redaction.clean_fields)


def _build_ticket_tools(service: CoordinationService) -> list[Tool]:
    def get_ticket() -> str:
        files = service.get(f"{service.ticket}/attachments")["items"]
        facts = [{key: row[key] for key in ("id", "name", "media_type", "size", "author")} for row in files]
        ticket_text = json.dumps({**service.get(service.ticket), "attachments": facts}, indent=1)
        return cut_text(strip_controls(ticket_text), MAX_TEXT_BYTES, "both")

    def create_ticket(title: str, description: str = "", priority: str = "normal") -> str:
        new_ticket = service.post("/tickets", {"title": title, "description": description, "priority": priority})
        return f"Created {new_ticket.get('identifier') or 'the ticket'}."

    return [
        Tool(
            "mc_get_ticket",
            "Get the ticket as it is on the board now: description, state, acceptance items, attached files.",
            get_ticket,
            {},
        ),
        Tool(
            "mc_create_ticket",
            "File a new ticket for work that does not belong to this one; a person triages it.",
            create_ticket,
            {
                "title": _describe_text(minLength=1),
                "description": _describe_text(),
                "priority": {"type": "string", "enum": ["low", "normal", "high", "urgent"]},
            },
            ["title"],
        ),
    ]


def _build_reply_tools(service: CoordinationService) -> list[Tool]:
    def link_context(path: str, note: str = "") -> str:
        service.post(f"{service.ticket}/context", {"path": path, "note": note})
        return f"Linked {path}."

    def answer_comment(comment: int, answer: str) -> str:
        service.post(f"{service.ticket}/line-comments/{comment}/answer", {"answer": answer})
        return f"Comment {comment} is answered and resolved."

    return [
        Tool(
            "mc_link_context",
            "Link a page of the vault (its path) to the ticket, with a note on why it matters.",
            link_context,
            {"path": _describe_text(minLength=1), "note": _describe_text()},
            ["path"],
        ),
        Tool(
            "mc_answer_comment",
            "Answer a reviewer's comment on a line (“Comment 7 on …”), which resolves it: what you changed, or why not.",
            answer_comment,
            {
                "comment": {"type": "integer", "minimum": 1, "description": "Number of the comment."},
                "answer": _describe_text(minLength=1, maxLength=4000),
            },
            ["comment", "answer"],
        ),
    ]


def _build_route_tools(service: CoordinationService) -> list[Tool]:
    return [
        Tool(
            "mc_check_route",
            "Have Mission Control fetch an address of the running result, such as http://127.0.0.1:5000/status, and record"
            " status and hash as evidence. Only hosts that the project lists are fetched.",
            lambda url: check_route(service, url),
            {"url": _describe_text(minLength=1, maxLength=2000)},
            ["url"],
        )
    ]


def check_route(service: CoordinationService, url: str) -> str:
    """Request that the board fetches an address, wait for its answer and describe it. Raises `ToolError`."""
    number = service.post(f"{service.ticket}/routes", {"url": url})["id"]
    for _ in range(int(ROUTE_SECONDS / POLL_SECONDS)):
        row = next((row for row in service.get(f"{service.ticket}/routes")["items"] if row["id"] == number), None)
        if row and row["state"] != "unknown":
            return f"{row['state'].upper()}: {row['summary']}"
        time.sleep(POLL_SECONDS)
    return f"{url} has not been fetched yet; the answer will be recorded on the ticket."


def _build_file_tools(service: CoordinationService) -> list[Tool]:
    def add_evidence(path: str, summary: str, item: int | None = None) -> str:
        name, content = _read_workspace_file(service.workspace, path)
        name, content = service.redaction.clean_text(name), _clean_file(service.redaction, path, content)
        item_field = {"item": str(item)} if item is not None else {}
        body, kind = _build_multipart({"summary": service.redaction.clean_text(summary), **item_field}, name, content)
        service.post(f"{service.ticket}/attachments", body, kind)
        return f"Uploaded {name}, {len(content)} bytes."

    return [
        Tool(
            "mc_add_evidence",
            "Upload a file of the workspace (a screenshot, a log) as evidence.",
            add_evidence,
            {
                "path": _describe_text(minLength=1),
                "summary": _describe_text(minLength=1, maxLength=2000),
                "item": {**_ITEM, "description": _ITEM_TEXT},
            },
            ["path", "summary"],
        ),
        Tool(
            "mc_get_attachment",
            "Get a file that is attached to the ticket: its path, and the text itself where it is short. The numbers"
            " of the files are in mc_get_ticket.",
            lambda attachment: fetch_attachment(service, attachment),
            {"attachment": {"type": "integer", "minimum": 1, "description": "Number of the file."}},
            ["attachment"],
        ),
    ]


def fetch_attachment(service: CoordinationService, attachment: int) -> str:
    """Save an attachment of the ticket beside the workspace and describe it. Raises `ToolError`."""
    rows = {row["id"]: row for row in service.get(f"{service.ticket}/attachments")["items"]}
    if attachment not in rows:
        numbers = ", ".join(map(str, rows)) or "none"
        raise ToolError(f"The ticket has no file {attachment}. Its files: {numbers} (see mc_get_ticket).")
    row = rows[attachment]
    content = service.download(f"/attachments/{attachment}", row["size"])
    path = attached_files.build_path(service.run_dir, attachment, row["name"])
    attached_files.save_copy(path, content)
    text = f"{path} ({row['media_type']}, {row['size']} bytes)"
    is_short_text = row["media_type"] == "text/plain" and len(content) <= MAX_INLINE_BYTES
    return f"{text}\n\n{content.decode('utf-8', 'replace')}" if is_short_text else text


def _read_workspace_file(workspace: Path, path: str) -> tuple[str, bytes]:
    """Read name and content of a workspace file. Links out of it, folders and too large files are refused."""
    try:
        file = (workspace / path).resolve(strict=True)
        if not file.is_relative_to(workspace.resolve()) or not file.is_file():
            raise ToolError(f"{path} is not a file of the workspace.")
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            content = stream.read(MAX_UPLOAD_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ToolError(f"{path} cannot be read.") from error
    if len(content) > MAX_UPLOAD_BYTES:
        raise ToolError(f"{path} is larger than {MAX_UPLOAD_BYTES >> 20} MB.")
    return file.name, content


def _clean_file(redaction: Redaction, path: str, content: bytes) -> bytes:
    """Return the redacted content of a file. Raises `ToolError`."""
    try:
        return redaction.clean_file(content)
    except ValueError as error:
        raise ToolError(f"{path} cannot be uploaded: {error}. Remove the secret first.") from error


def _build_multipart(fields: Mapping[str, str], name: str, content: bytes) -> tuple[bytes, str]:
    """Build a form with one file named `file`, as body and content type."""
    boundary = os.urandom(16).hex()
    safe = "".join(letter for letter in name if letter.isprintable() and letter not in '"\\')
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


if __name__ == "__main__":
    coordination_service = read_service()
    liveness_lock = hold_liveness_lock(coordination_service.run_dir)
    build_server(coordination_service).serve(sys.stdin.buffer, sys.stdout.buffer)
