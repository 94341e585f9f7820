"""`mc attach MC-12`: attach to the terminal in which a ticket's agent works."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from models import Run, RunMode
from protocol import AGENT_PROGRAMS
from settings import Settings
from tickets.runs import claims
from tickets.shared import lookup
from workers.agents.descriptor import load_descriptor
from workers.contract import spec as specs
from workers.contract.spec import InvalidSpec
from workers.host.tmux import Tmux
from workers.run.console_client import build_attach_argv, find_pane

from .common import reading, require_operator

JOINABLE = " or ".join(program.title for program in AGENT_PROGRAMS.values() if program.can_join)


@click.command()
@click.argument("reference")
@click.option("--read-only", is_flag=True, help="Watch without typing.")
@click.option(
    "--join",
    is_flag=True,
    help=f"Take part in a conversation with {JOINABLE}, on its own screen, beside the worker.",
)
def attach(reference: str, read_only: bool, join: bool) -> None:
    """Attach to the terminal of the live run of the ticket REFERENCE. Ctrl-b d detaches, and the agent continues."""
    if join and read_only:
        raise click.UsageError("--join cannot be combined with --read-only.")
    settings, _ = require_operator()
    with reading(settings) as session:
        ticket = lookup.get_ticket(session, reference)
        run = lookup.find_live_run(session, ticket.id)
        newest_run = claims.find_latest(session, ticket.id)
    if run is None:
        raise click.ClickException(
            f"{ticket.identifier} has no live run. {_describe_log(settings, newest_run, ticket.identifier)}"
        )
    _require_local(settings, run, ticket.identifier)
    if join:
        _join_conversation(settings, run, ticket.identifier)
    tmux, session_name = Tmux(f"mc-{settings.instance}", settings.sockets_dir), f"mc-{ticket.identifier}"
    if find_pane(tmux, session_name, run.tmux_target) is None:
        raise click.ClickException(
            f"The run of {ticket.identifier} has no pane: it is starting, or its pane was closed."
            " Try again in a moment; bin/mc pickup settles a run that has died."
        )
    argv = build_attach_argv(tmux, session_name, write=not read_only, status=True)
    os.execve(argv[0], argv, tmux.environment)  # noqa: S606 - argv only


def _join_conversation(settings: Settings, run: Run, identifier: str) -> NoReturn:
    """Become the screen of the run's program. It carries the run's mark, so that it ends with the run."""
    try:
        spec = specs.read_spec(settings.run_path(run.id))
    except InvalidSpec as error:
        raise click.ClickException(f"The run of {identifier} cannot be joined: {error}.") from None
    join = load_descriptor(spec.program).join_run(spec, run.conversation_id) if run.conversation_id else None
    if spec.mode != "headless" or join is None:
        raise click.ClickException(
            f"the run of {identifier} cannot be joined: only {JOINABLE} without a screen can, once its conversation has begun."
            f" bin/mc takeover {identifier} continues it on a screen instead."
        )
    own = {**join.environment, "TERM": settings.ambient.environment.get("TERM", "xterm")}
    os.chdir(spec.workspace)
    os.execve(join.argv[0], join.argv, {**spec.environment, **own})  # noqa: S606 - argv only


def _require_local(settings: Settings, run: Run, identifier: str) -> None:
    if run.mode is RunMode.EXTERNAL:
        raise click.ClickException(f"The run of {identifier} is outside Mission Control, so it has no terminal here.")
    if run.host != settings.machine_name:
        raise click.ClickException(f"The run of {identifier} is on {run.host}: run bin/mc attach {identifier} there.")


def _describe_log(settings: Settings, run: Run | None, identifier: str) -> str:
    """Say where to find the output of a ticket without a live run."""
    if run is None:
        return "Its terminal appears when an agent starts on it."
    log = settings.run_path(run.id) / f"mc-{identifier}.tmux.log"
    return f"The log of the last one: {log}" if log.is_file() else "The last one left no log."


COMMANDS: tuple[click.Command, ...] = (attach,)
