"""No program that an agent can name in a repository's configuration is run by Mission Control's git.

On commit 21f3a4a, before git was isolated, these worked, each tried alone: the clean, smudge and process filter, the
merge driver, gpg.program (with log.showSignature on a mere report, with merge.verifySignatures on a landing), the filter
of a submodule on a mere status, the lazy fetch through uploadpack and core.sshCommand on a mere diff; on a push
receivepack, core.sshCommand, credential.helper, url.insteadOf and remote.pushurl; in the script agent's commit hooks and
core.fsmonitor too. They worked from the repository's configuration, from a file that it includes, from config.worktree, and from a
folder named by the worktree's commondir.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workers.agents.script import script_agent
from workers.agents.worktree_path import list_git_folders
from workers.repository import changes, git, isolation, landing, observe, trial_merge, worktree_cleanup, worktrees
from workers.repository.landing import LandingError, LandingJob

from .repositories import commit, create_repository
from .repositories import git as raw

BRANCH = "mc/MC-3-work"
SIGNED_COMMIT = """tree {tree}
parent {parent}
author Alice <alice@example.org> 1700000000 +0000
committer Alice <alice@example.org> 1700000000 +0000
gpgsig -----BEGIN PGP SIGNATURE-----
 x
 -----END PGP SIGNATURE-----

Signed
"""

VECTORS = {
    "filter.trap.clean": "{trap}",
    "filter.trap.smudge": "{trap}",
    "filter.long.process": "{trap}",
    "merge.trap.driver": "{trap} %A",
    "gpg.program": "{trap}",
    "diff.external": "{trap}",
    "diff.trap.textconv": "{trap}",
    "diff.trap.command": "{trap}",
    "core.fsmonitor": "{trap}",
    "core.hooksPath": "{trap}.hooks",
    "core.sshCommand": "{trap}",
    "core.askPass": "{trap}",
    "core.pager": "{trap}",
    "core.editor": "{trap}",
    "credential.helper": "{trap}",
    "remote.lazy.uploadpack": "{trap}",
    "remote.origin.receivepack": "{trap}",
    "submodule": "{trap}",
}
"""A setting that names a program, with the program. `submodule` is a filter and a file system monitor of a submodule."""

SETTINGS = {
    "log.showSignature": "true",
    "merge.verifySignatures": "true",
    "extensions.partialClone": "lazy",
    "core.repositoryFormatVersion": "1",
    "remote.lazy.promisor": "true",
    "remote.lazy.url": "{folder}/remote.git",
    "remote.lazier.promisor": "true",
    "remote.lazier.url": "ssh://host.invalid/lazier",
    "remote.origin.url": "{folder}/remote.git",
    "remote.origin.pushurl": "{folder}/other.git",
    "url.{folder}/elsewhere.git.insteadOf": "{folder}/remote.git",
}
"""What makes the vectors work."""

FULL, READS = "config", ("include", "config.worktree", "commondir")


class Unauthorised(BaseHTTPRequestHandler):
    """A remote that asks for a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def password_address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unauthorised) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x.git"
        server.shutdown()


class HostileRepository:
    """A repository and a worktree of it, with work on a branch, whose configuration names a program wherever it can."""

    def __init__(self, folder: Path, place: str) -> None:
        self.folder, self.repo, self.tree = folder, folder / "repo", folder / "tree"
        (folder / "ran").mkdir()
        create_repository(self.repo, a="one\n", driven="1\n2\n3\n")
        for name in ("remote", "other", "elsewhere"):
            raw(folder, "init", "--quiet", "--bare", f"{name}.git")
        (self.repo / ".gitattributes").write_text(
            "*.f filter=trap diff=trap\n*.long filter=long\ndriven.txt merge=trap\n"
        )
        for name in ("file.f", "file.long"):
            (self.repo / name).write_text("plain\n")
        self.base = commit(self.repo)
        raw(self.repo, "worktree", "add", "--quiet", "-b", BRANCH, str(self.tree))
        self._add_submodule()
        (self.tree / "file.f").write_text("changed\n")
        commit(self.tree, driven="1\n2\nbranch\n")
        self.head = self._sign()
        commit(self.repo, driven="base\n2\n3\n")
        self._arm(place)
        for file in (folder / "ran").iterdir():  # by the test's own git
            file.unlink()

    def list_vectors_that_ran(self) -> list[str]:
        ran = [file.name for file in (self.folder / "ran").iterdir()]
        redirected = [
            name
            for name, key in (("elsewhere", "url.insteadOf"), ("other", "remote.origin.pushurl"))
            if raw(self.folder / f"{name}.git", "for-each-ref")
        ]
        return sorted([*ran, *redirected])

    def touch(self) -> None:
        """Make git compare contents, as its cached file times no longer fit."""
        for name in ("file.f", "file.long", "a.txt", "library/readme.txt"):
            text = (self.tree / name).read_text()
            (self.tree / name).unlink()
            (self.tree / name).write_text(text)

    def _trap(self, vector: str) -> str:
        script = self.folder / f"trap-{vector}"
        script.write_text(
            f"#!/bin/sh\ntouch {self.folder}/ran/{vector}\ncase {vector} in filter.trap.*|submodule) exec cat;; esac\n"
        )
        script.chmod(0o755)
        return str(script)

    def _add_submodule(self) -> None:
        library = create_repository(self.folder / "library")
        (library / ".gitattributes").write_text("*.txt filter=trap\n")
        commit(library)
        raw(self.tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "library")
        commit(self.tree, "Add a submodule")
        for key in ("core.fsmonitor", "filter.trap.clean"):
            raw(self.tree / "library", "config", key, self._trap("submodule"))

    def _sign(self) -> str:
        text = SIGNED_COMMIT.format(
            tree=raw(self.tree, "rev-parse", "HEAD^{tree}"), parent=raw(self.tree, "rev-parse", "HEAD")
        )
        (self.folder / "signed").write_text(text)
        signed = raw(self.tree, "hash-object", "-w", "-t", "commit", str(self.folder / "signed"))
        raw(self.tree, "reset", "--quiet", "--soft", signed)
        return signed

    def _arm(self, place: str) -> None:
        """Write the configuration to the place that the agent has chosen."""
        common = self.repo / ".git"
        private = common / "worktrees" / "tree"
        target = common / "config"
        if place == "include":
            target = self.tree.parent / "included"
            raw(self.repo, "config", "include.path", str(target))
        if place == "config.worktree":
            raw(self.repo, "config", "extensions.worktreeConfig", "true")
            target = private / "config.worktree"
        if place == "commondir":
            target = self.folder / "common" / "config"
            target.parent.mkdir()
            shutil.copy(common / "config", target)
            for name in ("objects", "refs", "packed-refs", "logs", "worktrees"):
                (target.parent / name).symlink_to(common / name)
            (private / "commondir").write_text(f"{target.parent}\n")
        pairs = {key: value.format(trap=self._trap(key)) for key, value in VECTORS.items() if key != "submodule"}
        for key, value in (pairs | SETTINGS).items():
            raw(
                self.folder,
                "config",
                "--file",
                str(target),
                key.format(folder=self.folder),
                value.format(folder=self.folder),
            )
        for hooks in (common / "hooks", Path(f"{self._trap('core.hooksPath')}.hooks")):
            hooks.mkdir(exist_ok=True)
            for name in ("pre-commit", "post-checkout", "post-merge", "reference-transaction", "pre-push"):
                (hooks / name).write_text(f"#!/bin/sh\ntouch {self.folder}/ran/hook\n")
                (hooks / name).chmod(0o755)


def build_job(hostile: HostileRepository, address: str) -> LandingJob:
    return LandingJob(hostile.repo, "main", BRANCH, hostile.head, "MC-3", "Work", 1, address)


def read(hostile: HostileRepository) -> None:
    hostile.touch()
    assert git.list_dirty_paths(hostile.tree) == []
    facts = observe.observe(hostile.tree, hostile.base)
    assert (facts["head_sha"], len(facts["commits"]), facts["dirty"]) == (hostile.head, 3, [])
    assert "error" not in facts
    assert "+changed" in changes.read_patch(hostile.tree, hostile.base, hostile.head, max_bytes=10_000).text


def lose_an_object(hostile: HostileRepository) -> None:
    """Let a mere diff fetch an object that is not there."""
    blob = raw(hostile.repo, "rev-parse", f"{hostile.base}:a.txt")
    (hostile.repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(git.GitFailed, match=rf"{blob[:7]}[^$]*git fetch --refetch"):
        git.read_diff(hostile.repo, git.EMPTY_TREE, hostile.base, max_bytes=10_000)


def write(hostile: HostileRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    (hostile.tree / "new.f").write_text("new\n")
    monkeypatch.chdir(hostile.tree)
    assert "committed" in (script_agent.commit_changes("Step") or "")
    hostile.touch()
    (hostile.tree / "new.f").write_text("not committed\n")
    saved_ref = worktree_cleanup.clean_worktree(hostile.tree)
    assert saved_ref and raw(hostile.repo, "show", f"{saved_ref}:new.f") == "not committed"
    with worktrees.check_out_detached(hostile.repo, hostile.folder / "scratch", BRANCH):
        assert (hostile.folder / "scratch" / "file.f").read_text() == "changed\n"


def land(hostile: HostileRepository, password_address: str) -> None:
    job = build_job(hostile, str(hostile.folder / "remote.git"))
    assert trial_merge.try_merge(hostile.repo, job.base, hostile.head).conflicts == ()
    landing.merge_onto_base(job, hostile.folder / "landing", squash=False, look=lambda _: None)
    assert (hostile.repo / "driven.txt").read_text() == "base\n2\nbranch\n"
    landing.push_branch(job)
    assert raw(hostile.folder / "remote.git", "rev-parse", BRANCH) == hostile.head
    with suppress(LandingError):
        landing.push_branch(build_job(hostile, password_address))
    with suppress(LandingError):
        landing.push_branch(build_job(hostile, "ssh://host.invalid/x"))


def test_nothing_that_the_configuration_names_is_run(
    tmp_path: Path, password_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    hostile = HostileRepository(tmp_path, FULL)
    steps: list[Callable[[], None]] = [
        lambda: read(hostile),
        lambda: write(hostile, monkeypatch),
        lambda: land(hostile, password_address),
        lambda: lose_an_object(hostile),
    ]
    problems = list(filter(None, map(try_step, steps)))
    assert (hostile.list_vectors_that_ran(), problems) == ([], [])


@pytest.mark.parametrize("place", READS)
def test_nothing_is_run_wherever_the_configuration_is_hidden(tmp_path: Path, place: str) -> None:
    hostile = HostileRepository(tmp_path, place)
    problem = try_step(lambda: read(hostile))
    assert (hostile.list_vectors_that_ran(), problem) == ([], None)


OWN_LINKS = ("index", "logs/HEAD", "rebase-merge", "ORIG_HEAD", "refs/worktree/deep", "modules")
SHARED_LINKS = ("logs/HEAD", "logs/refs/heads/main", "logs/refs/heads/mc", "refs/heads/mc", "refs/mc", "refs", "logs")


def test_git_is_not_run_where_it_would_write_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, tree = create_repository(tmp_path / "repo"), tmp_path / "tree"
    raw(repo, "worktree", "add", "--quiet", "-b", BRANCH, str(tree))
    (tmp_path / "target").mkdir()
    own, shared = repo / ".git/worktrees/tree", repo / ".git"
    (shared / "hooks/link").symlink_to(tmp_path)  # git writes no hooks
    for file in [*(own / name for name in OWN_LINKS), *(shared / name for name in SHARED_LINKS)]:
        with (
            replace_by_link(file, tmp_path / "target"),
            pytest.raises(git.GitFailed, match=f"{file} is a symbolic link"),
        ):
            isolation.require_place(tree)
    assert isolation.require_place(tree).git_dir == own
    monkeypatch.setattr(isolation, "MAX_ENTRIES", 3)
    with pytest.raises(git.GitFailed, match="more than 3 entries"):
        isolation.require_place(tree)


@contextmanager
def replace_by_link(file: Path, target: Path) -> Iterator[None]:
    aside = file.with_name("aside")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        file.rename(aside)
    file.symlink_to(target)
    yield
    file.unlink()
    if aside.exists():
        aside.rename(file)


def test_a_list_of_foreign_objects_is_a_regular_file(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    alternates = repo / ".git/objects/info/alternates"
    alternates.parent.mkdir(exist_ok=True)
    (tmp_path / "secret").write_text("secret\n")
    alternates.symlink_to(tmp_path / "secret")
    with pytest.raises(git.GitFailed, match="not a regular file"):
        git.resolve_head(repo)
    alternates.unlink()
    os.mkfifo(alternates)
    with pytest.raises(git.GitFailed, match="not a regular file"):
        git.resolve_head(repo)


def test_a_damaged_pointer_to_a_git_folder_is_an_error_of_git(tmp_path: Path) -> None:
    pointer = tmp_path / ".git"
    pointer.write_bytes(b"gitdir: /a\0b\n")
    with pytest.raises(git.GitFailed, match="null byte"):
        git.is_repository(tmp_path)
    assert list_git_folders(tmp_path) == []
    (tmp_path / "loop").symlink_to("loop")
    pointer.write_text(f"gitdir: {tmp_path}/loop/worktrees/x\n")
    with pytest.raises(git.GitFailed, match="loop"):
        git.is_repository(tmp_path)
    assert list_git_folders(tmp_path) == []


def test_an_agent_may_write_to_no_folder_that_it_names_in_commondir(tmp_path: Path) -> None:
    repo, tree = create_repository(tmp_path / "repo"), tmp_path / "tree"
    raw(repo, "worktree", "add", "--quiet", str(tree))
    folders = list_git_folders(tree)
    (tmp_path / "elsewhere/refs").mkdir(parents=True)
    (repo / ".git/worktrees/tree/commondir").write_text(f"{tmp_path}/elsewhere\n")
    assert list_git_folders(tree) == folders
    assert folders == [str(repo / ".git" / name) for name in ("worktrees/tree", "objects", "refs", "logs")]


def try_step(step: Callable[[], None]) -> str | None:
    """Return the problem of a step, so that the list of what ran is complete when a vector breaks one."""
    try:
        step()
    except (AssertionError, git.GitError, LandingError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_a_submodule_command_writes_into_no_configuration_that_other_calls_use(tmp_path: Path) -> None:
    """Regression: while it ran, any other call removed the folder under it."""
    folder = create_repository(tmp_path / "repository")
    calls = [isolation.build_call(folder, [name], {}).env["GIT_COMMON_DIR"] for name in ("status", "submodule", "diff")]
    assert calls[0] == calls[2] != calls[1]
    Path(calls[1], "config").write_text("[x]\n")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: git.run(folder, "status").code, range(20))) == {0}
