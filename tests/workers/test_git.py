"""Mission Control's own git commands read a repository and run nothing it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.repository import git

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


def test_nothing_the_repository_names_is_run(repo: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    base = git.resolve_head(repo)
    assert base
    (repo / ".gitattributes").write_text("*.txt diff=trap\n")
    commit(repo, a="changed")
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(trap.read_text())
    hook.chmod(0o755)
    for setting in ("core.fsmonitor", "diff.external", "diff.trap.textconv", "diff.trap.command", "core.pager"):
        raw(repo, "config", setting, str(trap))
    git.list_dirty_paths(repo)
    git.read_diff(repo, base, max_bytes=1000)
    git.measure_diff(repo, base)
    git.check_output(repo, "checkout", "--quiet", "-b", "elsewhere")
    assert not (tmp_path / "sprung").exists()
    raw(repo, "checkout", "--quiet", "main")
    assert (tmp_path / "sprung").exists(), "an ordinary git would have stepped into it"


def test_a_surrounding_git_command_does_not_redirect_ours(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git.find_root(repo) == repo
    assert git.list_dirty_paths(repo) == []


def test_git_does_not_ask_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = git.run(tmp_path, "-c", "alias.show-it=!env", "show-it").text
    assert "GIT_TERMINAL_PROMPT=0" in environment
    assert "GIT_ASKPASS=false" in environment


def test_a_missing_git_is_named(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(git.GitMissing):
        git.resolve_head(repo)


def test_a_git_that_hangs_is_ended(repo: Path) -> None:
    with pytest.raises(git.GitHung):
        git.run(repo, "-c", "alias.hang=!sleep 300", "hang", timeout=0.2)
