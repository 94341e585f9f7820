"""An installation whose agents are the real Claude Code and Codex with a scripted model."""

from __future__ import annotations

import io
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from database import reading, writing
from models import (
    Agent,
    AgentKind,
    QueuedMessage,
    RequestState,
    Run,
    RunRequest,
    Scope,
    Ticket,
    TicketEvent,
    TicketStatus,
    now,
)
from tests.agents import programs
from tests.jobs.installation import ALICE, Installation
from tests.model_server import ModelServer
from tests.ports import free_port
from tests.streams.client import Client
from tests.waiting import wait_until
from tickets.conversation import attachments, requests
from tickets.conversation.attachments import Upload
from tickets.conversation.requests import Reply
from tickets.operations import tokens
from tickets.runs.notify_run import notify_run
from tickets.team import agents, profiles
from tickets.team.agents import NewAgent
from tickets.team.profiles import NewProfile
from workers.host import processes

KEYS = {
    "ANTHROPIC_AUTH_TOKEN": "sk-canary-of-claude-0123456789",
    "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-canary-of-a-plan-0123456789",
    "LOOPBACK_API_KEY": "sk-canary-of-codex-0123456789",
}
"""API keys of the programs."""
CLAUDE_SETTINGS = ("ANTHROPIC_BASE_URL", "CLAUDE_CODE_MAX_RETRIES", "IS_SANDBOX")
PATH = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
"""Agents find pytest and, where the machine has no other, npm beside this interpreter."""
MODELS = {"claude": "claude-sonnet-4-5", "codex": "gpt-5.1-codex"}
CHECK = ["grep", "--quiet", "hello", "line.txt"]
COMMIT_STEP = "[[bash: echo hello > line.txt && git add line.txt && git commit --quiet -m 'Add a line']]"
"""Step whose commit passes the project's check."""
TOKENS_IN, TOKENS_OUT = 100, 20
"""Tokens that the model server reports for each response."""
TIMEOUT_SECONDS = 60
SILENCE_SECONDS = 8
"""Seconds for which a program may retry to reach a missing service."""
ENDED_STATES = (TicketStatus.DONE, TicketStatus.CANCELLED)


class AgentInstallation(Installation):
    """A board with one project, and a member of the team for each way to run a program, named after it."""

    def __init__(self, template: Path, home: Path, model: ModelServer) -> None:
        extra = {
            "PATH": PATH,
            "ANTHROPIC_BASE_URL": model.url,
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "IS_SANDBOX": "1",
            **KEYS,
        }
        binaries = {f"{program}_binary": programs.find_binary(program) for program in MODELS}
        super().__init__(template, home, extra=extra, max_workers=4, **binaries)
        self.model = model
        (home / ".bashrc").write_text(f'export PATH="{PATH}"\n')  # Claude's shell begins as a login does
        (home / ".gitconfig").write_text("[user]\n\tname = Agent\n\temail = agent@example.org\n")
        self.folder = self.project(check=CHECK)
        self._staff()
        self.open_board()

    # The team

    def _staff(self) -> None:
        with writing(self.engine) as session:
            self.token = tokens.issue_token(session, tokens.NewToken(name="test", scope=Scope.OPERATOR), ALICE)[1]
        for program in MODELS:
            self._hire(f"{program}-works", program)
            self._hire(f"{program}-asks", program, permissions="ask")
            self._hire(f"{program}-free", program, permissions="unrestricted")
            self._hire(f"{program}-offline", program, address=f"http://127.0.0.1:{free_port()}")
        self._hire("claude-plan", "claude", key="CLAUDE_CODE_OAUTH_TOKEN")
        self._hire("codex-plan", "codex")
        self._hire("claude-thrifty", "claude", limits={"tokens": 250})
        self._hire("claude-leads", "claude", kind=AgentKind.CONTROLLER)

    def _hire(
        self,
        name: str,
        program: str,
        *,
        address: str = "",
        key: str = "",
        permissions: str = "workspace",
        limits: dict[str, int] | None = None,
        kind: AgentKind = AgentKind.AGENT,
    ) -> None:
        """Add a member of the team, with a profile of the same name that connects the program to the model server."""
        if program == "codex":
            argv, allowed = _build_provider_arguments(address or self.model.url), ["LOOPBACK_API_KEY"]
        else:
            argv = ["--settings", json.dumps({"env": {"ANTHROPIC_BASE_URL": address}})] if address else []
            allowed = [*CLAUDE_SETTINGS, key or "ANTHROPIC_AUTH_TOKEN"]
        facts: dict[str, Any] = {"model": MODELS[program], "permissions": permissions, "argv": argv}
        facts |= {"env_allow": allowed, "limits": limits or ({"silence_seconds": SILENCE_SECONDS} if address else {})}
        with writing(self.engine) as session:
            profile = NewProfile.model_validate({"name": name, "program": program, **facts})
            profiles.add_profile(session, profile, ALICE)
            agents.add_agent(session, NewAgent(name=name, kind=kind, runnable=True, profile=name, capacity=4), ALICE)

    # Work

    def give(self, agent: str, script: str, **facts: Any) -> int:
        """Create a ticket of the project for a member of the team, with `script` for the model's responses."""
        values = {"project": "web", "title": "Add a line", "assigned_to": agent, "description": script, **facts}
        return self.ticket(**values)

    def attach(self, ticket_id: int, name: str, content: bytes) -> int:
        """Attach a file to the ticket as a person."""
        file = attachments.receive_file(self.settings.attachments_dir, io.BytesIO(content), name, len(content))
        with writing(self.engine) as session:
            return attachments.add_attachment(session, ticket_id, file, Upload(), ALICE, 100).id

    def rewrite(self, ticket_id: int, script: str) -> None:
        """Replace the description of a ticket that has not started."""
        with writing(self.engine) as session:
            session.execute(update(Ticket).where(Ticket.id == ticket_id).values(description=script))

    def start(self, agent: str, script: str, **facts: Any) -> int:
        """Create a ticket and start a run for it."""
        ticket_id = self.give(agent, script, **facts)
        self.dispatch(ticket_id)
        return ticket_id

    def dispatch(self, ticket_id: int) -> Run:
        """Make dispatch passes until one starts the ticket's next run, which may wait for the end of the last one."""
        self.skip_delays(ticket_id)

        def is_started() -> bool:
            summary = self.make_pass().summary
            ticket = self.get(ticket_id)
            claimed = ticket.identifier in summary["claimed"]
            assert claimed or summary["skipped"] == {"previous_run": 1}, (summary, ticket.failure_reason)
            return claimed

        wait_until(is_started, description="the next run")
        return self.runs(ticket_id)[-1]

    def skip_delays(self, ticket_id: int) -> None:
        """Skip all delays, such as retry backoff, as if their time were over."""
        with writing(self.engine) as session:
            mine = Ticket.id == ticket_id
            session.execute(update(Agent).values(cooldown_until=None))
            session.execute(update(Ticket).where(mine).values(not_before=None))
            session.execute(update(Ticket).where(mine, Ticket.wake_at.is_not(None)).values(wake_at=now()))

    def gate(self, ticket_id: int) -> Path:
        """Create a pipe in the workspace of the ticket's run, whose reader waits until the test writes to it."""
        gate = Path(self.runs(ticket_id)[-1].workspace or "") / "gate"
        gate.unlink(missing_ok=True)
        os.mkfifo(gate)
        return gate

    def wait_for_run_end(self, ticket_id: int, *statuses: TicketStatus) -> Run:
        """Wait until the ticket's run has brought it to one of these statuses, and return the newest run."""
        self.until(ticket_id, *statuses, timeout=TIMEOUT_SECONDS)
        return self.runs(ticket_id)[-1]

    def clear(self) -> None:
        """End the open work of a test, and reset the model server's failures."""
        for ticket in self._open():
            self.move(ticket.id, "cancel")
        for run in self.runs():
            if not run.ended:
                notify_run(self.settings, run.id)
        wait_until(self._is_quiet, TIMEOUT_SECONDS, description="the end of all runs")
        self.model.attempts.clear()

    def _open(self) -> list[Ticket]:
        with reading(self.engine) as session:
            return list(session.scalars(select(Ticket).where(Ticket.status.not_in(ENDED_STATES))))

    def _is_quiet(self) -> bool:
        return not any(self.is_wrapper_alive(run) for run in self.runs())

    # Talking

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post to the API as the operator, and return the response."""
        request = urllib.request.Request(
            f"{self.settings.api_url}/api/v1{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def message(self, ticket_id: int, body: str, mode: str = "queue") -> str:
        """Send a message to the ticket's agent, and return its uuid."""
        message = self.post(f"/tickets/{ticket_id}/messages", {"body": body, "mode": mode})
        return str(message["uuid"])

    def messages(self, ticket_id: int) -> list[QueuedMessage]:
        query = select(QueuedMessage).where(QueuedMessage.ticket_id == ticket_id).order_by(QueuedMessage.id)
        with reading(self.engine) as session:
            return list(session.scalars(query))

    def wait_for_request(self, ticket_id: int) -> RunRequest:
        """Wait for an open request of the agent, and return it."""
        query = select(RunRequest).where(RunRequest.ticket_id == ticket_id, RunRequest.state == RequestState.PENDING)

        def pending() -> RunRequest | None:
            with reading(self.engine) as session:
                return session.scalar(query)

        request = wait_until(pending, TIMEOUT_SECONDS, description="a request of the agent")
        assert request is not None
        return request

    def reply(self, ticket_id: int, **reply: Any) -> None:
        """Answer a request of the running agent as a person."""
        with writing(self.engine) as session:
            run_id = requests.answer_request(session, ticket_id, Reply.model_validate(reply), ALICE)
        notify_run(self.settings, run_id)

    # Seeing

    def events(self, ticket_id: int, *kinds: str) -> list[TicketEvent]:
        """List the ticket's events in order, of these types or all."""
        query = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id).order_by(TicketEvent.seq)
        with reading(self.engine) as session:
            return list(session.scalars(query.where(TicketEvent.event_type.in_(kinds)) if kinds else query))

    def list_payloads(self, ticket_id: int, kind: str) -> list[dict[str, Any]]:
        """List the payloads of the ticket's events of one type, in order."""
        return [event.payload_json for event in self.events(ticket_id, kind)]

    def wait_for_event(self, ticket_id: int, kind: str, **fields: object) -> dict[str, Any]:
        """Wait for the first event of this type with these fields, and return its payload."""

        def find_payload() -> dict[str, Any] | None:
            return next(
                (candidate for candidate in self.list_payloads(ticket_id, kind) if fields.items() <= candidate.items()),
                None,
            )

        payload = wait_until(find_payload, TIMEOUT_SECONDS, description=kind)
        assert payload is not None
        return payload

    def wait_until_gone(self, run: Run) -> None:
        """Wait for the end of the run's wrapper, which writes its last file after the report."""
        wait_until(lambda: not self.is_wrapper_alive(run), TIMEOUT_SECONDS, description="the wrapper's end")

    def prompt(self, run: Run) -> str:
        return (self.context.run_dir(run.id) / "prompt.md").read_text()

    def agent_process(self, run: Run) -> int:
        """Return the process id of the agent program, a child of the wrapper."""
        binary = str(self.settings.model_dump()[f"{run.program}_binary"].resolve())
        carriers = processes.find_by_marker(self.context.marker(run.id))
        return next(carrier.pid for carrier in carriers if str(Path(f"/proc/{carrier.pid}/exe").resolve()) == binary)

    @contextmanager
    def watching(self, ticket_id: int) -> Iterator[Client]:
        """Open the ticket's event stream like a page."""
        client = Client(self.settings.port, self.token, f"/api/v1/tickets/{ticket_id}/stream").open()
        try:
            yield client
        finally:
            client.close()


def _build_provider_arguments(url: str) -> list[str]:
    """Build Codex's settings for the model server."""
    provider = {"name": "Loopback", "base_url": f"{url}/v1", "env_key": "LOOPBACK_API_KEY", "wire_api": "responses"}
    limits = {"request_max_retries": 0, "stream_max_retries": 1, "supports_websockets": False}
    fields = {f"model_providers.loopback.{key}": value for key, value in (provider | limits).items()}
    settings = {"model_provider": "loopback", **fields}
    return [word for key, value in settings.items() for word in ("-c", f"{key}={json.dumps(value)}")]
