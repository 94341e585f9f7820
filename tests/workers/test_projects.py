"""A folder or an address becomes a project, or a person is told why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.repository import projects
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
