"""A folder or an address becomes a project, or a person is told why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.repository import projects, workspace
from workers.repository.landing import LandingJob, merge_onto_base
from workers.repository.projects import CloneFailed, CloneRefused

from .repositories import commit, create_repository, git


def test_a_clean_repository_can_be_worked_on(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    git(repo, "branch", "other")
    (repo / "inner").mkdir()
    facts = projects.inspect_folder(repo / "inner")
    assert (facts.folder, facts.usable, facts.dirty) == (repo, True, 0)
    assert (facts.default_branch, facts.current_branch) == ("main", "main")
    assert set(facts.branches) == {"main", "other"}
    assert facts.head == git(repo, "rev-parse", "HEAD")
    assert facts.explanation == "A clean repository on main."


def test_a_dirty_repository_is_explained(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    (repo / "one").write_text("")
    assert "1 path has uncommitted changes" in projects.inspect_folder(repo).explanation
    (repo / "two").write_text("")
    facts = projects.inspect_folder(repo)
    assert (facts.usable, facts.dirty) == (True, 2)
    assert "2 paths have uncommitted changes" in facts.explanation


def test_what_cannot_be_worked_on_is_explained(tmp_path: Path) -> None:
    assert "no such folder" in projects.inspect_folder(tmp_path / "absent").explanation
    assert "not a git repository" in projects.inspect_folder(tmp_path).explanation
    git(tmp_path, "init", "--quiet")
    empty = projects.inspect_folder(tmp_path)
    assert (empty.is_git, empty.usable) == (True, False)
    assert "no commits yet" in empty.explanation


def test_a_repository_is_cloned_from_its_address(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    head = commit(repo, "more")
    cloned = projects.clone_repository(f"file://{repo}", tmp_path / "projects" / "clone")
    assert projects.inspect_folder(cloned).head == head


def test_a_failed_clone_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CloneFailed, match="could not be cloned"):
        projects.clone_repository(f"file://{tmp_path}/absent", tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_a_clone_never_lands_in_an_existing_folder(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    (tmp_path / "mine").mkdir()
    with pytest.raises(CloneRefused, match="exists already"):
        projects.clone_repository(f"file://{repo}", tmp_path / "mine")
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/somewhere/on/disk",
        "http://example.org/x",
        "ext::sh -c owned",
        "--upload-pack=owned",
        "https://user:secret@example.org/x",
        "https://-oProxyCommand=owned/x",
        "ssh://-oProxyCommand=owned/x",
        "git@example.org:-x",
        "git@example.org:x\n",
        "file://relative/x",
        "https://example.org/x y",
    ],
)
def test_a_strange_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(CloneRefused):
        projects.clone_repository(url, tmp_path / "clone")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/team/repo.git",
        "https://example.org:8443/~me/repo",
        "ssh://git@example.org:2222/team/repo.git",
        "git@example.org:team/repo.git",
        "file:///srv/repos/repo.git",
    ],
)
def test_usual_addresses_are_understood(url: str) -> None:
    assert projects.URL_PATTERN.fullmatch(url)


BASE = "feature/#1-ü'$(x)`;@"


def test_a_bare_repository_with_worktrees_and_an_unusual_base_is_a_project(tmp_path: Path) -> None:
    source, layout, pool = create_repository(tmp_path / "source"), tmp_path / "layout", tmp_path / "pool"
    git(source, "branch", "--move", BASE)
    layout.mkdir()
    git(layout, "clone", "--quiet", "--bare", str(source), ".bare")
    (layout / ".git").write_text("gitdir: ./.bare\n")
    git(layout, "worktree", "add", "--quiet", "main", BASE)
    for name in (BASE, "mc/MC-1"):
        git(layout, "tag", name)  # makes the short name ambiguous

    facts = projects.inspect_folder(layout)

    assert (facts.usable, facts.folder, facts.branches, facts.dirty) == (True, layout, (BASE,), 0)
    slot = workspace.acquire(facts.folder, BASE, "mc/MC-1", pool, 1, "run-1")
    assert (slot.repository, git(slot.path, "branch", "--show-current")) == (layout, "mc/MC-1")
    assert workspace.acquire(layout, BASE, "mc/MC-1", pool, 1, "run-1").resumed
    job = LandingJob(layout, BASE, "mc/MC-1", commit(slot.path, "work", new="x\n"), "MC-1", "Work", 1)
    merge_onto_base(job, tmp_path / "scratch", squash=True, look=lambda _: None)
    assert (layout / "main" / "new.txt").read_text() == "x\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_repository_of_another_owner_is_refused_with_the_remedy_of_git(tmp_path: Path) -> None:
    repo = create_repository(tmp_path / "repo")
    os.chown(repo, 65534, 65534)
    os.chown(repo / ".git", 65534, 65534)
    assert f"git config --global --add safe.directory {repo}" in projects.inspect_folder(repo).explanation
    with pytest.raises(workspace.WorkspaceError, match=r"safe\.directory"):
        workspace.acquire(repo, "main", "mc/MC-1", tmp_path / "pool", 1, "run-1")
