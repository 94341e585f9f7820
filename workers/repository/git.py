"""Mission Control's own git commands: no prompts, no hooks, bounded in time, with typed errors.

The repository belongs to an agent that may have configured it, so nothing it names is run by these commands
as far as git lets us say so: no hooks, no file system monitor, no external diff, no text conversion. Agents
run their own git, untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.host import commands

TIMEOUT = 60.0
CHECKOUT_SECONDS = 300.0
"""For what writes a whole work tree."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

UNSET = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CEILING_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_PARAMETERS"),
    *("GIT_CONFIG_COUNT", "GIT_PREFIX"),
)
"""What a surrounding git command (a hook, say) would make every git command below it act upon."""

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
STRANGE = re.compile(r"^-|\.\.|[\x00-\x20\x7f]")
SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class GitError(Exception):
    """git did not do what was asked."""


class GitMissing(GitError):
    """The git program is not installed."""


class GitFailed(GitError):
    """git refused a command."""


class GitHung(GitError):
    """git did not end in time."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: full hash and first line of its message."""

    sha: str
    subject: str


@dataclass(frozen=True, slots=True)
class DiffStat:
    """Size of a change; binary files count as changed with no lines."""

    files_changed: int
    insertions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class DiffText:
    """A unified diff, cut after a number of bytes when `truncated`."""

    text: str
    truncated: bool


def run(
    folder: Path,
    *arguments: str,
    timeout: float = TIMEOUT,
    variables: Mapping[str, str] | None = None,
    keep: int = commands.KEEP,
) -> commands.Completed:
    """Run git in `folder` and return what it said and whether it succeeded; `variables` join its
    environment.

    Raises `GitMissing`, and `GitHung` after `timeout` seconds. An exit code other than 0 is for the caller
    to judge.
    """
    given = {**VARIABLES, **(variables or {})}
    env = ["env", *(word for name in UNSET for word in ("-u", name) if name not in given)]
    assigned = [f"{name}={value}" for name, value in given.items()]
    argv = [*env, *assigned, "git", "--no-pager", *SETTINGS, *arguments]
    try:
        done = commands.run(argv, timeout=timeout, cwd=folder, keep=keep)
    except OSError as error:
        raise GitFailed(f"git cannot be run in {folder}: {error.strerror}") from error
    if done.timed_out:
        raise GitHung(f"git {arguments[0]} did not end within {timeout:g} seconds")
    if done.code == 127:
        raise GitMissing("git is not installed")
    return done


def ask(folder: Path, *arguments: str, timeout: float = TIMEOUT, variables: Mapping[str, str] | None = None) -> str:
    """What git prints, without the last newline; `GitFailed` with its complaint when it does not succeed."""
    done = run(folder, *arguments, timeout=timeout, variables=variables)
    if done.truncated:
        raise GitFailed(f"git {arguments[0]} printed more than {commands.KEEP} bytes")
    if done.code != 0:
        raise GitFailed(f"git {arguments[0]} failed ({done.code}): {done.complaint}")
    return done.text.removesuffix("\n")


def is_repository(folder: Path) -> bool:
    """Whether `folder` lies in the work tree of a repository."""
    return folder.is_dir() and run(folder, "rev-parse", "--is-inside-work-tree").stdout == b"true\n"


def top(folder: Path) -> Path:
    """The root of the work tree `folder` lies in."""
    return Path(ask(folder, "rev-parse", "--show-toplevel"))


def git_dir(folder: Path) -> Path:
    """Where git keeps what belongs to this work tree alone (HEAD, index, unfinished operations)."""
    return Path(ask(folder, "rev-parse", "--absolute-git-dir"))


def common_dir(folder: Path) -> Path:
    """Where git keeps what all work trees of the repository share; tells one repository from another."""
    return (folder / ask(folder, "rev-parse", "--git-common-dir")).resolve()


def resolve(folder: Path, revision: str) -> str | None:
    """The full hash of the commit a revision names, or None when it names none."""
    commit = f"{checked(revision)}^{{commit}}"
    said = run(folder, "rev-parse", "--quiet", "--verify", "--end-of-options", commit).text.strip()
    return said if SHA.fullmatch(said) else None


def head(folder: Path) -> str | None:
    """The commit that is checked out; None in a repository without commits."""
    return resolve(folder, "HEAD")


def current_branch(folder: Path) -> str | None:
    """The branch that is checked out, unborn ones included; None when HEAD is detached."""
    return run(folder, "symbolic-ref", "--quiet", "--short", "HEAD").text.strip() or None


def branch_exists(folder: Path, branch: str) -> bool:
    return resolve(folder, f"refs/heads/{checked(branch)}") is not None


def branches(folder: Path) -> list[str]:
    """Local branches, the one committed to last first."""
    return ask(folder, "for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", "refs/heads").splitlines()


def remote_head(folder: Path, remote: str = "origin") -> str | None:
    """The branch the remote calls its own default, such as `main`, as far as the clone remembers it."""
    prefix = f"refs/remotes/{checked(remote)}/"
    said = run(folder, "symbolic-ref", "--quiet", f"{prefix}HEAD").text.strip()
    return said.removeprefix(prefix) or None


def default_branch(folder: Path) -> str | None:
    """The branch to start work from: the remote's default, else main, else master, else what is checked
    out.
    """
    present = branches(folder)
    for candidate in (remote_head(folder), "main", "master", current_branch(folder)):
        if candidate in present:
            return candidate
    return None


def tip(folder: Path, branch: str) -> str | None:
    """The commit of a branch: the local one, else that which origin is remembered to have."""
    places = (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
    return next((sha for place in places if (sha := resolve(folder, place))), None)


def merge_base(folder: Path, one: str, other: str) -> str | None:
    """The best common ancestor of two revisions; None when they have none."""
    return run(folder, "merge-base", checked(one), checked(other)).text.strip() or None


def is_merged(folder: Path, revision: str, into: str) -> bool:
    """Whether every commit of `revision` is in `into` as well."""
    return run(folder, "merge-base", "--is-ancestor", checked(revision), checked(into)).code == 0


def commits(folder: Path, base: str, head: str = "HEAD", limit: int = 50, *, merges: bool = True) -> list[Commit]:
    """The last `limit` commits that `head` has and `base` has not, newest first; with or without merges."""
    span = f"{checked(base)}..{checked(head)}"
    shown = ("--no-color", f"--max-count={limit}", "--format=%H %s", *(() if merges else ("--no-merges",)))
    said = ask(folder, "log", *shown, "--end-of-options", span)
    return [Commit(*line.split(" ", 1)) for line in said.split("\n") if line]  # a subject may hold other line ends


def diff_stat(folder: Path, base: str, head: str = "HEAD") -> DiffStat:
    said = ask(folder, "diff", *PLAIN_DIFF, "--numstat", "-z", "--no-renames", checked(base), checked(head), "--")
    counts = [entry.split("\t")[:2] for entry in said.split("\0") if entry]
    added, removed = (sum(int(pair[side]) for pair in counts if pair[side] != "-") for side in (0, 1))
    return DiffStat(len(counts), added, removed)


def diff_text(folder: Path, base: str, head: str = "HEAD", *, paths: Sequence[str] = (), max_bytes: int) -> DiffText:
    """The change from `base` to `head` as a unified diff, of some files or of all, cut after `max_bytes`."""
    wanted = [checked(base), checked(head), "--", *paths]
    done = run(folder, "diff", *PLAIN_DIFF, "--find-renames", *wanted, keep=max_bytes)
    if done.code != 0 and not done.truncated:
        raise GitFailed(f"git diff failed ({done.code}): {done.complaint}")
    return DiffText(done.stdout.decode("utf-8", "replace"), done.truncated)


def dirty(folder: Path, limit: int | None = None) -> list[str]:
    """Paths with uncommitted changes, untracked ones included (a new folder is one path), ignored ones not."""
    said = ask(folder, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
    return [entry[3:] for entry in said.split("\0") if entry][:limit]


def checked(revision: str) -> str:
    """The revision or branch name itself; ValueError for one that git could take for an option or a range."""
    if not revision or STRANGE.search(revision):
        raise ValueError(f"not a revision: {revision!r}")
    return revision
