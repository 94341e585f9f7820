"""Mission Control's own git commands read a repository and run nothing it names."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest

from web.runs.diff import parse_diff
from workers.host import commands
from workers.host.commands import CommandResult
from workers.repository import changes, git, isolation, observe, worktrees

from .repositories import commit, create_repository
from .repositories import git as raw


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return create_repository(tmp_path / "repo", a="one\ntwo\n", b="bee\n")


def test_a_repository_without_commits_has_no_head(tmp_path: Path) -> None:
    raw(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    assert git.is_repository(tmp_path)
    assert git.resolve_head(tmp_path) is None
    assert git.find_current_branch(tmp_path) == "trunk"
    assert git.find_default_branch(tmp_path) is None


def test_a_plain_folder_is_no_repository(tmp_path: Path) -> None:
    assert not git.is_repository(tmp_path)
    assert not git.is_repository(tmp_path / "absent")
    with pytest.raises(git.GitFailed, match="not a git repository"):
        git.find_root(tmp_path)


def test_commits_since_the_base_come_newest_first_and_limited(repo: Path) -> None:
    base = git.resolve_head(repo)
    assert base
    shas = [commit(repo, f"number {number}", a=str(number)) for number in range(3)]
    assert [entry.sha for entry in git.list_commits(repo, base)] == shas[::-1]
    assert git.list_commits(repo, base, limit=1) == [git.Commit(shas[2], "number 2")]
    assert git.list_commits(repo, shas[2]) == []


def test_an_empty_subject_is_read(repo: Path) -> None:
    base = git.resolve_head(repo)
    assert base
    raw(repo, "commit", "--quiet", "--allow-empty", "--allow-empty-message", "-m", "")
    assert [entry.subject for entry in git.list_commits(repo, base)] == [""]


@pytest.mark.parametrize("end", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_other_ends_of_a_line_in_a_subject_end_nothing(repo: Path, end: str) -> None:
    """Regression: the report of a run with such a commit was never made."""
    base = git.resolve_head(repo)
    assert base
    commit(repo, f"one{end}two", a="1")
    assert [entry.subject for entry in git.list_commits(repo, base)] == [f"one{end}two"]


def test_the_size_of_a_change_counts_lines_and_binary_files(repo: Path) -> None:
    base = git.resolve_head(repo)
    assert base
    (repo / "bin").write_bytes(b"\0\1\2")
    head = commit(repo, a="one\n2\nthree\n")
    assert git.measure_diff(repo, base, head) == git.DiffStat(2, 2, 1)
    assert git.measure_diff(repo, base, base) == git.DiffStat(0, 0, 0)


def test_a_long_diff_is_cut_and_says_so(repo: Path) -> None:
    base = git.resolve_head(repo)
    assert base
    commit(repo, a="x" * 5000, b="short")
    diff = git.read_diff(repo, base, max_bytes=1000)
    assert diff.truncated
    assert len(diff.text) == 1000
    whole = git.read_diff(repo, base, paths=["b.txt"], max_bytes=1000)
    assert not whole.truncated
    assert "+short" in whole.text
    assert "a.txt" not in whole.text


def test_dirty_paths_include_untracked_and_strangely_named_ones(repo: Path) -> None:
    assert git.list_dirty_paths(repo) == []
    (repo / "a.txt").unlink()
    (repo / "new 'ü\n name").write_text("")
    (repo / "folder").mkdir()
    (repo / "folder" / "one").write_text("")
    assert sorted(git.list_dirty_paths(repo)) == ["a.txt", "folder/", "new 'ü\n name"]
    assert len(git.list_dirty_paths(repo, limit=2)) == 2


def test_a_file_that_git_would_only_convert_is_not_dirty(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line endings that are to be normalised, and a large file where Git LFS left its pointer in the repository."""
    content = b"large\0file"
    pointer = git.LFS_POINTER.format(digest=hashlib.sha256(content).hexdigest(), size=len(content))
    (repo / "data.bin").write_text(pointer)
    (repo / "lines.txt").write_bytes(b"one\r\n")
    commit(repo)
    (repo / ".gitattributes").write_text("*.bin filter=lfs -text\n*.txt text\n")
    raw(repo, "add", ".gitattributes")
    raw(repo, "commit", "--quiet", "-m", "Attributes")
    (repo / "lines.txt").unlink()
    (repo / "lines.txt").write_bytes(b"one\r\n")
    (repo / "data.bin").write_bytes(content)
    assert raw(repo, "status", "--porcelain").split() == ["M", "data.bin", "M", "lines.txt"]
    assert git.list_dirty_paths(repo) == []
    (repo / "data.bin").write_bytes(content + b"!")
    assert git.list_dirty_paths(repo) == ["data.bin"]


def test_worktrees_of_one_repository_are_added_and_removed_one_at_a_time(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git fails over the record of another worktree that is not written yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    original, calls = git.run, []

    def run(folder: Path, *arguments: str, **options: Any) -> CommandResult:
        if arguments[0] == "worktree":
            [file] = (tmp_path / "state").glob("mission-control-git/*.lock")
            with file.open("w") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            calls.append(arguments[1])
        return original(folder, *arguments, **options)

    monkeypatch.setattr(git, "run", run)
    for _ in range(2):
        with worktrees.check_out_detached(repo, tmp_path / "tree", "HEAD"):
            assert git.resolve_head(tmp_path / "tree") == git.resolve_head(repo)
    assert {*calls} == {"add", "remove"}


def test_a_sparse_worktree_of_a_bare_sha256_repository_is_read(tmp_path: Path) -> None:
    bare, tree, seed = tmp_path / "bare.git", tmp_path / "tree", tmp_path / "seed"
    raw(tmp_path, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", str(seed))
    (seed / "inside").mkdir()
    (seed / "outside").mkdir()
    for name in ("inside/a.txt", "outside/b.txt"):
        (seed / name).write_text("x\n")
    head = commit(seed)
    raw(tmp_path, "clone", "--quiet", "--bare", str(seed), str(bare))
    worktrees.add_worktree(bare, tree, at="main")
    raw(tree, "sparse-checkout", "set", "inside")
    assert not (tree / "outside").exists() and git.list_dirty_paths(tree) == []
    assert (git.find_root(tree), git.find_common_dir(tree), git.resolve_head(tree)) == (tree, bare, head)
    assert worktrees.find_checkouts(bare, "main") == [tree] and git.list_branches(bare) == ["main"]
    assert (tree / ".git").read_text() == f"gitdir: {bare}/worktrees/tree\n"


def test_a_submodule_is_dirty_when_its_files_are(repo: Path, tmp_path: Path) -> None:
    library = create_repository(tmp_path / "library")
    raw(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "library")
    commit(repo)
    assert git.list_dirty_paths(repo) == []
    (repo / "library" / "readme.txt").write_text("changed\n")
    assert git.list_dirty_paths(repo) == ["library"]
    commit(repo / "library")
    assert git.find_dirty_paths(repo) == [git.DirtyPath("library", is_submodule=True)]
    git.stage_changes(repo, git.find_dirty_paths(repo))
    assert raw(repo, "diff", "--cached", "--name-only") == "library"


def test_a_repository_of_another_user_is_refused_with_the_remedy(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(git.GitFailed, match=f"git config --global --add safe.directory {repo}"):
        git.find_root(repo)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(repo / "gitconfig"))
    (repo / "gitconfig").write_text(f"[safe]\n\tdirectory = {repo}\n")
    assert git.find_root(repo) == repo


def test_an_index_that_is_a_link_is_refused(repo: Path, tmp_path: Path) -> None:
    (repo / ".git/index").rename(tmp_path / "index")
    (repo / ".git/index").symlink_to(tmp_path / "index")
    with pytest.raises(git.GitFailed, match="symbolic link"):
        git.list_dirty_paths(repo)


def test_branches_and_the_default_among_them(repo: Path, tmp_path: Path) -> None:
    raw(repo, "branch", "other")
    assert git.has_branch(repo, "other")
    assert not git.has_branch(repo, "absent")
    assert git.find_default_branch(repo) == "main"
    raw(repo, "branch", "-m", "main", "develop")
    clone = tmp_path / "clone"
    raw(tmp_path, "clone", "--quiet", str(repo), str(clone))
    raw(clone, "checkout", "--quiet", "-b", "mine")
    assert git.find_remote_branch(clone) == "develop"
    assert git.find_default_branch(clone) == "develop"
    assert git.find_remote_branch(repo) is None


def test_the_base_of_a_branch_is_where_it_left(repo: Path) -> None:
    fork = git.resolve_head(repo)
    raw(repo, "checkout", "--quiet", "-b", "side")
    side = commit(repo, a="side")
    raw(repo, "checkout", "--quiet", "main")
    commit(repo, b="main")
    assert git.find_merge_base(repo, "side", "main") == fork
    assert not git.is_merged(repo, side, "main")
    raw(repo, "merge", "--quiet", "side", "-m", "merge")
    assert git.is_merged(repo, side, "main")


@pytest.mark.parametrize("revision", ["", "-x", "--upload-pack=x", "a..b", "a b", "a\n", "\0"])
def test_a_revision_that_could_be_an_option_is_refused(repo: Path, revision: str) -> None:
    with pytest.raises(ValueError, match="Invalid revision"):
        git.resolve_revision(repo, revision)


HOSTILE_SETTINGS = """
[diff]
 noprefix = true\n mnemonicPrefix = true\n srcPrefix = x/\n dstPrefix = y/\n context = 0\n interHunkContext = 9
 algorithm = histogram\n renames = copies\n renameLimit = 1\n suppressBlankEmpty = true\n colorMoved = zebra
 colorMovedWS = ignore-all-space\n wordRegex = .\n external = false\n orderFile = {order}\n submodule = log
 ignoreSubmodules = all\n relative = true\n dirstat = lines\n statGraphWidth = 1\n indentHeuristic = false
 wsErrorHighlight = all\n autoRefreshIndex = false\n noIndex = true
[color]
 ui = always\n diff = always\n status = always
[core]
 quotePath = true\n pager = false\n abbrev = 4\n whitespace = -blank-at-eol\n attributesFile = {attributes}
 commentChar = "+"\n fsmonitor = false
[diff "hostile"]
 textconv = tac\n command = false\n xfuncname = .*
[status]
 short = true\n branch = true\n showStash = true\n relativePaths = true\n renames = copies\n renameLimit = 1
 showUntrackedFiles = no\n submoduleSummary = true\n aheadBehind = true\n displayCommentPrefix = true
[log]
 showSignature = true\n abbrevCommit = true\n date = relative\n decorate = full\n follow = true\n mailmap = true
 showRoot = false\n diffMerges = off
[format]
 pretty = oneline\n notes = true
[i18n]
 logOutputEncoding = UTF-16
[column]
 ui = always
[pager]
 diff = false\n log = false\n status = false
[merge]
 ff = only\n renames = false\n conflictStyle = diff3\n verifySignatures = true\n stat = true\n log = true
[commit]
 gpgSign = true\n template = /absent\n status = true\n cleanup = verbatim
[push]
 gpgSign = true\n followTags = true\n recurseSubmodules = only
[rerere]
 enabled = true\n autoUpdate = true
[submodule]
 recurse = true
"""
"""What a user may set that changes a diff, a report or a landing."""


def test_a_diff_is_the_same_whatever_the_users_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraph = "".join(f"line {number}\n\n" for number in range(9))
    repo = create_repository(tmp_path / "repo", a=paragraph, moved=paragraph * 2, other="x\n")
    base = raw(repo, "rev-parse", "HEAD")
    (repo / "moved.txt").rename(repo / "ä moved.txt")
    (repo / "folder").mkdir()
    (repo / "folder" / "b.txt").write_text(paragraph)
    head = commit(repo, a=paragraph.replace("line 4", "changed"))
    (repo / "folder" / "b.txt").write_text("not committed\n")
    (repo / "untracked ü").write_text("")

    def look() -> tuple[str, list[object]]:
        patch = git.read_diff(repo / "folder", base, head, max_bytes=10_000)
        reports = git.list_dirty_paths(repo), git.list_commits(repo, base), git.measure_diff(repo, base)
        return patch.text, [changes.list_changes(repo, base, head), observe.observe(repo, base), *reports]

    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = look()
    (tmp_path / "attributes").write_text("* diff=hostile\n*.txt -diff\n")
    (tmp_path / "order").write_text("folder/*\n")
    text = HOSTILE_SETTINGS.format(attributes=tmp_path / "attributes", order=tmp_path / "order")
    (tmp_path / ".gitconfig").write_text(text)
    with pytest.raises(CalledProcessError):  # an ordinary git obeys
        raw(repo, "diff", base, head)

    assert look() == expected
    hunks = parse_diff(expected[0])
    assert [line.old for line in hunks["diff --git a/a.txt b/a.txt"][0].lines] == [6, 7, 8, 9, None, 10, 11, 12]


def test_a_surrounding_git_command_does_not_redirect_ours(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git.find_root(repo) == repo
    assert git.list_dirty_paths(repo) == []


def test_git_gets_few_variables_and_does_not_ask_for_a_password(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "SSH_AUTH_SOCK", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PATH", f"bin:{os.environ['PATH']}:")
    environment = dict(line.split("=", 1) for line in git.run(repo, "-c", "alias.show-it=!env", "show-it").text.split())
    assert {"GIT_TERMINAL_PROMPT", "GIT_NO_LAZY_FETCH", "GIT_COMMON_DIR", "HOME"} < set(environment)
    assert not {"ANTHROPIC_API_KEY", "SSH_AUTH_SOCK", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"} & set(environment)
    assert environment["GIT_ASKPASS"] == "false" and "bin" not in environment["PATH"].split(":")
    assert "SSH_AUTH_SOCK" in isolation.build_call(repo, ["push", "/x"], {}).env


def test_a_missing_git_is_named(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(git.GitMissing):
        git.resolve_head(repo)


@pytest.mark.parametrize("stdin", [b"", bytes(1 << 20)])
def test_a_git_that_hangs_is_ended(repo: Path, stdin: bytes) -> None:
    """Regression: the time limit did not hold while git read nothing of a long list of paths."""
    with pytest.raises(git.GitHung):
        git.run(repo, "-c", "alias.hang=!sleep 300", "hang", timeout=0.2, stdin=stdin)


def test_a_command_reads_and_prints_more_than_a_pipe_holds() -> None:
    text = bytes(range(256)) * (1 << 12)
    assert commands.run(["cat"], timeout=60, stdin=text).stdout == text
    assert commands.run(["true"], timeout=60, stdin=text).code == 0
