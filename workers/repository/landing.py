"""Bringing a ticket's commits onto its base branch, or to a remote. Nobody's own work tree is worked in.

1. Where a former attempt has moved the base branch already, there is nothing left to do.
2. Merge or squash the verified commit onto the base branch's head, in a scratch work tree.
3. Let the caller look at the result (run the check command, say) before anything else has changed.
4. Name the new commit by a reference of the landing's own, so that after a crash it is known whether 5 has happened.
5. Move the base branch from where 2 found it, by compare-and-swap; a work tree that shows the branch follows, or refuses
   because it would overwrite what is not committed there. Where somebody else was faster, begin again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.host import commands

from . import git, worktrees

TRIES = 5
SUBJECTS = 50
PUSH_SECONDS = 600.0
REFERENCES = "refs/mc/landing"
NAMED = ("-c", "user.useConfigOnly=true")
"""git must not make up a name and an address from the machine's."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")


class LandingError(Exception):
    """It cannot be landed; the message says why, and what a person should do."""


class Conflict(LandingError):
    """The commits do not go together with the base branch; `files` cannot be merged."""

    def __init__(self, base: str, files: list[str]) -> None:
        super().__init__(f"It conflicts with {base} in {', '.join(files)}.")
        self.files = files


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be landed: the `commit` that was verified on `branch`. `key` tells this landing from others of its ticket."""

    repository: Path
    base: str
    branch: str
    commit: str
    identifier: str
    title: str
    key: int

    @property
    def reference(self) -> str:
        return f"{REFERENCES}/{self.identifier}/{self.key}"

    @property
    def subject(self) -> str:
        return f"{self.identifier}: {self.title}"


@dataclass(frozen=True, slots=True)
class Landed:
    """The commit by which the base branch has the work; `already`: it had it before anybody landed it."""

    commit: str
    already: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit that is not yet on the base branch, made for its head `base`. `tested`: it has the very files of the
    commit that was verified."""

    commit: str
    base: str
    tested: bool


def onto_base(job: Job, scratch: Path, *, squash: bool, look: Callable[[Prepared], None]) -> Landed:
    """Merge or squash onto the base branch.

    `look` sees the result, checked out in `scratch`, and may raise. Raises `Conflict`, `LandingError`, `git.GitError`.
    """
    _require_repository(job)
    for _ in range(TRIES):
        base = _head(job)
        if done := _landed(job, base):
            return done
        _require_verified(job)
        _require_name(job)
        with worktrees.detached(job.repository, scratch, base):
            made = _prepare(job, scratch, base, squash)
            if made is None:
                return Landed(base, already=True)
            look(made)
            if _move(job, made):
                return Landed(made.commit, already=False)
    raise LandingError(f"The branch {job.base} keeps moving. Approve again when it is quieter there.")


def push(job: Job) -> str:
    """Push the verified commit as the ticket's branch; the remote it went to. Raises `LandingError`, `git.GitError`."""
    _require_repository(job)
    _require_verified(job)
    remote = remote_of(job)
    target = f"{job.commit}:refs/heads/{job.branch}"
    done = git.run(job.repository, "push", "--quiet", "--no-follow-tags", "--", remote, target, timeout=PUSH_SECONDS)
    if done.code != 0:
        raise LandingError(
            f"The remote {remote} did not take {job.branch}: {complaint(done)} Settle that with git push, then approve again."
        )
    return remote


def remote_of(job: Job) -> str:
    """The remote that belongs to the base branch, else origin, else the only one."""
    remotes = git.ask(job.repository, "remote").split()
    own = git.run(job.repository, "config", "--get", f"branch.{job.base}.remote").text.strip()
    for candidate in (own, "origin", remotes[0] if len(remotes) == 1 else ""):
        if candidate in remotes:
            return candidate
    several = f"none of {', '.join(remotes)} belongs to {job.base}" if remotes else "the repository has no remote"
    raise LandingError(
        f"There is nowhere to push to: {several}. Add one with git remote add origin ADDRESS, or approve another way."
    )


def forget(job: Job) -> None:
    """Drop the references of this ticket's landings: what became of them is recorded elsewhere."""
    known = git.ask(job.repository, "for-each-ref", "--format=%(refname)", f"{REFERENCES}/{job.identifier}/")
    for reference in known.splitlines():
        git.run(job.repository, "update-ref", "-d", reference)


def subjects(job: Job) -> list[str]:
    """The first lines of what the branch adds to its base, oldest first."""
    base = git.tip(job.repository, job.base)
    added = git.commits(job.repository, base, job.commit, SUBJECTS, merges=False) if base else []
    return [commit.subject for commit in reversed(added)]


def without_credentials(text: str) -> str:
    """The text, and no user or password in an address of it."""
    return CREDENTIALS.sub("", text)


def complaint(done: commands.Completed) -> str:
    """What a program complained of, in one line and without credentials."""
    said = " ".join(without_credentials(done.complaint).split()) or f"exit {done.code}"
    return said if said.endswith(".") else f"{said}."


# ------------------------------------------------------------------------------------------------------- what must hold


def _require_repository(job: Job) -> None:
    if not git.is_repository(job.repository):
        raise LandingError(
            f"The folder {job.repository} is no git repository any more. Bring it back, then approve again."
        )


def _require_name(job: Job) -> None:
    if git.run(job.repository, *NAMED, "var", "GIT_COMMITTER_IDENT").code != 0:
        raise LandingError(
            "git does not know in whose name to commit here. Tell it with git config --global user.name NAME and"
            " git config --global user.email ADDRESS, then approve again."
        )


def _require_verified(job: Job) -> None:
    """The branch still leads to what was verified: nothing else is landed, whatever its name."""
    short = job.commit[:10]
    if not git.branch_exists(job.repository, job.branch):
        raise LandingError(f"The branch {job.branch} is gone. Bring it back, or close the ticket.")
    if not git.is_merged(job.repository, job.commit, f"refs/heads/{job.branch}"):
        raise LandingError(
            f"The branch {job.branch} has moved to something that does not contain {short}, the commit that was verified."
            " Request changes, so that the work is handed in again."
        )


def _head(job: Job) -> str:
    head = git.resolve(job.repository, f"refs/heads/{job.base}")
    if head is None:
        raise LandingError(
            f"There is no branch {job.base} in {job.repository}. Make it with git branch {job.base}, or approve another way."
        )
    return head


def _landed(job: Job, base: str) -> Landed | None:
    """Whether the base has the work: by the commit of an attempt that was cut off, or the work itself."""
    made = git.resolve(job.repository, job.reference)
    if made and git.is_merged(job.repository, made, base):
        return Landed(made, already=False)
    known = git.resolve(job.repository, job.commit)
    return Landed(base, already=True) if known and git.is_merged(job.repository, known, base) else None


# ------------------------------------------------------------------------------------------------- the commit, the move


def _prepare(job: Job, scratch: Path, base: str, squash: bool) -> Prepared | None:
    """The merge or squash as a commit, checked out in `scratch`; None where it would change nothing."""
    how = ("--squash", "--ff") if squash else ("--no-ff",)
    argv = ("merge", "--quiet", "--no-commit", *how, job.commit)
    done = git.run(scratch, *argv, timeout=git.CHECKOUT_SECONDS)
    if done.code != 0:
        files = git.ask(scratch, "diff", "--name-only", "-z", "--diff-filter=U").split("\0")
        conflicting = sorted({file for file in files if file})
        raise (
            Conflict(job.base, conflicting)
            if conflicting
            else LandingError(f"git cannot merge {job.branch} into {job.base}: {complaint(done)}")
        )
    tree = git.ask(scratch, "write-tree")
    if squash and tree == _tree(job, base):
        return None
    commit = _commit(job, tree, base, squash)
    git.ask(scratch, "reset", "--quiet", "--hard", commit, timeout=git.CHECKOUT_SECONDS)
    return Prepared(commit, base, tested=tree == _tree(job, job.commit))


def _tree(job: Job, commit: str) -> str:
    return git.ask(job.repository, "rev-parse", f"{git.checked(commit)}^{{tree}}")


def _commit(job: Job, tree: str, base: str, squash: bool) -> str:
    """In the operator's own name, as git has it."""
    parents = ("-p", base) if squash else ("-p", base, "-p", job.commit)
    message = _squashed(job) if squash else f"Merge {job.subject}"
    return git.ask(job.repository, *NAMED, "commit-tree", tree, *parents, "-m", message)


def _squashed(job: Job) -> str:
    lines = [f"* {subject}" for subject in subjects(job)]
    return "\n".join([job.subject, "", *lines])


def _move(job: Job, made: Prepared) -> bool:
    """Bring the base branch to the prepared commit; False where it is no longer where that was made for."""
    if place := worktrees.rebasing(job.repository, job.base):
        raise LandingError(f"The branch {job.base} is being rebased in {place}. Finish that, then approve again.")
    shown = worktrees.showing(job.repository, job.base)
    if len(shown) > 1:
        places = " and ".join(map(str, shown))
        raise LandingError(
            f"The branch {job.base} is checked out in {places} at once. Leave it in one, then approve again."
        )
    git.ask(job.repository, "update-ref", job.reference, made.commit)
    done = _follow(shown[0], made) if shown else _swap(job, made)
    if _head(job) == made.commit:
        return True
    if _head(job) != made.base:
        return False
    raise LandingError(_refusal(job, shown[0] if shown else job.repository, done))


def _swap(job: Job, made: Prepared) -> commands.Completed:
    return git.run(job.repository, "update-ref", f"refs/heads/{job.base}", made.commit, made.base)


def _follow(place: Path, made: Prepared) -> commands.Completed:
    """Move the branch with the work tree that shows it: git itself refuses to overwrite what is not committed there."""
    return git.run(place, "merge", "--quiet", "--ff-only", made.commit, timeout=git.CHECKOUT_SECONDS)


def _refusal(job: Job, place: Path, done: commands.Completed) -> str:
    """git names the files that it would overwrite on lines of their own, each after a tab."""
    files = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("\t")]
    if files:
        return (
            f"The branch {job.base} is checked out in {place}, where {', '.join(files)} would be overwritten."
            " Commit or put aside what is not committed there, then approve again."
        )
    return f"The branch {job.base} cannot be moved in {place}: {complaint(done)} Settle that, then approve again."
