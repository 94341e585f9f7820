"""The programs that agents are or use, as each machine last saw them; one wording for the team's page and `mc doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Program, now

REQUIRED_PROGRAMS = frozenset({"git", "tmux"})
"""No run can do without these."""
FORGE_CLIENTS = ("gh", "glab")
"""One of these opens a pull request (GitLab says merge request)."""


class ProgramObservation(Protocol):
    """What a look at a program tells; `advice` is what a person should do next, if anything."""

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
    """`remedy` says what to do where something is wrong; a program that may be missing is not."""

    name: str
    status: str
    detail: str
    remedy: str


def assess_program(program: ProgramObservation) -> ProgramStatus:
    """A program that no run can do without must be there; another may be missing, but not broken or logged out."""
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
    """Replace what was known of the programs of one machine."""
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
    """What is known of every machine, in the order of their names."""
    return list(session.scalars(select(Program).order_by(Program.host, Program.name)))


def find_hosts_without(session: Session, names: tuple[str, ...]) -> set[str]:
    """The machines on which none of these programs was found; one that nobody has looked at may have them."""
    rows = list(session.execute(select(Program.host, Program.found).where(Program.name.in_(names))))
    return {host for host, _ in rows} - {host for host, is_installed in rows if is_installed}
