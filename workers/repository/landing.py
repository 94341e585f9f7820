"""Land a ticket's commits on its base branch or a remote, without touching anyone's work tree.

1. If an earlier attempt has moved the base branch already, there is nothing left to do.
2. Merge or squash the verified commit onto the base branch's head, in a scratch work tree.
3. Let the caller inspect the result (for example run the check command) before anything else has changed.
4. Point a reference of this landing at the new commit, so that after a crash it is known whether 5 has happened.
5. Move the base branch from the head found in 2, by compare-and-swap. A work tree that has the branch checked out is
   updated, or refuses because uncommitted changes would be overwritten. If the branch has moved meanwhile, start again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.host import commands

from . import git, isolation, projects, worktrees

MAX_ATTEMPTS = 5
MAX_SUBJECTS = 50
PUSH_SECONDS = 600.0
REFERENCE_PREFIX = "refs/mc/landing"
IDENTITY_OPTIONS = ("-c", "user.useConfigOnly=true")
"""git must not make up a name and an address from the machine's."""
CREDENTIALS_PATTERN = re.compile(r"(?<=://)[^/\s]+@")


class LandingError(Exception):
    """The ticket cannot be landed. The message gives the reason and what a person should do."""


class MergeConflict(LandingError):
    """The commits conflict with the base branch in `files`."""

    def __init__(self, base: str, files: list[str]) -> None:
        super().__init__(f"It conflicts with {base} in {', '.join(files)}.")
        self.files = files


@dataclass(frozen=True, slots=True)
class LandingJob:
    """The landing of the verified `commit` of `branch`. `key` distinguishes it from the ticket's other landings.

    `address` is where a person said to push to, None when nobody has. `sign` when landing commits must be signed.
    """

    repository: Path
    base: str
    branch: str
    commit: str
    identifier: str
    title: str
    key: int
    address: str | None = None
    sign: bool = False

    @property
    def reference(self) -> str:
        return f"{REFERENCE_PREFIX}/{self.identifier}/{self.key}"

    @property
    def subject(self) -> str:
        return f"{self.identifier}: {self.title}"


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The commit with which the base branch contains the work. `already` when it did before any landing.

    `note` is a sentence about the folder that has the base branch checked out, after a space.
    """

    commit: str
    already: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class MergeCandidate:
    """A commit for the base branch's head `base`, not yet on the branch. `tested` when its files equal those of the
    verified commit."""

    commit: str
    base: str
    tested: bool


def merge_onto_base(
    job: LandingJob, scratch: Path, *, squash: bool, look: Callable[[MergeCandidate], None]
) -> MergeResult:
    """Merge or squash onto the base branch.

    `look` inspects the result, checked out in `scratch`, and may raise. Raises `MergeConflict`, `LandingError`,
    `git.GitError`.
    """
    _require_repository(job)
    for _ in range(MAX_ATTEMPTS):
        base = _resolve_base(job)
        if done := _find_merged(job, base):
            return done
        _require_verified(job)
        _require_name(job)
        with worktrees.check_out_detached(job.repository, scratch, base):
            candidate = _prepare_merge(job, scratch, base, squash)
            if candidate is None:
                return MergeResult(base, already=True)
            look(candidate)
            if _move_base(job, candidate):
                return MergeResult(candidate.commit, already=False, note=_describe_checkout(job, candidate))
    raise LandingError(f"The branch {job.base} keeps moving. Approve again when nothing else is changing it.")


def push_branch(job: LandingJob) -> str:
    """Push the verified commit as the ticket's branch. Returns the address. Raises `LandingError`, `git.GitError`.

    It goes to the recorded address, never to a remote of the repository's configuration, where an agent may write.
    """
    _require_repository(job)
    _require_verified(job)
    address = require_address(job)
    target = f"{job.commit}:refs/heads/{job.branch}"
    done = git.run(job.repository, "push", "--quiet", "--no-follow-tags", "--", address, target, timeout=PUSH_SECONDS)
    if done.code != 0:
        raise LandingError(
            f"{strip_credentials(address)} did not take {job.branch}: {format_error(done)} Resolve that with git push,"
            " then approve again."
        )
    return strip_credentials(address)


def require_address(job: LandingJob) -> str:
    """Return the recorded address to push to. Without one, the error names what the repository's configuration has."""
    if job.address:
        return job.address
    present = find_remote_address(job.repository, job.base)
    hint = (
        f"The repository's remote is {strip_credentials(present)}: if that is right, enter it there"
        if present
        else "Enter one there"
    )
    raise LandingError(
        f"There is nowhere to push to: the project's settings have no push address. {hint}, then approve again, or"
        " approve another way."
    )


def find_remote_address(repository: Path, branch: str) -> str | None:
    """Find the address that the configuration names for pushes: of the branch's remote, else of origin, else of the only one.

    An agent may have written it, so a person must confirm it.
    """
    settings = {setting.key: setting.value for setting in isolation.list_settings(repository)}
    urls = {name: url for key, url in settings.items() if (name := _parse_remote_name(key, ".url"))}
    urls |= {name: url for key, url in settings.items() if (name := _parse_remote_name(key, ".pushurl"))}
    only = next(iter(urls), "") if len(urls) == 1 else ""
    candidates = (settings.get(f"branch.{branch}.remote", ""), "origin", only)
    return next((urls[name] for name in candidates if name in urls), None)


def _parse_remote_name(key: str, ending: str) -> str | None:
    is_address = key.startswith("remote.") and key.endswith(ending)
    return key.removeprefix("remote.").removesuffix(ending) if is_address else None


def describe_upload(job: LandingJob) -> str:
    """Describe that the large files of a pushed branch were not uploaded, empty when it changes none."""
    base = git.resolve_branch(job.repository, job.base)
    fork = git.find_merge_base(job.repository, base, job.commit) if base else None
    if not fork or "lfs" not in _find_filters(job.repository, fork, job.commit):
        return ""
    return f" LFS: off. The large files themselves were not uploaded: run git lfs push in {job.repository}."


def _describe_filters(folder: Path, base: str, head: str) -> str:
    """Describe the filters (such as Git LFS) that were not applied to the changed files, empty without any.

    Mission Control runs a filter only when it stands in the operator's own configuration.
    """
    installed = {
        setting.key.split(".")[1]
        for setting in isolation.list_settings(folder)
        if setting.is_users and setting.key.startswith("filter.")
    }
    missing = sorted(_find_filters(folder, base, head) - installed)
    if not missing:
        return ""
    label = ", ".join("LFS" if name == "lfs" else f"filter {name}" for name in missing)
    return (
        f" {label}: off. The changed files that go through it are in {folder} as they are stored, because it is not"
        " in your own git configuration (~/.gitconfig)."
    )


def _find_filters(folder: Path, base: str, head: str) -> set[str]:
    """Find the names of the filters that changed files go through."""
    try:
        names = git.run_diff(folder, base, head, "--name-only", "-z", "--no-renames").split("\0")[:-1]
        return git.find_filters(folder, names)
    except git.GitError:  # a note must not fail a landing that has happened
        return set()


def delete_references(job: LandingJob) -> None:
    """Delete the references of this ticket's landings, whose results are recorded elsewhere."""
    output = git.check_output(
        job.repository, "for-each-ref", "--format=%(refname)", f"{REFERENCE_PREFIX}/{job.identifier}/"
    )
    for reference in output.splitlines():
        git.run(job.repository, "update-ref", "-d", reference)


def list_subjects(job: LandingJob) -> list[str]:
    """List the subjects of the commits that the branch adds to its base, oldest first."""
    base = git.resolve_branch(job.repository, job.base)
    added = git.list_commits(job.repository, base, job.commit, MAX_SUBJECTS, merges=False) if base else []
    return [commit.subject for commit in reversed(added)]


def strip_credentials(text: str) -> str:
    """Remove user names and passwords from the addresses in a text."""
    return CREDENTIALS_PATTERN.sub("", text)


def format_error(done: commands.CommandResult) -> str:
    """Format a program's error output as one line without credentials."""
    message = " ".join(strip_credentials(done.error_text).split()) or f"exit {done.code}"
    return message if message.endswith(".") else f"{message}."


# ------------------------------------------------------------------------------------------------------- preconditions


def _require_repository(job: LandingJob) -> None:
    if projects.find_repository(job.repository) is None:
        raise LandingError(
            f"The folder {job.repository} is not a git repository any more. Restore it, then approve again."
        )


def _require_name(job: LandingJob) -> None:
    if git.run(job.repository, *IDENTITY_OPTIONS, "var", "GIT_COMMITTER_IDENT").code != 0:
        raise LandingError(
            "git does not know in whose name to commit here. Tell it with git config --global user.name NAME and"
            " git config --global user.email ADDRESS, then approve again. A name in the repository's own configuration"
            " does not count, because an agent may write there."
        )


def _require_verified(job: LandingJob) -> None:
    """Require that the branch still contains the verified commit, since nothing else may be landed."""
    short = job.commit[:10]
    if not git.has_branch(job.repository, job.branch):
        raise LandingError(f"The branch {job.branch} is gone. Restore it, or close the ticket.")
    if not git.is_merged(job.repository, job.commit, f"refs/heads/{job.branch}"):
        raise LandingError(
            f"The branch {job.branch} has moved to something that does not contain {short}, the commit that was verified."
            " Request changes, so that the work is submitted again."
        )


def _resolve_base(job: LandingJob) -> str:
    head = git.resolve_revision(job.repository, f"refs/heads/{job.base}")
    if head is None:
        raise LandingError(
            f"There is no branch {job.base} in {job.repository}. Make it with git branch {job.base}, or approve another way."
        )
    return head


def _find_merged(job: LandingJob, base: str) -> MergeResult | None:
    """Return the result if the base has the work: by the commit of an interrupted attempt, or the work itself."""
    landing_commit = git.resolve_revision(job.repository, job.reference)
    if landing_commit and git.is_merged(job.repository, landing_commit, base):
        return MergeResult(landing_commit, already=False)
    work_commit = git.resolve_revision(job.repository, job.commit)
    return MergeResult(base, already=True) if work_commit and git.is_merged(job.repository, work_commit, base) else None


# --------------------------------------------------------------------------------------------- commit, branch update


def _prepare_merge(job: LandingJob, scratch: Path, base: str, squash: bool) -> MergeCandidate | None:
    """Merge or squash as a commit, checked out in `scratch`. None when it would change nothing."""
    how = ("--squash", "--ff") if squash else ("--no-ff",)
    argv = ("merge", "--quiet", "--no-commit", *how, job.commit)
    done = git.run(scratch, *argv, timeout=git.CHECKOUT_SECONDS)
    if done.code != 0:
        entries = git.check_output(scratch, "ls-files", "--unmerged", "-z").split("\0")
        conflicting = sorted({entry.partition("\t")[2] for entry in entries if entry})
        raise (
            MergeConflict(job.base, conflicting)
            if conflicting
            else LandingError(f"git cannot merge {job.branch} into {job.base}: {format_error(done)}")
        )
    tree = git.check_output(scratch, "write-tree")
    if squash and tree == _resolve_tree(job, base):
        return None
    commit = _write_commit(job, tree, base, squash)
    git.check_output(scratch, "reset", "--quiet", "--hard", commit, timeout=git.CHECKOUT_SECONDS)
    return MergeCandidate(commit, base, tested=tree == _resolve_tree(job, job.commit))


def _resolve_tree(job: LandingJob, commit: str) -> str:
    return git.check_output(job.repository, "rev-parse", f"{git.validate_revision(commit)}^{{tree}}")


def _write_commit(job: LandingJob, tree: str, base: str, squash: bool) -> str:
    """Write the commit in the operator's name, as configured in git."""
    parents = ("-p", base) if squash else ("-p", base, "-p", job.commit)
    message = _format_squash_message(job) if squash else f"Merge {job.subject}"
    argv = (*IDENTITY_OPTIONS, "commit-tree", *(("-S",) if job.sign else ()), tree, *parents, "-m", message)
    try:
        return git.check_output(job.repository, *argv)
    except git.GitFailed as error:
        if not job.sign:
            raise
        raise LandingError(
            f"The project wants signed landing commits, and git could not sign this one: {' '.join(str(error).split())}."
            " Set your key with git config --global user.signingKey KEY (for SSH keys also gpg.format ssh), such that"
            " it signs without asking, or switch signing off in the project's settings. Then approve again."
        ) from error


def _format_squash_message(job: LandingJob) -> str:
    lines = [f"* {subject}" for subject in list_subjects(job)]
    return "\n".join([job.subject, "", *lines])


def _move_base(job: LandingJob, candidate: MergeCandidate) -> bool:
    """Move the base branch to the prepared commit. False when the branch is no longer at the candidate's base."""
    if place := worktrees.find_rebase(job.repository, job.base):
        raise LandingError(f"The branch {job.base} is being rebased in {place}. Finish that, then approve again.")
    checkouts = worktrees.find_checkouts(job.repository, job.base)
    if len(checkouts) > 1:
        places = " and ".join(map(str, checkouts))
        raise LandingError(
            f"The branch {job.base} is checked out in {places} at once. Leave it in one, then approve again."
        )
    git.check_output(job.repository, "update-ref", job.reference, candidate.commit)
    done = _fast_forward(checkouts[0], candidate) if checkouts else _update_reference(job, candidate)
    if _resolve_base(job) == candidate.commit:
        return True
    if _resolve_base(job) != candidate.base:
        return False
    raise LandingError(_format_refusal(job, checkouts[0] if checkouts else job.repository, done))


def _describe_checkout(job: LandingJob, candidate: MergeCandidate) -> str:
    checkouts = worktrees.find_checkouts(job.repository, job.base)
    return _describe_filters(checkouts[0], candidate.base, candidate.commit) if checkouts else ""


def _update_reference(job: LandingJob, candidate: MergeCandidate) -> commands.CommandResult:
    return git.run(job.repository, "update-ref", f"refs/heads/{job.base}", candidate.commit, candidate.base)


def _fast_forward(place: Path, candidate: MergeCandidate) -> commands.CommandResult:
    """Move the branch with the work tree that has it checked out. git itself refuses to overwrite uncommitted changes."""
    return git.run(place, "merge", "--quiet", "--ff-only", candidate.commit, timeout=git.CHECKOUT_SECONDS)


def _format_refusal(job: LandingJob, place: Path, done: commands.CommandResult) -> str:
    """Format the reason why the branch cannot be moved. git lists the files it would overwrite on lines that start with a tab."""
    files = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("\t")]
    if files:
        return (
            f"The branch {job.base} is checked out in {place}, where {', '.join(files)} would be overwritten."
            " Commit or put aside what is not committed there, then approve again."
        )
    return f"The branch {job.base} cannot be moved in {place}: {format_error(done)} Resolve that, then approve again."
