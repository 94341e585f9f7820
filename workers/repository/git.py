"""Mission Control's own git commands, without prompts and hooks, with time limits and typed errors.

The agent may have changed the repository's configuration, so these commands run nothing that it names,
as far as git allows: no hooks, no file system monitor, no external diff, no text conversion. Agents
run their own git, unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.host import commands

TIMEOUT_SECONDS = 60.0
CHECKOUT_SECONDS = 300.0
"""The time limit of a command that writes a whole work tree."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

UNSET_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CEILING_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_PARAMETERS"),
    *("GIT_CONFIG_COUNT", "GIT_PREFIX"),
)
"""Variables of an enclosing git command (such as a hook) that would redirect every git command below it."""

VARIABLES = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "LC_ALL": "C.UTF-8",
}

SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"),
    *("-c", "diff.external=", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "commit.gpgSign=false", "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false"),
    *("-c", "merge.autoStash=false"),
)

PLAIN_DIFF = ("--no-color", "--no-ext-diff", "--no-textconv")
UNSAFE_REVISION = re.compile(r"^-|\.\.|[\x00-\x20\x7f]")
SHA_PATTERN = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class GitError(Exception):
    """A git command failed."""


class GitMissing(GitError):
    """The git program is not installed."""


class GitFailed(GitError):
    """git exited with an error."""


class GitHung(GitError):
    """git did not exit in time."""


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
    """Run git in `folder` and return its output and exit code. `variables` are added to its environment.

    Raises `GitMissing`, and `GitHung` after `timeout` seconds. The caller must check for an exit code other than 0.
    """
    environment = {**VARIABLES, **(variables or {})}
    env = ["env", *(word for name in UNSET_VARIABLES for word in ("-u", name) if name not in environment)]
    assigned = [f"{name}={value}" for name, value in environment.items()]
    argv = [*env, *assigned, "git", "--no-pager", *SETTINGS, *arguments]
    try:
        done = commands.run(argv, timeout=timeout, cwd=folder, keep=keep, stdin=stdin)
    except OSError as error:
        raise GitFailed(f"git cannot be run in {folder}: {error.strerror}") from error
    if done.timed_out:
        raise GitHung(f"git {arguments[0]} did not end within {timeout:g} seconds")
    if done.code == 127:
        raise GitMissing("git is not installed")
    return done


def check_output(
    folder: Path, *arguments: str, timeout: float = TIMEOUT_SECONDS, variables: Mapping[str, str] | None = None
) -> str:
    """Return git's output without the last newline. `GitFailed` with its stderr when it fails."""
    done = run(folder, *arguments, timeout=timeout, variables=variables)
    if done.truncated:
        raise GitFailed(f"git {arguments[0]} printed more than {commands.MAX_OUTPUT_BYTES} bytes")
    if done.code != 0:
        raise GitFailed(f"git {arguments[0]} failed ({done.code}): {done.error_text}")
    return done.text.removesuffix("\n")


def is_repository(folder: Path) -> bool:
    """Return True when `folder` is in the work tree of a repository."""
    return folder.is_dir() and run(folder, "rev-parse", "--is-inside-work-tree").stdout == b"true\n"


def find_root(folder: Path) -> Path:
    """Find the root of the work tree that contains `folder`."""
    return Path(check_output(folder, "rev-parse", "--show-toplevel"))


def find_git_dir(folder: Path) -> Path:
    """Find the git directory of this work tree alone (HEAD, index, unfinished operations)."""
    return Path(check_output(folder, "rev-parse", "--absolute-git-dir"))


def find_common_dir(folder: Path) -> Path:
    """Find the git directory that all work trees of the repository share. It identifies the repository."""
    return (folder / check_output(folder, "rev-parse", "--git-common-dir")).resolve()


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
    output = check_output(
        folder,
        "diff",
        *PLAIN_DIFF,
        "--numstat",
        "-z",
        "--no-renames",
        validate_revision(base),
        validate_revision(head),
        "--",
    )
    counts = [entry.split("\t")[:2] for entry in output.split("\0") if entry]
    insertions, deletions = (sum(int(pair[side]) for pair in counts if pair[side] != "-") for side in (0, 1))
    return DiffStat(len(counts), insertions, deletions)


def read_diff(folder: Path, base: str, head: str = "HEAD", *, paths: Sequence[str] = (), max_bytes: int) -> DiffText:
    """Read the change from `base` to `head` as a unified diff of some or all files, clipped after `max_bytes`."""
    arguments = [validate_revision(base), validate_revision(head), "--", *paths]
    done = run(folder, "diff", *PLAIN_DIFF, "--find-renames", *arguments, keep=max_bytes)
    if done.code != 0 and not done.truncated:
        raise GitFailed(f"git diff failed ({done.code}): {done.error_text}")
    return DiffText(done.stdout.decode("utf-8", "replace"), done.truncated)


def list_dirty_paths(folder: Path, limit: int | None = None) -> list[str]:
    """List paths with uncommitted changes, including untracked (a new folder is one path) but not ignored ones."""
    output = check_output(folder, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
    return [entry[3:] for entry in output.split("\0") if entry][:limit]


def validate_revision(revision: str) -> str:
    """Return the revision or branch name, or raise ValueError if git could take it for an option or a range."""
    if not revision or UNSAFE_REVISION.search(revision):
        raise ValueError(f"Invalid revision: {revision!r}")
    return revision
