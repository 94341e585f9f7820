"""Workspaces of runs: a git worktree from the project's pool, or an empty folder without a project.

A run's branch and its uncommitted work stay in its slot for the ticket's next run. When another
ticket needs the slot, uncommitted work is first saved as a commit under `refs/mc/saved/<branch>/<time>`;
nothing is ever deleted unsaved. Ignored files (installed packages, build caches) stay in a reused slot,
since they make reuse fast; a project that does not want them removes them in its set-up command. A slot with submodules
is not reused for another ticket, because git runs the commands that the submodules' own settings name.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redaction import Redaction
from workers.host import commands

from . import git, old_slots, workspace_slots, worktrees
from . import projects as repositories
from .old_slots import OldSlot
from .submodules import has_modules
from .workspace_slots import SlotRecord, WorkspaceSlot
from .worktree_cleanup import Uncleanable, clean_worktree, read_changes, remove_locks

MAX_SLUG_LENGTH = 40
TAIL_BYTES = 4000
BRANCH_PATTERN = re.compile(r"mc/[A-Za-z0-9][A-Za-z0-9-]*")
IDENTIFIER_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9]*-[0-9]+")


class WorkspaceError(Exception):
    """No workspace is available."""


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


class UnusableSlot(WorkspaceError):
    """This slot cannot be used, but another one may."""


class SetUpFailed(WorkspaceError):
    """The project's set-up command did not succeed."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder in which a run works. The git fields are None in a folder without a project.

    `reused` when the folder existed before. `resumed` when it is as the ticket's last run left it, with uncommitted
    work. `saved` is the ref under which the slot's earlier uncommitted work was saved. `notes` are for the project's
    page: the submodules that the workspace lacks, None where that was not examined.
    """

    path: Path
    repository: Path | None
    branch: str | None
    base_sha: str | None
    base_branch: str | None
    reused: bool
    resumed: bool = False
    saved: str | None = None
    notes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """The branch to check out. `start` is the base branch's commit, `commit` the one at which a new branch begins."""

    repository: Path
    branch: str
    base_branch: str
    start: str
    commit: str

    def workspace(self, path: Path, *, reused: bool, resumed: bool, saved_ref: str | None) -> Workspace:
        base = git.find_merge_base(path, "HEAD", self.start) or self.start
        return Workspace(path, self.repository, self.branch, base, self.base_branch, reused, resumed, saved_ref)


def slugify(title: str) -> str:
    """Convert a title to a part of a branch name: lower-case ASCII letters, digits and single hyphens, possibly empty."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG_LENGTH].strip("-")


def format_branch_name(identifier: str, title: str) -> str:
    """Format the branch name of a ticket: `mc/MC-3-fix-typo`, or `mc/MC-3` for a title without any ASCII letter."""
    return f"mc/{_validate_identifier(identifier)}-{slugify(title)}".rstrip("-")


def acquire(
    project: Path, base_branch: str, branch: str, pool: Path, limit: int, holder: str, commit: str | None = None
) -> Workspace:
    """Acquire a worktree of the repository at `project` on `branch`, in an exclusive slot of `pool`.

    1. The slot last prepared for this branch, as it is, with uncommitted work.
    2. Else a free slot without uncommitted work, or a new one while there are fewer than `limit`.
    3. Else a free slot whose uncommitted work is saved first.

    A new branch starts at `base_branch`, or at `commit`; an existing one continues, and `base_sha` is where it left the base.
    The project's own folder is not touched. `holder` (a run) holds the slot, even when this process dies,
    until `release` or until the same branch is acquired again. Raises `WorkspaceError`.
    """
    if not BRANCH_PATTERN.fullmatch(branch):
        raise ValueError(f"Invalid ticket branch: {branch!r}")
    try:
        repository, start = find_start(project, base_branch)
        source = _Source(repository, branch, base_branch, start, commit or start)
        pool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _take_slot(source, pool, limit, holder)
    except (git.GitError, OSError) as error:
        raise WorkspaceError(str(error)) from error


def make_scratch_folder(folder: Path, identifier: str) -> Workspace:
    """Make an empty folder for a ticket without a project, or return its existing one."""
    path = folder / _validate_identifier(identifier)
    there = path.exists()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Workspace(path, None, None, None, None, reused=there, resumed=there)


def release(path: Path, holder: str) -> None:
    """Release the slot at `path`. Its content stays until another ticket needs the slot.

    Does nothing when another run holds the slot by now, so a late release of an earlier run is harmless.
    """
    slot = WorkspaceSlot(path)
    with slot.locked() as mine:
        record = slot.read()
        if mine and record.state == "held" and record.holder == holder:
            slot.write(SlotRecord("free", record.branch))


def list_slots(pool: Path) -> dict[Path, SlotRecord]:
    """List the slots of a pool with their records."""
    return {slot.path: slot.read() for slot in workspace_slots.list_existing(pool)}


def list_held_slots(pool: Path) -> dict[Path, str | None]:
    """List the slots in use with their holders, None where the record cannot be read."""
    return {path: record.holder for path, record in list_slots(pool).items() if record.state == "held"}


def prune(project: Path, base_branch: str, pool: Path) -> list[Path]:
    """Remove the free slots that are clean and whose branch is merged into the base. Branches stay."""
    paths = []
    for slot in workspace_slots.list_existing(pool):
        with slot.locked() as mine:
            if mine and slot.read().state == "free" and _is_disposable(slot.path, base_branch):
                _remove_slot(project, slot)
                paths.append(slot.path)
    return paths


def set_aside(project: Path, path: Path, holders: Container[str | None]) -> OldSlot | None:
    """Set a slot aside on a person's request. `holders` are those of live runs. Raises `WorkspaceBusy`, `WorkspaceError`."""
    slot = WorkspaceSlot(path)
    with slot.locked() as mine:
        record = _require_idle(slot, holders, mine)
        old_slot = _set_aside(find_repository(project), slot, record, "A person asked for it.")
        slot.forget()
    return old_slot


def _require_idle(slot: WorkspaceSlot, holders: Container[str | None], mine: bool) -> SlotRecord:
    """Return the record of a locked slot that no live run holds. An unreadable record has no holder."""
    record = slot.read()
    if not mine or record.holder in holders:
        raise WorkspaceBusy(f"{slot.path.name} is in use by a run. Stop the run first.")
    return record


def discard(project: Path, path: Path, holders: Container[str | None]) -> str | None:
    """Remove a slot on a person's request. Returns the ref under which its uncommitted work is saved.

    The branch stays, ignored files are deleted. `holders` are those of live runs. Raises `WorkspaceBusy`,
    `WorkspaceError`.
    """
    slot = WorkspaceSlot(path)
    with slot.locked() as mine:
        _require_idle(slot, holders, mine)
        try:
            if fault := _find_fault(project, path):
                raise Uncleanable(f"{path.name} cannot be cleaned. {fault} Set it aside instead.")
            saved_ref = clean_worktree(path)
            _remove_slot(project, slot)
        except (git.GitError, Uncleanable, OSError) as error:
            raise WorkspaceError(str(error)) from error
    return saved_ref


def run_set_up(path: Path, argv: Sequence[str], env: Mapping[str, str], timeout: float, redaction: Redaction) -> None:
    """Run the project's set-up command in a workspace. `SetUpFailed` has the reason and the end of the output."""
    try:
        done = commands.run(argv, timeout=timeout, cwd=path, env=env)
    except OSError as error:
        raise SetUpFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
    if done.code != 0:
        reason = f"did not end within {timeout:g} seconds" if done.timed_out else f"failed ({done.code})"
        tail = redaction.clean_text((done.stdout + done.stderr).decode("utf-8", "replace"), TAIL_BYTES, "end")
        raise SetUpFailed(f"{shlex.join(argv)} {reason}:\n{tail}")


def find_repository(project: Path) -> Path:
    """Find the repository of a project's folder. Raises `NotARepository`, and `git.GitError` with git's own remedy."""
    repository = repositories.find_repository(project)
    if repository is None:
        raise NotARepository(f"{project} is not a git repository")
    return repository


def find_start(project: Path, base_branch: str) -> tuple[Path, str]:
    """Find a project's repository and the commit of its base branch. Raises `WorkspaceError`, `git.GitError`."""
    repository = find_repository(project)
    start = git.resolve_branch(repository, base_branch)
    if start:
        return repository, start
    if not git.list_branches(repository):
        raise NoCommits(f"{project} has no commits yet: make a first one, so that there is something to start from")
    raise UnknownBase(f"{project} has no branch {base_branch}")


def _take_slot(source: _Source, pool: Path, limit: int, holder: str) -> Workspace:
    """Take the first available slot. Each is checked again under its lock."""
    unusable = []
    for slot in _list_candidates(pool, source.branch, limit):
        with slot.locked() as mine:
            record = slot.read()
            own = record.branch == source.branch
            if own and not mine:
                raise WorkspaceBusy(f"{slot.path.name} is just being prepared for {source.branch}")
            if not mine or (record.state == "held" and not own):
                continue
            try:
                return _prepare_slot(slot, record, source, holder)
            except UnusableSlot as error:
                unusable.append(str(error))
    raise PoolFull("; ".join([f"no slot of {pool.name} is free (limit {limit})", *unusable]))


def _list_candidates(pool: Path, branch: str, limit: int) -> list[WorkspaceSlot]:
    """List candidate slots, best first: the ticket's own, clean ones, new ones, those with work to be saved."""
    present, absent = workspace_slots.list_existing(pool), workspace_slots.list_absent(pool, limit)
    own = [slot for slot in present + absent if slot.read().branch == branch]
    free = [slot for slot in present if slot not in own and slot.read().state != "held"]
    clean = [slot for slot in free if _is_clean(slot.path)]
    return own + clean + [slot for slot in absent if slot not in own] + [s for s in free if s not in clean]


def _prepare_slot(slot: WorkspaceSlot, record: SlotRecord, source: _Source, holder: str) -> Workspace:
    """Check the branch out in a locked slot. Until its record says held, a crash leaves the slot free."""
    path = slot.path
    there = _reuse_worktree(source.repository, slot, record)
    is_prepared = record.branch == source.branch and record.state != "preparing"
    resumed = there and is_prepared and _is_resumable(path, source.branch)
    saved_ref = None
    if not resumed:
        slot.write(SlotRecord("preparing", record.branch))
        if there:
            there, saved_ref = _clear_slot(source.repository, slot, record)
        slot.write(SlotRecord("preparing", source.branch))
        there = there and _try_check_out(source, slot, record)
        if not there:
            _add_worktree(source, path)
    slot.write(SlotRecord("held", source.branch, holder))
    return source.workspace(path, reused=there, resumed=resumed, saved_ref=saved_ref)


def _reuse_worktree(repository: Path, slot: WorkspaceSlot, record: SlotRecord) -> bool:
    """Return True when the slot is a worktree of this repository. Anything else in its path is set aside."""
    path = slot.path
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if not path.exists() and not path.is_symlink():
        return False
    if fault := _find_fault(repository, path):
        _set_aside(repository, slot, record, fault)
        return False
    return True


def _find_fault(repository: Path, path: Path) -> str | None:
    """Find the reason why a slot is no usable worktree of this repository. A lost connection is repaired."""
    try:
        if not worktrees.is_work_tree_root(path):
            worktrees.repair_worktree(repository, path, path)
        if not git.is_repository(path) or not worktrees.is_work_tree_root(path):
            return "It is not a worktree."
        if git.find_common_dir(path) != git.find_common_dir(repository):
            return "It belongs to another repository."
    except git.GitError as error:
        return f"git cannot use it safely: {error}"
    return None


def _is_resumable(path: Path, branch: str) -> bool:
    """Return True when the branch is checked out, and no lock file of a killed git is left."""
    if git.find_current_branch(path) != branch:
        return False
    with suppress(OSError):
        remove_locks(path)
        return True
    return False


def _clear_slot(repository: Path, slot: WorkspaceSlot, record: SlotRecord) -> tuple[bool, str | None]:
    """Clean a slot, or set it aside. Returns whether the worktree is still there, and the ref of the saved work."""
    try:
        saved_ref = clean_worktree(slot.path)
    except (git.GitError, Uncleanable, OSError) as error:
        _set_aside(repository, slot, record, f"It could not be cleaned: {error}")
        return False, None
    if has_modules(slot.path):
        _set_aside(repository, slot, record, "It has submodules, whose git folders an agent may have changed.")
        return False, saved_ref
    return True, saved_ref


def _set_aside(repository: Path, slot: WorkspaceSlot, record: SlotRecord, reason: str) -> OldSlot | None:
    try:
        return old_slots.set_aside(repository, slot.path, record.branch, reason)
    except OSError as error:
        raise UnusableSlot(f"{slot.path.name} cannot be set aside: {error}") from error


def _try_check_out(source: _Source, slot: WorkspaceSlot, record: SlotRecord) -> bool:
    """Check out the branch in a clean worktree. A slot in which that fails is set aside."""
    options, at = _choose_start(source)
    checkout = ("checkout", "--quiet", "--force", *options, at, "--")
    try:
        git.check_output(slot.path, *checkout, timeout=git.CHECKOUT_SECONDS)
    except git.GitFailed as error:
        if _is_in_use(source, slot.path):
            raise  # it would fail in a fresh slot too
        _set_aside(source.repository, slot, record, f"The branch cannot be checked out in it: {error}")
        return False
    return True


def _is_in_use(source: _Source, path: Path) -> bool:
    """Return True when another work tree than that at `path` has the branch checked out, or rebases it."""
    checkouts = worktrees.find_checkouts(source.repository, source.branch)
    return bool({*checkouts, worktrees.find_rebase(source.repository, source.branch)} - {path.resolve(), None})


def _add_worktree(source: _Source, path: Path) -> None:
    """Add a worktree of the branch in the place of the slot."""
    options, at = _choose_start(source)
    worktrees.remove_worktree(source.repository, path)
    worktrees.prune_worktrees(source.repository, source.branch)
    worktrees.add_worktree(source.repository, path, *options, at=at)


def _choose_start(source: _Source) -> tuple[tuple[str, ...], str]:
    """Choose the options and the start with which git checks the branch out."""
    if git.has_branch(source.repository, source.branch):
        return (), source.branch
    return ("--no-track", "-b", source.branch), source.commit


def _remove_slot(project: Path, slot: WorkspaceSlot) -> None:
    worktrees.remove_worktree(project, slot.path)
    slot.forget()


def _is_clean(path: Path) -> bool:
    try:
        return read_changes(path).is_empty
    except git.GitError:
        return False


def _is_disposable(path: Path, base_branch: str) -> bool:
    """Return True when nothing in the slot needs saving: no uncommitted work, all commits in the base."""
    is_unchanged = worktrees.is_work_tree_root(path) and _is_clean(path)
    return is_unchanged and git.is_merged(path, "HEAD", f"refs/heads/{base_branch}")


def _validate_identifier(identifier: str) -> str:
    if not IDENTIFIER_PATTERN.fullmatch(identifier):
        raise ValueError(f"Invalid ticket identifier: {identifier!r}")
    return identifier
