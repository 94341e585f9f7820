"""Installed programs of each host as last observed, assessed alike for the team page and `mc doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Program, now

REQUIRED_PROGRAMS = frozenset({"git", "tmux"})
"""Programs that every run needs."""
FORGE_CLIENTS = ("gh", "glab")
"""Programs that open a pull request (GitLab: merge request), of which one is enough."""


class ProgramObservation(Protocol):
    """Observation of a program. `advice` is the next action for a person, if any."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def version(self) -> str | None: ...
    @property
    def found(self) -> bool: ...
    @property
    def logged_in(self) -> bool | None: ...
    @property
    def advice(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """Assessment of a program. `remedy` is the action that solves a problem, empty for a missing optional program."""

    name: str
    status: str
    detail: str
    remedy: str


def assess_program(program: ProgramObservation) -> ProgramStatus:
    """Assess a program: a required one must be installed, an optional one may be missing but not broken or logged out."""
    if program.found:
        facts = " ".join(filter(None, (program.version, program.path)))
        detail = f"{facts}, {_format_login(program.logged_in)}" if _format_login(program.logged_in) else facts
        return ProgramStatus(program.name, "warning" if program.advice else "ok", detail, program.advice)
    if program.name in REQUIRED_PROGRAMS:
        return ProgramStatus(program.name, "failed", "not found", program.advice)
    return ProgramStatus(program.name, "unknown", f"not found. {program.advice}", "")


def _format_login(logged_in: bool | None) -> str:
    return {True: "logged in", False: "not logged in", None: ""}[logged_in]


def record_programs(session: Session, host: str, observations: Iterable[ProgramObservation]) -> None:
    """Replace the stored observations of one host."""
    session.execute(delete(Program).where(Program.host == host))
    moment = now()
    session.add_all(
        Program(
            host=host,
            name=observation.name,
            path=observation.path,
            version=observation.version,
            found=observation.found,
            logged_in=observation.logged_in,
            advice=observation.advice,
            checked=moment,
        )
        for observation in observations
    )


def list_programs(session: Session) -> list[Program]:
    """List the stored observations of all hosts, by host and name."""
    return list(session.scalars(select(Program).order_by(Program.host, Program.name)))


def describe_confinement(session: Session, host: str) -> str:
    """Describe in a sentence how the commands of agents are held in their workspace on a host."""
    sandbox = session.get(Program, (host, "sandbox"))
    if sandbox is None:
        return "This machine has not been checked for a sandbox yet."
    if sandbox.found:
        return "Sandbox: this machine confines the commands of agents to their workspace."
    return f"Allow-list: this machine has no sandbox. {sandbox.advice}"


def find_hosts_without(session: Session, names: tuple[str, ...]) -> set[str]:
    """Return the hosts on which none of these programs was found. A host without observations is not among them."""
    rows = list(session.execute(select(Program.host, Program.found).where(Program.name.in_(names))))
    return {host for host, _ in rows} - {host for host, is_installed in rows if is_installed}
