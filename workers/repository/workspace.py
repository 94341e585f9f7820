"""A place to work for each run: a git worktree from its project's pool, or an empty folder of its own.

A run's branch and whatever it left uncommitted wait in its slot for the ticket's next run. When another
ticket needs the slot, uncommitted work is first saved as a commit under `refs/mc/saved/<branch>/<time>`;
nothing is ever deleted unsaved. Ignored files (installed packages, build caches) stay in a reused slot,
since they are what makes reuse worthwhile; a project that wants them gone says so in its set-up command.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.host import commands

from . import git, workspace_slots, worktrees
from .workspace_slots import Record, Slot
from .worktree_cleanup import Uncleanable, clear, unlock

SLUG_LENGTH = 40
TAIL_BYTES = 4000
BRANCH = re.compile(r"mc/[A-Za-z0-9][A-Za-z0-9-]*")
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*-[0-9]+")


class WorkspaceError(Exception):
    """No workspace can be had."""


class NoCommits(WorkspaceError):
    """The project's repository has no commit to start from."""


class NotARepository(WorkspaceError):
    """The project's folder is no git repository."""


class UnknownBase(WorkspaceError):
    """The project's base branch does not exist."""


class PoolFull(WorkspaceError):
    """Every slot of the project's pool is in use or cannot be reused."""


class WorkspaceBusy(WorkspaceError):
    """The ticket's own slot is being prepared by another process at this moment."""


class Unusable(WorkspaceError):
    """This slot cannot be had; another one may."""


class SetUpFailed(WorkspaceError):
    """The project's set-up command did not succeed."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a run works. The git fields are None in a folder without a project.

    `reused`: the folder was there before. `resumed`: it is as the ticket's last run left it, uncommitted work
    included. `saved`: the ref under which the slot's uncommitted work was put aside to make room.
    """

    path: Path
    repository: Path | None
    branch: str | None
    base_sha: str | None
    base_branch: str | None
    reused: bool
    resumed: bool = False
    saved: str | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """What is to be checked out: `start` is the base branch's commit."""

    repository: Path
    branch: str
    base_branch: str
    start: str

    def workspace(self, path: Path, *, reused: bool, resumed: bool, saved: str | None) -> Workspace:
        base = git.merge_base(path, "HEAD", self.start) or self.start
        return Workspace(path, self.repository, self.branch, base, self.base_branch, reused, resumed, saved)


def slugify(title: str) -> str:
    """A title as part of a branch name: lower-case ASCII letters, digits and single hyphens; may be empty."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH].strip("-")


def branch_name(identifier: str, title: str) -> str:
    """The branch of a ticket: `mc/MC-3-add-a-door`, or `mc/MC-3` for a title without any ASCII letter."""
    return f"mc/{_identifier(identifier)}-{slugify(title)}".rstrip("-")


def acquire(project: Path, base_branch: str, branch: str, pool: Path, limit: int, holder: str) -> Workspace:
    """A worktree of the repository at `project` on `branch`, in a slot of `pool` that nobody else gets.

    1. The slot last prepared for this branch, as it is: uncommitted work included.
    2. Else a free slot without uncommitted work, or a new one while there are fewer than `limit`.
    3. Else a free slot whose uncommitted work is saved first.

    A new branch starts at `base_branch`; an existing one continues, and `base_sha` is where it left the base.
    The project's own folder is not touched. The slot is held by `holder` (a run), whatever becomes of this
    process, until `release` or until the same branch is acquired again. Raises `WorkspaceError`.
    """
    if not BRANCH.fullmatch(branch):
        raise ValueError(f"not a ticket's branch: {branch!r}")
    try:
        source = _source(project, base_branch, branch)
        pool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _take(source, pool, limit, holder)
    except git.GitError as error:
        raise WorkspaceError(str(error)) from error


def scratch(folder: Path, identifier: str) -> Workspace:
    """An empty folder of its own for a ticket without a project; the same one again when it resumes."""
    path = folder / _identifier(identifier)
    there = path.exists()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Workspace(path, None, None, None, None, reused=there, resumed=there)


def release(path: Path, holder: str) -> None:
    """Let others have the slot at `path` once they need it; until then its content stays.

    Does nothing when somebody else holds the slot by now, so a late release of an earlier run harms nobody.
    """
    slot = Slot(path)
    with slot.locked() as mine:
        record = slot.read()
        if mine and record.state == "held" and record.holder == holder:
            slot.write(Record("free", record.branch))


def held(pool: Path) -> dict[Path, str | None]:
    """The slots in use and who holds them, None where the record cannot be read."""
    records = {slot.path: slot.read() for slot in workspace_slots.existing(pool)}
    return {path: record.holder for path, record in records.items() if record.state == "held"}


def prune(project: Path, base_branch: str, pool: Path) -> list[Path]:
    """Remove the free slots that are clean and whose branch is merged into the base; branches stay."""
    removed = []
    for slot in workspace_slots.existing(pool):
        with slot.locked() as mine:
            if mine and slot.read().state == "free" and _is_spent(slot.path, base_branch):
                _dismantle(project, slot)
                removed.append(slot.path)
    return removed


def discard(project: Path, path: Path) -> str | None:
    """Remove a free slot because a person says so; returns the ref that keeps what was uncommitted in it.

    The branch stays; ignored files go. Raises `WorkspaceBusy` for a slot in use.
    """
    slot = Slot(path)
    with slot.locked() as mine:
        if not mine or slot.read().state == "held":
            raise WorkspaceBusy(f"{path.name} is in use")
        try:
            saved = clear(path)
            _dismantle(project, slot)
        except (git.GitError, Uncleanable) as error:
            raise WorkspaceError(str(error)) from error
    return saved


def set_up(path: Path, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
    """Run the project's set-up command in a workspace; `SetUpFailed` says why and how its output ended."""
    try:
        done = commands.run(argv, timeout=timeout, cwd=path, env=env)
    except OSError as error:
        raise SetUpFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
    if done.code != 0:
        reason = f"did not end within {timeout:g} seconds" if done.timed_out else f"failed ({done.code})"
        tail = (done.stdout + done.stderr)[-TAIL_BYTES:].decode("utf-8", "replace")
        raise SetUpFailed(f"{shlex.join(argv)} {reason}:\n{tail}")


def _source(project: Path, base_branch: str, branch: str) -> _Source:
    if not git.is_repository(project):
        raise NotARepository(f"{project} is not a git repository")
    repository = git.top(project)
    start = git.tip(repository, base_branch)
    if start:
        return _Source(repository, branch, base_branch, start)
    if not git.branches(repository):
        raise NoCommits(f"{project} has no commits yet: make a first one, so that there is something to start from")
    raise UnknownBase(f"{project} has no branch {base_branch}")


def _take(source: _Source, pool: Path, limit: int, holder: str) -> Workspace:
    """The first slot that can be had; each is judged again once its lock is taken."""
    unusable = []
    for slot in _candidates(pool, source.branch, limit):
        with slot.locked() as mine:
            record = slot.read()
            own = record.branch == source.branch
            if own and not mine:
                raise WorkspaceBusy(f"{slot.path.name} is just being prepared for {source.branch}")
            if not mine or (record.state == "held" and not own):
                continue
            try:
                return _prepare(slot, record, source, holder)
            except Unusable as error:
                unusable.append(str(error))
    raise PoolFull("; ".join([f"no slot of {pool.name} is free (limit {limit})", *unusable]))


def _candidates(pool: Path, branch: str, limit: int) -> list[Slot]:
    """Slots worth trying, best first: the ticket's own, clean ones, new ones, those with work to be saved."""
    present, absent = workspace_slots.existing(pool), workspace_slots.absent(pool, limit)
    own = [slot for slot in present + absent if slot.read().branch == branch]
    free = [slot for slot in present if slot not in own and slot.read().state != "held"]
    clean = [slot for slot in free if _is_clean(slot.path)]
    return own + clean + [slot for slot in absent if slot not in own] + [s for s in free if s not in clean]


def _prepare(slot: Slot, record: Record, source: _Source, holder: str) -> Workspace:
    """Make a locked slot hold the branch. Until it is written down as held, a crash leaves it to the next
    taker.
    """
    path, there = slot.path, _is_there(slot.path, source.repository)
    settled = record.branch == source.branch and record.state != "preparing"
    resumed = there and settled and git.current_branch(path) == source.branch
    saved = None
    if resumed:
        unlock(path)
    else:
        slot.write(Record("preparing", record.branch))
        if there:
            saved = _clear_or_restore(slot, record)
        slot.write(Record("preparing", source.branch))
        _check_out(source, path, there)
    slot.write(Record("held", source.branch, holder))
    return source.workspace(path, reused=there, resumed=resumed, saved=saved)


def _is_there(path: Path, repository: Path) -> bool:
    """Whether the slot is a worktree of this repository. Something else in its place is never touched."""
    if not path.exists():
        return False
    if not any(path.iterdir()):
        path.rmdir()
        return False
    if not git.is_repository(path) or git.top(path) != path.resolve():
        raise Unusable(f"{path.name} is not a worktree")
    if git.common_dir(path) != git.common_dir(repository):
        raise Unusable(f"{path.name} belongs to another repository")
    return True


def _clear_or_restore(slot: Slot, record: Record) -> str | None:
    try:
        return clear(slot.path)
    except (git.GitError, Uncleanable) as error:
        slot.write(record)
        raise Unusable(f"{slot.path.name} cannot be cleaned: {error}") from error


def _check_out(source: _Source, path: Path, there: bool) -> None:
    """Put the branch into the slot; made at the base if it is new."""
    known = git.branch_exists(source.repository, source.branch)
    made = () if known else ("--no-track", "-b", source.branch)
    at = source.branch if known else source.start
    if there:
        git.ask(path, "checkout", "--quiet", "--force", *made, at, "--", timeout=git.CHECKOUT_SECONDS)
        return
    worktrees.unregister(source.repository, path)
    git.ask(source.repository, "worktree", "add", "--quiet", *made, str(path), at, timeout=git.CHECKOUT_SECONDS)


def _dismantle(project: Path, slot: Slot) -> None:
    worktrees.unregister(project, slot.path)
    slot.forget()


def _is_clean(path: Path) -> bool:
    try:
        return not git.dirty(path)
    except git.GitError:
        return False


def _is_spent(path: Path, base_branch: str) -> bool:
    """Whether nothing in the slot is worth keeping: no uncommitted work, all commits in the base."""
    return _is_clean(path) and git.is_merged(path, "HEAD", f"refs/heads/{base_branch}")


def _identifier(identifier: str) -> str:
    if not IDENTIFIER.fullmatch(identifier):
        raise ValueError(f"not a ticket's identifier: {identifier!r}")
    return identifier
