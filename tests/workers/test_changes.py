"""A run's changes are shown file by file, whatever the files are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.repository import changes
from workers.repository.changes import FileChange
from workers.repository.git import GitError

from .repositories import commit, create_repository, git

LONG = "".join(f"line {number}\n" for number in range(30))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return create_repository(tmp_path / "repo", kept="same\n", changed="one\ntwo\n", moved=LONG, gone="bye\n")


def change_everything(repo: Path) -> tuple[str, str]:
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "mv", "moved.txt", "arrived 'é\t.txt")
    (repo / "gone.txt").unlink()
    (repo / "binary").write_bytes(b"\0\1")
    (repo / "changed.txt").write_text("one\n2\nthree\n")
    return base, commit(repo, "everything")


def test_each_file_has_its_status_and_size(repo: Path) -> None:
    assert changes.list_changes(repo, *change_everything(repo)) == [
        FileChange("arrived 'é\t.txt", "moved.txt", "renamed", 0, 0),
        FileChange("binary", None, "added", None, None),
        FileChange("changed.txt", None, "modified", 2, 1),
        FileChange("gone.txt", None, "deleted", 0, 1),
    ]


def test_a_branch_without_changes_has_no_files(repo: Path) -> None:
    assert changes.list_changes(repo, "main", "main") == []
    assert changes.read_patch(repo, "main", "main", max_bytes=1000).text == ""


def test_a_patch_is_of_one_file_or_of_all(repo: Path) -> None:
    base, head = change_everything(repo)
    whole = changes.read_patch(repo, base, head, max_bytes=10_000).text
    assert whole.count("diff --git") == 4
    one = changes.read_patch(repo, base, head, "changed.txt", max_bytes=10_000).text
    assert one.count("diff --git") == 1
    assert "+three" in one
    renamed = changes.read_patch(repo, base, head, "arrived 'é\t.txt", max_bytes=10_000).text
    assert "rename from moved.txt" in renamed


def test_a_file_with_any_name_has_its_patch(repo: Path) -> None:
    names = ["new\nline", '"quoted"', "-leading", " spaces ", ":(top)x", "*", os.fsdecode(b"\xff\xfe")]
    for name in names:
        (repo / name).write_text(f"text of {name!r}\n")
    base, head = git(repo, "rev-parse", "HEAD"), commit(repo, "odd names")
    listed = [change.path for change in changes.list_changes(repo, base, head)]
    assert sorted(listed) == sorted(os.fsencode(name).decode("utf-8", "replace") for name in names)
    for name in listed:
        assert changes.read_patch(repo, base, head, name, max_bytes=1000).text.count("+text of") == 1, name


def test_the_parts_of_a_diff_are_found_by_name_whatever_the_names(repo: Path) -> None:
    base = git(repo, "rev-parse", "HEAD")
    for name in ("a b/c", 'quote"', "back\\slash", "bell\a\x01\x7f", "new\nline", "ü '", " b", "b/a b/a"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text("x\n")
    (repo / "changed.txt").unlink()
    (repo / "changed.txt").symlink_to("kept.txt")
    git(repo, "mv", "moved.txt", 'moved "\t".txt')
    head = commit(repo)
    headers = [change.diff_header for change in changes.list_changes(repo, base, head)]
    parts = [
        line for line in changes.read_patch(repo, base, head, max_bytes=10_000).text.split("\n") if line[:5] == "diff "
    ]
    assert sorted(set(parts)) == sorted(headers) and len(parts) == len(headers) + 1


def test_a_path_is_taken_literally_and_stays_inside(repo: Path) -> None:
    base, head = change_everything(repo)
    for path in ("*", ":(top)changed.txt", "../outside", "/etc/passwd", "--output=x", "kept.txt"):
        assert changes.read_patch(repo, base, head, path, max_bytes=1000).text == ""


def test_a_large_patch_is_cut_and_says_so(repo: Path) -> None:
    base, head = change_everything(repo)
    patch = changes.read_patch(repo, base, head, max_bytes=20)
    assert (len(patch.text), patch.truncated) == (20, True)


def test_an_unknown_commit_is_an_error(repo: Path) -> None:
    with pytest.raises(GitError):
        changes.list_changes(repo, "0" * 40, "main")
    with pytest.raises(ValueError, match="Invalid revision"):
        changes.list_changes(repo, "--output=owned", "main")
