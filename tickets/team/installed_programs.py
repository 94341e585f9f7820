"""The programs that agents are or use, as each machine last saw them; one wording for the team's page and `mc doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import Program, now

NEEDED = frozenset({"git", "tmux"})
"""No run can do without these."""
FORGES = ("gh", "glab")
"""One of these opens a pull request (GitLab says merge request)."""


class Seen(Protocol):
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
class Judgement:
    """`remedy` says what to do where something is wrong; a program that may be missing is not."""

    name: str
    status: str
    detail: str
    remedy: str


def judge(seen: Seen) -> Judgement:
    """A program that no run can do without must be there; another may be missing, but not broken or logged out."""
    if seen.found:
        facts = " ".join(filter(None, (seen.version, seen.path)))
        detail = f"{facts}, {_log_in(seen.logged_in)}" if _log_in(seen.logged_in) else facts
        return Judgement(seen.name, "warning" if seen.advice else "ok", detail, seen.advice)
    if seen.name in NEEDED:
        return Judgement(seen.name, "failed", "not found", seen.advice)
    return Judgement(seen.name, "unknown", f"not found. {seen.advice}", "")


def _log_in(logged_in: bool | None) -> str:
    return {True: "logged in", False: "not logged in", None: ""}[logged_in]


def record(session: Session, host: str, found: Iterable[Seen]) -> None:
    """Replace what was known of the programs of one machine."""
    session.execute(delete(Program).where(Program.host == host))
    moment = now()
    session.add_all(
        Program(
            host=host,
            name=seen.name,
            path=seen.path,
            version=seen.version,
            found=seen.found,
            logged_in=seen.logged_in,
            advice=seen.advice,
            checked=moment,
        )
        for seen in found
    )


def known(session: Session) -> list[Program]:
    """What is known of every machine, in the order of their names."""
    return list(session.scalars(select(Program).order_by(Program.host, Program.name)))


def lacking(session: Session, names: tuple[str, ...]) -> set[str]:
    """The machines on which none of these programs was found; one that nobody has looked at may have them."""
    looked = list(session.execute(select(Program.host, Program.found).where(Program.name.in_(names))))
    return {host for host, _ in looked} - {host for host, found in looked if found}
