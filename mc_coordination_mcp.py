"""mc-coord: the MCP server through which an agent speaks to Mission Control while it works on a ticket.

Started by the agent's program over stdio, one per run. A verdict (`mc_report_done`, `mc_report_review`,
`mc_request_changes`, `mc_ask_question`) is on disk as `signal.json` in the run's directory before the tool answers, so it survives the
agent, the web server and this process. The other tools call the board with the run's token and say so when it
cannot be reached.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from protocol import AgentVerdict
from workers.contract.agent_events import clip_text
from workers.host import files
from workers.run.verdict import SIGNAL_FILE

NAME = "mc-coord"
TIMEOUT_SECONDS = 15
MAX_UPLOAD_BYTES = 25 << 20
_INSTRUCTIONS = (
    "Mission Control tracks this ticket. Say where you are with mc_progress. When you are finished call exactly "
    "one of mc_report_done, mc_report_review, mc_request_changes or mc_ask_question, then end your turn."
)
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EvidenceClaim(BaseModel):
    """One statement about the work that Mission Control can check."""

    kind: Literal["tests", "commit", "file", "route", "review", "other"] = "other"
    text: str = Field(min_length=1, max_length=4000, description="What is true now, in one sentence.")
    item: int | None = Field(None, ge=0, le=49, description="Index of the acceptance item which this meets, from 0.")


@dataclass(frozen=True, slots=True)
class CoordinationService:
    """Where this run's tools write and whom they call."""

    run_dir: Path
    workspace: Path
    ticket_id: int
    nonce: str
    api: str
    token_file: Path

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """The decoded answer of the board; raises `ToolError` with a text that the agent can act on."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}", "Content-Type": kind}
        url = f"{self.api.rstrip('/')}/api/v1{path}"
        if not url.startswith(("http://", "https://")):
            raise ToolError("MC_API is not an http address.")
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read(2000).decode("utf-8", "replace")
            raise ToolError(f"Mission Control refused this ({error.code}): {text}") from error
        except (OSError, ValueError) as error:
            raise ToolError(
                "Mission Control cannot be reached at the moment. Go on with your work; "
                "the verdict tools still work, they write to disk."
            ) from error

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        return self.call("POST", path, json.dumps(body).encode())

    @property
    def ticket(self) -> str:
        return f"/tickets/{self.ticket_id}"


class VerdictFile:
    """The run's verdict on disk: the last one given counts."""

    def __init__(self, service: CoordinationService) -> None:
        self._desk = service
        self._lock = threading.Lock()

    def give(
        self,
        verdict: AgentVerdict,
        summary: str,
        claims: list[EvidenceClaim] | None = None,
        question: Mapping[str, object] | None = None,
    ) -> str:
        """Write the signal and say so; a verdict given before is replaced."""
        signal = {
            "verdict": verdict,
            "summary": clip_text(summary),
            "question": question,
            "claims": [claim.model_dump() for claim in claims or []],
            "nonce": self._desk.nonce,
            "ts": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        with self._lock:
            earlier_verdict = self._read_earlier()
            files.replace(self._desk.run_dir / SIGNAL_FILE, json.dumps(signal).encode())
        notice = f" It replaces your earlier verdict {earlier_verdict.upper()}." if earlier_verdict else ""
        return f"{verdict.upper()} is recorded.{notice} End your turn now."

    def _read_earlier(self) -> str:
        try:
            return str(json.loads((self._desk.run_dir / SIGNAL_FILE).read_bytes())["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def read_service(environment: Mapping[str, str] = os.environ) -> CoordinationService:
    """The desk that the run's configuration describes; raises `SystemExit` naming what is missing."""
    names = ("MC_RUN_DIR", "MC_WORKSPACE", "MC_TICKET_ID", "MC_TICKET_NONCE", "MC_API", "MC_API_TOKEN_FILE")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise SystemExit(f"{NAME} is started by a run of Mission Control; missing: {', '.join(missing)}")
    run_dir, workspace, ticket_id, nonce, api, token_file = (environment[name] for name in names)
    if not ticket_id.isascii() or not ticket_id.isdecimal():
        raise SystemExit("MC_TICKET_ID is not a number")
    return CoordinationService(Path(run_dir), Path(workspace), int(ticket_id), nonce, api, Path(token_file))


def build_server(service: CoordinationService) -> MCPServer:
    """The server with all tools, for one run."""
    server = MCPServer(NAME, instructions=_INSTRUCTIONS, log_level="ERROR")
    _add_verdict_tools(server, VerdictFile(service))
    _add_board_tools(server, service)
    _add_evidence_tool(server, service)
    return server


def _add_verdict_tools(server: MCPServer, verdicts: VerdictFile) -> None:
    @server.tool(structured_output=False)
    def mc_report_done(summary: str, claims: list[EvidenceClaim] | None = None) -> str:
        """Report that the ticket is complete. `summary` says what changed and how you checked it."""
        return verdicts.give("done", summary, claims)

    @server.tool(structured_output=False)
    def mc_report_review(summary: str, claims: list[EvidenceClaim] | None = None) -> str:
        """Hand the work over for review. `summary` says what to look at and what you are unsure of."""
        return verdicts.give("review", summary, claims)

    @server.tool(structured_output=False)
    def mc_request_changes(feedback: str) -> str:
        """Send the ticket back to an earlier phase: `feedback` tells its agent what must change, and how you saw that.

        For a phase that judges what another made; where there is no earlier phase, a person decides.
        """
        return verdicts.give("changes", feedback)

    @server.tool(structured_output=False)
    def mc_ask_question(question: str, choices: list[str] | None = None, context: str = "") -> str:
        """Ask a person what you cannot decide; the answer comes in your next turn. Offer choices where you can."""
        question_json = {"text": clip_text(question), "choices": [{"label": choice} for choice in choices or []]}
        summary = f"{question}\n\n{context}" if context else question
        return verdicts.give("question", summary, question={"request": "mc_ask_question", "questions": [question_json]})

    @server.tool(structured_output=False)
    def mc_progress(text: str) -> str:
        """Say in one sentence what you are doing now; it is shown on the ticket."""
        return f"Shown on the ticket: {clip_text(text, 500)}"


def _add_board_tools(server: MCPServer, service: CoordinationService) -> None:
    @server.tool(structured_output=False)
    def mc_get_ticket() -> str:
        """The ticket as the board has it now: description, state, acceptance items."""
        return clip_text(json.dumps(service.call("GET", service.ticket), indent=1))

    @server.tool(structured_output=False)
    def mc_link_context(path: str, note: str = "") -> str:
        """Link a page of the vault (its path) to the ticket, with a note on why it matters."""
        service.post(f"{service.ticket}/context", {"path": path, "note": note})
        return f"Linked {path}."

    @server.tool(structured_output=False)
    def mc_create_ticket(
        title: str, description: str = "", priority: Literal["low", "normal", "high", "urgent"] = "normal"
    ) -> str:
        """File a new ticket for work that does not belong to this one; a person triages it."""
        created = service.post("/tickets", {"title": title, "description": description, "priority": priority})
        identifier = created.get("identifier") if isinstance(created, dict) else None
        return f"Created {identifier or 'the ticket'}."


def _add_evidence_tool(server: MCPServer, service: CoordinationService) -> None:
    @server.tool(structured_output=False)
    def mc_add_evidence(path: str, summary: str, item: int | None = None) -> str:
        """Upload a file of the workspace (a screenshot, a log) as evidence; `item` is an acceptance index from 0."""
        name, content = _read_workspace_file(service.workspace, path)
        fields = {"summary": summary, **({"item": str(item)} if item is not None else {})}
        body, kind = _build_multipart(fields, name, content)
        service.call("POST", f"{service.ticket}/attachments", body, kind)
        return f"Uploaded {name}, {len(content)} bytes."


def _read_workspace_file(workspace: Path, path: str) -> tuple[str, bytes]:
    """Name and content of a file of the workspace; links out of it, folders and huge files are refused."""
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


def _build_multipart(fields: Mapping[str, str], name: str, content: bytes) -> tuple[bytes, str]:
    """A form with one file called `file`, as body and content type."""
    boundary = uuid.uuid4().hex
    safe = "".join(letter for letter in name if letter.isprintable() and letter not in '"\\')
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


if __name__ == "__main__":
    build_server(read_service()).run("stdio")
