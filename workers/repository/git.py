"""Mission Control's own git commands, isolated (see `isolation`), with time limits and typed errors.

Agents run their own git, unchanged.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from workers.host import commands

from . import isolation
from .isolation import GitError as GitError
from .isolation import GitFailed as GitFailed
from .isolation import GitHung as GitHung
from .isolation import GitMissing as GitMissing
from .isolation import GitPlace

TIMEOUT_SECONDS = 60.0
CHECKOUT_SECONDS = 300.0
"""The time limit of a command that writes a whole work tree."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

DIFF_OPTIONS = ("--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
"""A difference of commits names changed submodules, whatever `.gitmodules` says. None is looked into."""
PARTIAL_CLONE_HINT = (
    " (This is a partial clone, and Mission Control fetches nothing on demand, because an agent may choose the program"
    " for it. Fetch all objects once with: git fetch --refetch --no-filter)"
)
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
GITLINK_MODE = "160000"
UNCONVERTED_EOL = ("i/crlf", "i/mixed")
"""The line endings of a file in the index that `git add` may convert, as `git ls-files --eol` names them."""
MAX_PATH_ARGUMENTS = 500
PATHS_FROM_STDIN = ("--pathspec-from-file=-", "--pathspec-file-nul")
ASSUME_UNCHANGED = ("hs", "--no-assume-unchanged")
SKIP_WORKTREE = ("Ss", "--no-skip-worktree")
"""The tags of `git ls-files -v` for a bit that hides edits, and the option of `git update-index` that clears it."""
SHA1_LENGTH = 40
CHUNK_BYTES = 1 << 16
UNSAFE_REVISION = re.compile(r"^-|\.\.|[\x00-\x20\x7f]")
SHA_PATTERN = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, with its full hash and the first line of its message."""

    sha: str
    subject: str


@dataclass(frozen=True, slots=True)
class DiffStat:
    """The size of a change. Binary files count as changed with no lines."""

    files_changed: int
    insertions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class DiffText:
    """A unified diff, clipped after a number of bytes when `truncated`."""

    text: str
    truncated: bool


def run(
    folder: Path,
    *arguments: str,
    timeout: float = TIMEOUT_SECONDS,
    variables: Mapping[str, str] | None = None,
    keep: int = commands.MAX_OUTPUT_BYTES,
    stdin: bytes = b"",
) -> commands.CommandResult:
    """Run git in `folder`, isolated, and return its output and exit code. `variables` are added to its environment.

    Raises `GitMissing`, `GitHung` after `timeout` seconds, and `GitFailed` where there is no repository. The caller must
    check for an exit code other than 0.
    """
    call = isolation.build_call(folder, arguments, variables or {})
    try:
        done = commands.run(call.argv, timeout=timeout, cwd=folder, env=call.env, keep=keep, stdin=stdin)
    except OSError as error:
        if error.filename == call.argv[0]:
            raise GitMissing("git is not installed") from error
        raise GitFailed(f"git cannot be run in {folder}: {error.strerror}") from error
    if done.timed_out:
        raise GitHung(f"git {arguments[0]} did not end within {timeout:g} seconds")
    return done


def check_output(
    folder: Path,
    *arguments: str,
    timeout: float = TIMEOUT_SECONDS,
    variables: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> str:
    """Return git's output without the last newline. `GitFailed` with its stderr when it fails."""
    done = run(folder, *arguments, timeout=timeout, variables=variables, stdin=stdin)
    if done.truncated:
        raise GitFailed(f"git {arguments[0]} printed more than {commands.MAX_OUTPUT_BYTES} bytes")
    if done.code != 0:
        raise _describe_failure(folder, arguments, done)
    return done.text.removesuffix("\n")


def _describe_failure(folder: Path, arguments: Sequence[str], done: commands.CommandResult) -> GitFailed:
    message = f"git {arguments[0]} failed ({done.code}): {done.error_text}"
    if arguments[0] not in isolation.COMMANDS_WITHOUT_REPOSITORY and isolation.is_partial_clone(folder):
        message += PARTIAL_CLONE_HINT
    return GitFailed(message)


def is_repository(folder: Path) -> bool:
    """Return True when `folder` is in the work tree of a repository. Raises `GitFailed` for one of another user."""
    place = isolation.find_place(folder) if folder.is_dir() else None
    return place is not None and place.root is not None


def find_root(folder: Path) -> Path:
    """Find the root of the work tree that contains `folder`."""
    place = isolation.require_place(folder)
    if place.root is None:
        raise GitFailed(f"{folder} is not in a work tree")
    return place.root


def find_git_dir(folder: Path) -> Path:
    """Find the git directory of this work tree alone (HEAD, index, unfinished operations)."""
    return isolation.require_place(folder).git_dir


def find_common_dir(folder: Path) -> Path:
    """Find the git directory that all work trees of the repository share. It identifies the repository."""
    return isolation.require_place(folder).common_dir


def resolve_revision(folder: Path, revision: str) -> str | None:
    """Resolve a revision to the full hash of its commit, None when there is none."""
    commit = f"{validate_revision(revision)}^{{commit}}"
    output = run(folder, "rev-parse", "--quiet", "--verify", "--end-of-options", commit).text.strip()
    return output if SHA_PATTERN.fullmatch(output) else None


def resolve_head(folder: Path) -> str | None:
    """Resolve the commit that is checked out, None in a repository without commits."""
    return resolve_revision(folder, "HEAD")


def find_current_branch(folder: Path) -> str | None:
    """Find the branch that is checked out, unborn ones included. None when HEAD is detached."""
    return run(folder, "symbolic-ref", "--quiet", "HEAD").text.strip().removeprefix("refs/heads/") or None


def has_branch(folder: Path, branch: str) -> bool:
    return resolve_revision(folder, f"refs/heads/{validate_revision(branch)}") is not None


def list_branches(folder: Path) -> list[str]:
    """List local branches, the one with the newest commit first."""
    return check_output(
        folder, "for-each-ref", "--sort=-committerdate", "--format=%(refname:lstrip=2)", "refs/heads"
    ).splitlines()


def list_base_branches(folder: Path) -> list[str]:
    """List the branches that `resolve_branch` resolves: the local ones, and the recorded ones of origin."""
    places = ("--format=%(refname:lstrip=3)", "refs/remotes/origin")
    return [*list_branches(folder), *check_output(folder, "for-each-ref", *places).splitlines()]


def find_remote_branch(folder: Path, remote: str = "origin") -> str | None:
    """Find the remote's default branch, such as `main`, as far as the clone has recorded it."""
    prefix = f"refs/remotes/{validate_revision(remote)}/"
    output = run(folder, "symbolic-ref", "--quiet", f"{prefix}HEAD").text.strip()
    return output.removeprefix(prefix) or None


def find_default_branch(folder: Path) -> str | None:
    """Find the branch to start work from: the remote's default, else main, else master, else the current one."""
    present = list_branches(folder)
    for candidate in (find_remote_branch(folder), "main", "master", find_current_branch(folder)):
        if candidate in present:
            return candidate
    return None


def resolve_branch(folder: Path, branch: str) -> str | None:
    """Resolve the commit of a branch: the local one, else the recorded one of origin."""
    places = (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
    return next((sha for place in places if (sha := resolve_revision(folder, place))), None)


def find_merge_base(folder: Path, one: str, other: str) -> str | None:
    """Find the best common ancestor of two revisions. None when they have none."""
    return run(folder, "merge-base", validate_revision(one), validate_revision(other)).text.strip() or None


def is_merged(folder: Path, revision: str, into: str) -> bool:
    """Return True when every commit of `revision` is in `into` as well."""
    return run(folder, "merge-base", "--is-ancestor", validate_revision(revision), validate_revision(into)).code == 0


def list_commits(folder: Path, base: str, head: str = "HEAD", limit: int = 50, *, merges: bool = True) -> list[Commit]:
    """List the last `limit` commits of `head` that `base` lacks, newest first, with or without merges."""
    span = f"{validate_revision(base)}..{validate_revision(head)}"
    log_options = ("--no-color", f"--max-count={limit}", "--format=%H %s", *(() if merges else ("--no-merges",)))
    output = check_output(folder, "log", *log_options, "--end-of-options", span)
    return [Commit(*line.split(" ", 1)) for line in output.split("\n") if line]  # a subject may hold other line ends


def measure_diff(folder: Path, base: str, head: str = "HEAD") -> DiffStat:
    output = run_diff(folder, base, head, "--numstat", "-z", "--no-renames")
    counts = [entry.split("\t")[:2] for entry in output.split("\0") if entry]
    insertions, deletions = (sum(int(pair[side]) for pair in counts if pair[side] != "-") for side in (0, 1))
    return DiffStat(len(counts), insertions, deletions)


def run_diff(folder: Path, base: str, head: str, *options: str) -> str:
    """Return the difference of two commits in the form that `options` choose."""
    return check_output(folder, "diff", *DIFF_OPTIONS, *options, validate_revision(base), validate_revision(head), "--")


def read_diff(folder: Path, base: str, head: str = "HEAD", *, paths: Sequence[str] = (), max_bytes: int) -> DiffText:
    """Read the change from `base` to `head` as a unified diff of some or all files, clipped after `max_bytes`."""
    arguments = [validate_revision(base), validate_revision(head), "--", *paths]
    done = run(folder, "diff", *DIFF_OPTIONS, "--find-renames", *arguments, keep=max_bytes)
    if done.code != 0 and not done.truncated:
        raise _describe_failure(folder, ["diff"], done)
    return DiffText(done.stdout.decode("utf-8", "replace"), done.truncated)


# ------------------------------------------------------------------------------------------------- uncommitted changes


@dataclass(frozen=True, slots=True)
class DirtyPath:
    """A path with uncommitted changes. `is_edited` when only the content of its file differs, and only from the index."""

    path: str
    is_submodule: bool = False
    is_edited: bool = False


def list_dirty_paths(folder: Path, limit: int | None = None) -> list[str]:
    """List paths with uncommitted changes, including untracked (a new folder is one path) but not ignored ones."""
    return [
        change.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for change in find_dirty_paths(folder)[:limit]
    ]


def find_dirty_paths(folder: Path, *, untracked: Literal["no", "normal"] = "normal") -> list[DirtyPath]:
    """Find the paths with uncommitted changes, with or without untracked ones (a new folder is one path).

    A file that git calls changed only because it would convert it (line endings, Git LFS) is left out. A submodule
    counts when its own files have changes, which is seen in the same isolated way.
    """
    place = isolation.require_place(folder)
    options = ("--porcelain=v2", "-z", "--no-renames", f"--untracked-files={untracked}", "--ignore-submodules=dirty")
    entries = _list_records(folder, "status", *options)
    changes = [change for entry in entries if (change := _parse_status(place, entry))]
    present = {change.path for change in changes}
    edited = [path for path in _list_submodules(place) if path not in present and _is_submodule_dirty(place, path)]
    return changes + [DirtyPath(path, is_submodule=True) for path in edited]


def _parse_status(place: GitPlace, entry: str) -> DirtyPath | None:
    """Parse an entry of `git status --porcelain=v2`. None when the file is only in another form than it would be stored in."""
    if entry.startswith("1 "):
        _, state, submodule, _, index_mode, file_mode, _, blob, path = entry.split(" ", 8)
        is_edited = state == ".M" and submodule == "N..." and index_mode == file_mode
        if is_edited and place.root and _is_stored_as(place.root / path, blob):
            return None
        return DirtyPath(path, submodule != "N...", is_edited)
    return DirtyPath(entry.split(" ", 10)[-1] if entry.startswith("u ") else entry[2:])


def _is_stored_as(file: Path, blob: str) -> bool:
    """Return True when the blob is the content of a file byte by byte, or its Git LFS pointer."""
    hashers = hashlib.new("sha1" if len(blob) == SHA1_LENGTH else "sha256", usedforsecurity=False), hashlib.sha256()
    try:
        if file.is_symlink():
            return False
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            hashers[0].update(b"blob %d\0" % size)
            while chunk := stream.read(CHUNK_BYTES):
                for hasher in hashers:
                    hasher.update(chunk)
    except OSError:
        return False
    pointer = LFS_POINTER.format(digest=hashers[1].hexdigest(), size=size).encode()
    pointer_blob = hashlib.new(hashers[0].name, b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False)
    return blob in (hashers[0].hexdigest(), pointer_blob.hexdigest())


def _list_submodules(place: GitPlace) -> list[str]:
    """List the submodules that are checked out."""
    if place.root is None or not (place.root / ".gitmodules").exists():
        return []
    entries = [entry.partition("\t") for entry in _list_records(place.root, "ls-files", "--stage", "-z")]
    paths = [path for facts, _, path in entries if facts.startswith(GITLINK_MODE)]
    return [path for path in paths if (place.root / path / ".git").exists() and not (place.root / path).is_symlink()]


def _is_submodule_dirty(place: GitPlace, path: str) -> bool:
    assert place.root is not None
    folder = place.root / path
    return isolation.require_place(folder).root == folder and bool(find_dirty_paths(folder))


def stage_changes(folder: Path, changes: Sequence[DirtyPath], variables: Mapping[str, str] | None = None) -> None:
    """Stage these changes and no others. `variables` may name another index.

    `git add` looks into submodules, with their configuration, so it is not given any. Lines keep the endings that
    they have in the repository. Absent paths are removed last: in a folder with a `.git` and without tracked files, git
    would skip the new ones.
    """
    unconverted = _find_unconverted(folder, [change.path for change in changes if change.is_edited])
    paths = [change.path for change in changes if not change.is_submodule and change.path not in unconverted]
    absent_paths = {path for path in paths if _is_absent(folder, path)}
    submodules = [change.path for change in changes if change.is_submodule]
    _add_paths(folder, [path for path in paths if path not in absent_paths], variables)
    if absent_paths:
        remove = ("update-index", "--force-remove", "-z", "--stdin")
        check_output(folder, *remove, variables=variables, stdin=_join(sorted(absent_paths)))
    if submodules:
        update = ("update-index", "--add", "--remove", "-z", "--stdin")
        check_output(folder, *update, variables=variables, stdin=_join(submodules))
    for path in unconverted:
        blob = check_output(folder, "hash-object", "-w", "--no-filters", "--", path)
        entry = _join([f"{unconverted[path]} {blob}\t{path}"])
        check_output(folder, "update-index", "-z", "--index-info", variables=variables, stdin=entry)


def _is_absent(folder: Path, path: str) -> bool:
    """Return True when there is no such file. A file behind a link to a folder is another one, which git refuses to add."""
    file = folder / path
    return not os.path.lexists(file) or any((folder / parent).is_symlink() for parent in PurePath(path).parents[:-1])


def _add_paths(folder: Path, paths: Sequence[str], variables: Mapping[str, str] | None) -> None:
    """Add files, even ignored ones that an agent has added by force, and folders without their ignored files.

    Raises `GitFailed` for a file that git skips without an error, because its folder has a `.git`.
    """
    folders = {path for path in paths if (folder / path).is_dir() and not (folder / path).is_symlink()}
    files = [path for path in paths if path not in folders]
    for group, options in ((sorted(folders), ()), (files, ("--force",))):
        if group:
            add = ("add", "--all", "--sparse", *options, *PATHS_FROM_STDIN)
            check_output(folder, *add, timeout=CHECKOUT_SECONDS, variables=variables, stdin=_join(group))
    if files and (skipped_files := set(files).difference(_list_records(folder, "ls-files", "-z", variables=variables))):
        raise GitFailed(f"git add skips {min(skipped_files)!r} (is it in a repository of its own?)")


def restore_paths(folder: Path, paths: Sequence[str]) -> None:
    """Restore paths in the index and the work tree as HEAD has them. A path that HEAD lacks is removed."""
    if paths:
        checkout = ("checkout", "--quiet", "--no-overlay", "HEAD", *PATHS_FROM_STDIN)
        check_output(folder, *checkout, timeout=CHECKOUT_SECONDS, stdin=_join(paths))


def clear_hiding_bits(folder: Path) -> None:
    """Clear the index bits with which git ignores edits of tracked files, in submodules too.

    A file outside of a sparse checkout stays marked, because it does not exist.
    """
    place = isolation.require_place(folder)
    entries = [(entry[0], entry[2:]) for entry in _list_records(folder, "ls-files", "-v", "-z")]
    for tags, option in ASSUME_UNCHANGED, SKIP_WORKTREE:
        paths = [path for tag, path in entries if tag in tags and (tag == "h" or os.path.lexists(folder / path))]
        if paths:
            check_output(folder, "update-index", option, "-z", "--stdin", stdin=_join(paths))
    for path in _list_submodules(place):
        if isolation.require_place(folder / path).root == folder / path:
            clear_hiding_bits(folder / path)


def _find_unconverted(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """Find those files whose line endings git would change beside the edit, with their modes."""
    modes: dict[str, str] = {}
    for start in range(0, len(paths), MAX_PATH_ARGUMENTS):
        chunk = paths[start : start + MAX_PATH_ARGUMENTS]
        for entry in _list_records(folder, "ls-files", "--stage", "--eol", "-z", "--", *chunk):
            facts, eol, path = entry.split("\t", 2)
            if eol.startswith(UNCONVERTED_EOL):
                modes[path] = facts.split(" ")[0]
    return modes


def find_filters(folder: Path, paths: Sequence[str]) -> set[str]:
    """Find the names of the filters (such as `lfs`) that files of a work tree go through."""
    names: set[str] = set()
    for start in range(0, len(paths), MAX_PATH_ARGUMENTS):
        chunk = paths[start : start + MAX_PATH_ARGUMENTS]
        names.update(_list_records(folder, "check-attr", "-z", "filter", "--", *chunk)[2::3])
    return names - {"unspecified", "unset", "set"}


def _list_records(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> list[str]:
    """List the records of git's NUL-separated output. Names that are not UTF-8 stay as they are."""
    done = run(folder, *arguments, variables=variables)
    if done.code != 0:
        raise _describe_failure(folder, arguments, done)
    return [record for record in done.stdout.decode("utf-8", "surrogateescape").split("\0") if record]


def _join(paths: Sequence[str]) -> bytes:
    return "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")


def validate_revision(revision: str) -> str:
    """Return the revision or branch name, or raise ValueError if git could take it for an option or a range."""
    if not revision or UNSAFE_REVISION.search(revision):
        raise ValueError(f"Invalid revision: {revision!r}")
    return revision
