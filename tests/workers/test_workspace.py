"""Each run gets a worktree nobody else has, and no uncommitted work is lost when one is reused."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from redaction import SHAPES
from workers.repository import old_slots, workspace, worktree_cleanup
from workers.repository.git import GitFailed
from workers.repository.linked_files import LinkRefused, add_files
from workers.repository.submodules import initialise_submodules
from workers.repository.workspace import (
    NoCommits,
    NotARepository,
    PoolFull,
    SetUpFailed,
    UnknownBase,
    Workspace,
    WorkspaceBusy,
    WorkspaceError,
)
from workers.repository.workspace_slots import SlotRecord, WorkspaceSlot

from .repositories import commit, create_repository, git

FIRST, SECOND, THIRD = "mc/MC-1-first", "mc/MC-2-second", "mc/MC-3-third"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    repo = create_repository(tmp_path / "project", a="base\n")
    (repo / ".gitignore").write_text("cache/\n.env\n")
    commit(repo, "ignore")
    return repo


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "worktrees" / "project"


def acquire(project: Path, pool: Path, branch: str, limit: int = 4, holder: str = "run-1") -> Workspace:
    return workspace.acquire(project, "main", branch, pool, limit, holder)


def leave_a_stale_lock(worktree: Path) -> None:
    """As a git does that is killed while it writes its index, or the one that earlier versions saved work with."""
    for name in ("index.lock", "mc-saved.index.lock"):
        (find_git_dir(worktree) / name).write_text("")


def find_git_dir(worktree: Path) -> Path:
    return Path(git(worktree, "rev-parse", "--absolute-git-dir"))


def test_a_new_branch_starts_at_the_base_in_a_slot_of_its_own(project: Path, pool: Path) -> None:
    base = git(project, "rev-parse", "main")
    one, two = acquire(project, pool, FIRST), acquire(project, pool, SECOND)
    assert one == Workspace(pool / "pool-1", project, FIRST, base, "main", reused=False)
    assert two.path == pool / "pool-2"
    assert git(one.path, "branch", "--show-current") == FIRST
    assert git(one.path, "rev-parse", "HEAD") == base


def test_a_dirty_project_folder_is_not_touched(project: Path, pool: Path) -> None:
    (project / "a.txt").write_text("being edited\n")
    (project / "untracked").write_text("mine\n")
    before = git(project, "status", "--porcelain=v1", "--branch")
    slot = acquire(project, pool, FIRST)
    assert git(project, "status", "--porcelain=v1", "--branch") == before
    assert (slot.path / "a.txt").read_text() == "base\n"


def test_a_released_slot_is_reused_and_its_uncommitted_work_saved(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    commit(one.path, a="committed\n")
    (one.path / "a.txt").write_text("uncommitted\n")
    (one.path / "new.txt").write_text("untracked\n")
    (one.path / "cache").mkdir()
    (one.path / "cache" / "built").write_text("kept\n")
    leave_a_stale_lock(one.path)
    workspace.release(one.path, "run-1")
    two = acquire(project, pool, SECOND, limit=1)
    assert (two.path, two.reused, two.resumed) == (one.path, True, False)
    assert git(two.path, "status", "--porcelain") == ""
    assert (two.path / "a.txt").read_text() == "base\n"
    assert (two.path / "cache" / "built").read_text() == "kept\n"
    assert two.saved
    assert two.saved.startswith(f"refs/mc/saved/{FIRST}/")
    assert git(project, "show", f"{two.saved}:a.txt") == "uncommitted"
    assert git(project, "show", f"{two.saved}:new.txt") == "untracked"
    assert git(project, "rev-parse", f"{two.saved}^") == git(project, "rev-parse", FIRST)


def test_a_resumed_ticket_finds_its_slot_as_it_was(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST)
    commit(one.path, a="committed\n")
    (one.path / "new.txt").write_text("uncommitted\n")
    leave_a_stale_lock(one.path)
    workspace.release(one.path, "run-1")
    commit(project, "meanwhile", b="other\n")
    again = acquire(project, pool, FIRST)
    assert (again.path, again.resumed, again.base_sha, again.saved) == (one.path, True, one.base_sha, None)
    assert (again.path / "new.txt").read_text() == "uncommitted\n"
    commit(again.path, "no stale lock is in the way")


def test_a_resumed_ticket_gets_its_branch_back_after_its_slot_was_given_away(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    done = commit(one.path, a="committed\n")
    workspace.release(one.path, "run-1")
    workspace.release(acquire(project, pool, SECOND, limit=1).path, "run-1")
    again = acquire(project, pool, FIRST, limit=1)
    assert not again.resumed
    assert git(again.path, "rev-parse", "HEAD") == done
    assert again.base_sha == one.base_sha


def test_a_slot_with_work_in_it_is_given_away_last(project: Path, pool: Path) -> None:
    one, two = acquire(project, pool, FIRST), acquire(project, pool, SECOND)
    (one.path / "new.txt").write_text("uncommitted\n")
    workspace.release(one.path, "run-1")
    workspace.release(two.path, "run-1")
    assert acquire(project, pool, THIRD).path == two.path
    assert acquire(project, pool, "mc/MC-4", limit=3).path == pool / "pool-3"
    assert acquire(project, pool, "mc/MC-5", limit=3).path == one.path


def test_a_full_pool_says_so(project: Path, pool: Path) -> None:
    acquire(project, pool, FIRST, limit=1)
    with pytest.raises(PoolFull, match="limit 1"):
        acquire(project, pool, SECOND, limit=1)
    assert workspace.list_held_slots(pool) == {pool / "pool-1": "run-1"}


def test_a_late_release_of_an_earlier_run_frees_nothing(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1, holder="run-1")
    acquire(project, pool, FIRST, limit=1, holder="run-2")
    workspace.release(one.path, "run-1")
    with pytest.raises(PoolFull):
        acquire(project, pool, SECOND, limit=1)
    workspace.release(one.path, "run-2")
    assert acquire(project, pool, SECOND, limit=1).path == one.path


def test_an_unreadable_record_counts_as_held(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    (pool / "pool-1.json").write_text("{")
    workspace.release(one.path, "run-1")
    with pytest.raises(PoolFull):
        acquire(project, pool, SECOND, limit=1)


def _acquire_together(barrier: Barrier, queue: Queue[Path], project: Path, pool: Path, branch: str) -> None:
    barrier.wait(timeout=30)
    queue.put(acquire(project, pool, branch).path)


def test_processes_that_acquire_at_once_get_slots_of_their_own(project: Path, pool: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(4), context.Queue()
    branches = [f"mc/MC-{number}" for number in range(1, 5)]
    for branch in branches:
        context.Process(target=_acquire_together, args=(barrier, queue, project, pool, branch)).start()
    paths = {queue.get(timeout=60) for _ in branches}
    assert len(paths) == 4
    assert {git(path, "branch", "--show-current") for path in paths} == set(branches)


def test_a_slot_that_is_changing_hands_is_left_alone(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    workspace.release(one.path, "run-1")
    with WorkspaceSlot(one.path).locked() as mine:
        assert mine
        with pytest.raises(PoolFull):
            acquire(project, pool, SECOND, limit=1)
        with pytest.raises(WorkspaceBusy):
            acquire(project, pool, FIRST, limit=1)


def test_a_slot_whose_preparation_was_cut_short_is_prepared_anew(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    (one.path / "a.txt").unlink()
    WorkspaceSlot(one.path).write(SlotRecord("preparing", FIRST))
    again = acquire(project, pool, FIRST, limit=1)
    assert not again.resumed
    assert (again.path / "a.txt").read_text() == "base\n"


def test_a_slot_removed_by_hand_is_made_again(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST)
    subprocess.run(["rm", "-rf", str(one.path)], check=True)
    again = acquire(project, pool, FIRST)
    assert again.path == one.path
    assert (again.path / "a.txt").exists()


def test_a_broken_off_rebase_and_loose_commits_are_saved_and_cleared(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    commit(one.path, a="theirs\n")
    commit(project, "conflict", a="ours\n")
    with pytest.raises(subprocess.CalledProcessError):
        git(one.path, "rebase", "main")
    loose = git(one.path, "rev-parse", "HEAD")
    workspace.release(one.path, "run-1")
    two = acquire(project, pool, SECOND, limit=1)
    assert two.saved
    assert "<<<<<<<" in git(project, "show", f"{two.saved}:a.txt")
    assert git(project, "rev-parse", f"{two.saved}^") == loose
    assert "rebas" not in git(two.path, "status")
    workspace.release(two.path, "run-1")
    assert acquire(project, pool, FIRST, limit=1).branch == FIRST


def test_commits_on_no_branch_are_saved(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    git(one.path, "checkout", "--quiet", "--detach")
    loose = commit(one.path, a="loose\n")
    git(one.path, "update-ref", "refs/worktree/temporary", loose)  # ends with the worktree
    workspace.release(one.path, "run-1")
    two = acquire(project, pool, SECOND, limit=1)
    assert two.saved
    assert git(project, "rev-parse", two.saved) == loose


def add_worktree(slot: Path) -> str:
    """As an agent does for its own helpers."""
    git(slot, "worktree", "add", "--quiet", ".claude/worktrees/inner", "-b", "inner")
    (slot / ".claude" / "worktrees" / "inner" / "draft.txt").write_text("inner work\n")
    return ".claude/worktrees/inner/draft.txt"


def add_empty_repository(slot: Path) -> str:
    git(slot, "init", "--quiet", "fixture")
    (slot / "fixture" / "data.txt").write_text("no commit\n")
    return "fixture/data.txt"


def edit_submodule(slot: Path) -> str:
    git(slot, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    git(slot / "library", "update-index", "--assume-unchanged", "readme.txt")
    (slot / "library" / "readme.txt").write_text("edited\n")
    return "library/readme.txt"


@pytest.mark.parametrize(
    ("spoil", "reason", "is_saved"),
    [
        (add_worktree, "inner", True),
        (add_empty_repository, "fixture", False),
        (edit_submodule, "library", False),
    ],
)
def test_a_slot_that_cannot_be_cleaned_makes_place_for_a_fresh_one(
    project: Path, pool: Path, tmp_path: Path, spoil: Callable[[Path], str], reason: str, is_saved: bool
) -> None:
    library = create_repository(tmp_path / "library")
    git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "library")
    commit(project, "submodule")
    one = acquire(project, pool, FIRST, limit=1)
    (one.path / "new.txt").write_text("uncommitted\n")
    file = spoil(one.path)
    content = (one.path / file).read_text()
    workspace.release(one.path, "run-1")

    two = acquire(project, pool, SECOND, limit=1)

    assert (two.path, two.reused) == (one.path, False)
    assert (two.path / "a.txt").read_text() == "base\n"
    [old] = old_slots.list_old_slots(pool)
    assert (old.path / file).read_text() == content
    assert "new.txt" in git(old.path, "status", "--porcelain")
    assert (old.record.branch, reason in old.record.reason) == (FIRST, True)
    assert not (two.path / reason).is_dir() or not any((two.path / reason).iterdir())
    workspace.release(two.path, "run-1")
    assert acquire(project, pool, FIRST, limit=1).branch == FIRST
    assert list(old_slots.remove_expired(pool, 1)) == []

    leave_a_stale_lock(old.path)
    [(_, problem)] = old_slots.remove_expired(pool, -1)

    assert (problem is None, old.path.exists()) == (is_saved, not is_saved)
    saved_refs = git(project, "for-each-ref", "--format=%(refname)", "refs/mc/saved/").splitlines()
    [saved_ref] = [ref for ref in saved_refs if ref.startswith(f"refs/mc/saved/{FIRST}/")]
    assert len(saved_refs) == (2 if is_saved else 1)
    assert git(project, "show", f"{saved_ref}:new.txt") == "uncommitted"
    if is_saved:
        [inner_ref] = git(project, "for-each-ref", "--format=%(refname)", "refs/mc/saved/inner/").splitlines()
        assert git(project, "show", f"{inner_ref}:draft.txt") == "inner work"
        assert ".claude" not in git(project, "worktree", "list")
    else:
        old_slots.remove_old_slot(old, unsaved=True)
    assert sorted(entry.name for entry in pool.iterdir()) == ["pool-1", "pool-1.json", "pool-1.lock"]


def test_a_slot_in_which_git_would_follow_a_link_makes_place_for_a_fresh_one(
    project: Path, pool: Path, tmp_path: Path
) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious\n")
    git_dir = find_git_dir(one.path)
    for name, target in (
        ("rebase-merge", precious),
        ("gitdir.new", precious / "file"),
        ("logs/HEAD", precious / "file"),
    ):
        (git_dir / name).unlink(missing_ok=True)
        (git_dir / name).symlink_to(target)
    (one.path / "new.txt").write_text("uncommitted\n")
    workspace.release(one.path, "run-1")

    two = acquire(project, pool, FIRST, limit=1)

    assert (two.path, two.reused) == (one.path, False)
    assert [(file.name, file.read_text()) for file in precious.iterdir()] == [("file", "precious\n")]
    [old] = old_slots.list_old_slots(pool)
    assert (old.path / "new.txt").exists()
    assert "is a symbolic link" in old.record.reason
    assert [problem for _, problem in old_slots.remove_expired(pool, -1)] == [None]
    assert git(project, "for-each-ref", "refs/mc/saved")


def test_a_slot_is_not_worked_on_in_the_git_folder_of_another(project: Path, tmp_path: Path) -> None:
    pool = tmp_path / "link" / "worktrees"
    pool.parent.symlink_to(tmp_path)
    one, two = acquire(project, pool, FIRST, limit=2), acquire(project, pool, SECOND, limit=2)
    workspace.release(one.path, "run-1")
    for folder in (project, two.path):
        (folder / "a.txt").write_text("staged\n")
        git(folder, "add", "a.txt")
    before = [git(folder, "status", "--porcelain", "--branch") for folder in (project, two.path)]
    own_pointer = (one.path / ".git").read_text()
    (project / ".git" / "gitdir").write_text(f"{one.path}/.git\n")
    for git_dir in (project / ".git", find_git_dir(two.path)):
        (one.path / ".git").write_text(f"gitdir: {git_dir}\n")
        assert workspace.prune(project, "main", pool) == []
        assert acquire(project, pool, FIRST, limit=2).resumed
        assert (one.path / ".git").read_text() == own_pointer
    workspace.release(one.path, "run-1")
    (one.path / ".git").write_text(f"gitdir: {project / '.git'}\n")
    (project / ".git/worktrees/pool-1").rename(project / ".git/worktrees/lost")
    (project / ".git/worktrees/lost/gitdir").unlink()
    with pytest.raises(WorkspaceError, match="Set it aside"):
        workspace.discard(project, one.path, set())
    assert acquire(project, pool, THIRD, limit=2).reused is False
    assert [git(folder, "status", "--porcelain", "--branch") for folder in (project, two.path)] == before


def test_a_slot_with_a_folder_for_a_lock_makes_place_for_a_fresh_one(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST)
    (find_git_dir(one.path) / "index.lock").mkdir()
    assert acquire(project, pool, FIRST).reused is False
    assert "index.lock" in old_slots.list_old_slots(pool)[0].record.reason


def test_a_slot_in_which_no_branch_can_be_checked_out_makes_place_for_a_fresh_one(
    project: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    workspace.release(one.path, "run-1")
    commit(project, a="newer\n")
    git(project, "branch", THIRD)
    git(project, "worktree", "add", "--quiet", str(pool.parent / "elsewhere"), THIRD)
    with pytest.raises(WorkspaceError, match="already"):
        acquire(project, pool, THIRD, limit=1)
    assert old_slots.list_old_slots(pool) == []

    def clean_and_lock(path: Path) -> str | None:
        saved_ref = worktree_cleanup.clean_worktree(path)
        (find_git_dir(path) / "index.lock").touch()  # as a git that outlived its run does
        return saved_ref

    monkeypatch.setattr(workspace, "clean_worktree", clean_and_lock)
    two = acquire(project, pool, SECOND, limit=1)

    assert (two.path, two.reused, (two.path / "a.txt").read_text()) == (one.path, False, "newer\n")
    [old] = old_slots.list_old_slots(pool)
    assert "cannot be checked out" in old.record.reason and "index.lock" in old.record.reason


def test_a_difference_that_is_not_in_the_content_is_no_work(project: Path, pool: Path) -> None:
    (project / "dos.txt").write_bytes(b"one\r\ntwo\r\n")
    commit(project, "line ends")
    (project / ".gitattributes").write_text("*.txt text\n")
    git(project, "add", ".gitattributes")
    git(project, "commit", "--quiet", "-m", "attributes")
    one = acquire(project, pool, FIRST, limit=1)
    (one.path / "dos.txt").write_bytes(b"one\r\ntwo\r\n")
    assert git(one.path, "status", "--porcelain")
    workspace.release(one.path, "run-1")
    two = acquire(project, pool, SECOND, limit=1)
    assert (two.path, two.reused, two.saved) == (one.path, True, None)


def test_repeated_tries_to_save_leave_one_ref(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST)
    (one.path / "new.txt").write_text("uncommitted\n")
    assert worktree_cleanup.save_work(one.path) == worktree_cleanup.save_work(one.path)
    (one.path / "new.txt").write_text("changed\n")
    assert worktree_cleanup.save_work(one.path)
    assert len(git(project, "for-each-ref", "refs/mc/saved").splitlines()) == 2


def test_edits_that_the_index_hides_are_saved(project: Path) -> None:
    commit(project, b="base\n", sparse="base\n")
    git(project, "update-index", "--assume-unchanged", "a.txt")
    git(project, "update-index", "--skip-worktree", "b.txt", "sparse.txt")
    for name in ("a.txt", "b.txt"):
        (project / name).write_text("hidden\n")
    (project / "sparse.txt").unlink()

    saved_ref = worktree_cleanup.clean_worktree(project)

    texts = [git(project, "show", f"{saved_ref}:{name}.txt") for name in ("a", "b", "sparse")]
    assert texts == ["hidden", "hidden", "base"]
    assert (project / "a.txt").read_text() == (project / "b.txt").read_text() == "base\n"
    assert git(project, "ls-files", "-v", "*.txt").splitlines() == ["H a.txt", "H b.txt", "S sparse.txt"]
    assert not (project / "sparse.txt").exists()


def test_staged_content_and_replaced_paths_are_saved(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "folder").mkdir()
    (project / "folder" / "b.txt").write_text("moved\n")
    (project / "inner").mkdir()
    (project / "inner" / "old.txt").write_text("replaced\n")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T12:00:00Z")
    commit(project, "folder")
    for name in ("a.txt", "new.txt", ".env"):
        (project / name).write_text("staged\n")
    git(project, "add", "--force", "a.txt", "new.txt", ".env")
    (project / "a.txt").write_text("base\n")
    (project / "new.txt").unlink()
    (project / "folder").rename(project / "renamed")
    (project / "folder").symlink_to("renamed")
    git(project / "inner", "init", "--quiet")
    (project / "inner" / "old.txt").rename(project / "inner" / "new.txt")

    saved_ref = worktree_cleanup.clean_worktree(project)

    files = git(project, "ls-tree", "-r", "--name-only", str(saved_ref)).splitlines()
    assert files == [".env", ".gitignore", "a.txt", "folder", "inner/new.txt", "renamed/b.txt"]
    assert git(project, "show", f"{saved_ref}:folder") == "renamed"
    assert {git(project, "show", f"{saved_ref}^2:{name}.txt") for name in ("a", "new")} == {"staged"}
    assert git(project, "log", "-1", "--format=%cs", f"{saved_ref}^2") == "2020-01-01"
    assert git(project, "status", "--porcelain") == ""


def test_files_that_an_uncommitted_rule_ignores_are_not_removed(project: Path) -> None:
    (project / ".gitignore").write_text("result.txt\n")
    (project / "result.txt").write_text("not saved\n")
    with pytest.raises(worktree_cleanup.Uncleanable, match=r"result\.txt"):
        worktree_cleanup.clean_worktree(project)
    assert (project / "result.txt").read_text() == "not saved\n"


def test_a_file_that_git_does_not_add_is_not_removed(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "one.txt").write_text("staged\n")
    git(project, "add", "inner/one.txt")
    git(project / "inner", "init", "--quiet")
    (project / "inner" / "two.txt").write_text("skipped by git add\n")
    with pytest.raises(GitFailed, match=r"inner/\w+\.txt"):
        worktree_cleanup.clean_worktree(project)
    assert (project / "inner" / "two.txt").exists()


def test_a_moved_repository_keeps_its_slots(project: Path, pool: Path, tmp_path: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    (one.path / "new.txt").write_text("uncommitted\n")
    workspace.release(one.path, "run-1")
    new_place = project.rename(tmp_path / "moved")
    assert acquire(new_place, pool, FIRST, limit=1).resumed
    assert (one.path / "new.txt").exists()


def test_a_branch_of_a_lost_slot_is_free_again(project: Path, pool: Path, tmp_path: Path) -> None:
    acquire(project, pool, FIRST)
    pool.rename(tmp_path / "lost")
    assert acquire(project, tmp_path / "other", FIRST).branch == FIRST


def test_anything_else_in_the_path_of_a_slot_is_set_aside_and_stays(project: Path, pool: Path) -> None:
    (pool / "pool-1").mkdir(parents=True)
    (pool / "pool-1" / "mine").write_text("keep")
    create_repository(pool / "pool-2")
    assert {acquire(project, pool, branch, limit=2).path for branch in (FIRST, SECOND)} == {
        pool / "pool-1",
        pool / "pool-2",
    }
    other, foreign = old_slots.list_old_slots(pool)
    assert (foreign.path / "mine").read_text() == "keep"
    assert foreign.record.reason == "It is not a worktree."
    assert other.record.reason == "It belongs to another repository."
    assert all(problem for _, problem in old_slots.remove_expired(pool, -1))


def test_a_person_sets_a_slot_aside_that_no_live_run_holds(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST, limit=1)
    with pytest.raises(WorkspaceBusy):
        workspace.set_aside(project, one.path, {"run-1"})
    (pool / "pool-1.json").write_text("{")
    assert workspace.set_aside(project, one.path, {"run-1"})
    assert acquire(project, pool, FIRST, limit=1).reused is False


def test_only_clean_and_merged_slots_are_pruned(project: Path, pool: Path) -> None:
    merged, dirty, ahead, held_slot = (acquire(project, pool, f"mc/MC-{number}") for number in range(1, 5))
    (dirty.path / "new.txt").write_text("uncommitted\n")
    commit(ahead.path, a="not merged\n")
    for slot in (merged, dirty, ahead):
        workspace.release(slot.path, "run-1")
    assert workspace.prune(project, "main", pool) == [merged.path]
    assert not merged.path.exists()
    assert git(project, "branch", "--list", "mc/MC-1")
    assert dirty.path.exists()
    assert ahead.path.exists()
    assert held_slot.path.exists()


def test_a_discarded_slot_leaves_its_branch_and_a_saved_ref(project: Path, pool: Path) -> None:
    one = acquire(project, pool, FIRST)
    (one.path / "new.txt").write_text("uncommitted\n")
    with pytest.raises(WorkspaceBusy):
        workspace.discard(project, one.path, {"run-1"})
    saved_ref = workspace.discard(project, one.path, set())
    assert git(project, "show", f"{saved_ref}:new.txt") == "uncommitted"
    assert not one.path.exists()
    assert git(project, "branch", "--list", FIRST)


def test_a_project_without_commits_or_repository_or_base_is_named(tmp_path: Path, project: Path, pool: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotARepository):
        acquire(empty, pool, FIRST)
    git(empty, "init", "--quiet")
    with pytest.raises(NoCommits, match="no commits yet"):
        acquire(empty, pool, FIRST)
    with pytest.raises(UnknownBase, match="no branch absent"):
        workspace.acquire(project, "absent", FIRST, pool, 1, "run-1")


def test_a_branch_that_is_checked_out_elsewhere_is_a_workspace_error(project: Path, pool: Path) -> None:
    git(project, "checkout", "--quiet", "-b", FIRST)
    with pytest.raises(WorkspaceError, match="already"):
        acquire(project, pool, FIRST)


def test_a_base_known_only_from_the_remote_is_used(project: Path, pool: Path, tmp_path: Path) -> None:
    git(project, "branch", "release")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    slot = workspace.acquire(clone, "release", FIRST, pool, 1, "run-1")
    assert slot.base_sha == git(project, "rev-parse", "release")


def test_a_ticket_without_a_project_gets_an_empty_folder_and_later_the_same(tmp_path: Path) -> None:
    one = workspace.make_scratch_folder(tmp_path / "scratch", "MC-7")
    assert one == Workspace(tmp_path / "scratch" / "MC-7", None, None, None, None, reused=False)
    (one.path / "note").write_text("kept")
    again = workspace.make_scratch_folder(tmp_path / "scratch", "MC-7")
    assert again.resumed
    assert (again.path / "note").exists()
    with pytest.raises(ValueError, match="identifier"):
        workspace.make_scratch_folder(tmp_path / "scratch", "../MC-7")


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Add a door", "mc/MC-3-add-a-door"),
        ("  Größe: ändern!  ", "mc/MC-3-groe-andern"),
        ("--force; rm -rf / .lock", "mc/MC-3-force-rm-rf-lock"),
        ("日本語", "mc/MC-3"),
        ("x" * 39 + " y" * 9, "mc/MC-3-" + "x" * 39),
    ],
)
def test_a_title_becomes_a_branch_name(tmp_path: Path, title: str, branch: str) -> None:
    assert workspace.format_branch_name("MC-3", title) == branch
    git(tmp_path, "check-ref-format", "--branch", branch)


@pytest.mark.parametrize("branch", ["main", "mc/../x", "-b", "mc/-x", "mc/a b", "mc/MC-1\n"])
def test_only_a_tickets_branch_is_worked_on(project: Path, pool: Path, branch: str) -> None:
    with pytest.raises(ValueError, match="Invalid ticket branch"):
        acquire(project, pool, branch)


def test_files_are_copied_or_linked_and_never_seen_as_changes(project: Path, pool: Path) -> None:
    (project / ".env").write_text("SECRET=1\n")
    (project / ".env").chmod(0o600)
    (project / "cache").mkdir()
    (project / ".git" / "info" / "exclude").write_text("*.log")  # without a line end
    (project / "config [1]").mkdir()
    (project / "config [1]" / "local.toml").write_text("x = 1\n")
    slot = acquire(project, pool, FIRST).path
    (slot / ".env").symlink_to(project / ".env")  # as before there were copies

    for resumed in (True, False):
        add_files(project, slot, [".env", "config [1]"], ["cache"], resumed=resumed)
    (slot / ".env").write_text("edited\n")
    (slot / "config [1]" / "local.toml").write_text("edited\n")

    assert (project / ".env").read_text() == "SECRET=1\n"
    assert (project / "config [1]" / "local.toml").read_text() == "x = 1\n"
    assert (slot / ".env").stat().st_mode & 0o777 == 0o600
    assert (slot / "cache").resolve() == project / "cache"
    assert git(slot, "status", "--porcelain") == ""
    assert (project / ".git" / "info" / "exclude").read_text() == "*.log\n/config\\ \\[1\\]\n/cache\n"
    add_files(project, slot, [".env"], [], resumed=True)
    assert (slot / ".env").read_text() == "edited\n"
    add_files(project, slot, [".env"], [])
    assert (slot / ".env").read_text() == "SECRET=1\n"
    add_files(project, slot, [], [".env"])
    assert (slot / ".env").readlink() == project / ".env"


def test_submodules_are_initialised_from_local_objects_or_it_is_said_why_not(
    project: Path, pool: Path, tmp_path: Path
) -> None:
    for name in ("library", "missing"):
        source = create_repository(tmp_path / name)
        git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), f"lib/{name}")
    commit(project, "submodules")
    shutil.rmtree(tmp_path / "library")
    shutil.rmtree(project / ".git" / "modules" / "lib" / "missing")
    before = (project / ".git" / "config").read_text()
    slot = acquire(project, pool, FIRST)

    [note] = initialise_submodules(slot.path, slot.base_sha or "")

    assert (slot.path / "lib" / "library" / "readme.txt").read_text() == "hello\n"
    assert note.startswith("The submodule lib/missing is not initialised: ")
    assert "transport 'file' not allowed" in note
    assert (git(slot.path, "status", "--porcelain"), (project / ".git" / "config").read_text()) == ("", before)
    git(slot.path, "config", "--file", ".gitmodules", "submodule.lib/missing.url", "https://elsewhere.example/x")
    commit(slot.path, "another address")
    [note] = initialise_submodules(slot.path, slot.base_sha or "")
    assert "the branch changes .gitmodules" in note


def test_git_folders_of_submodules_that_a_run_has_left_are_not_used(project: Path, pool: Path, tmp_path: Path) -> None:
    source = create_repository(tmp_path / "library")
    git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "library")
    base = commit(project, "submodule")
    one = acquire(project, pool, FIRST, limit=1)
    assert initialise_submodules(one.path, base) == ()
    hostile = find_git_dir(one.path / "library")
    (hostile / "info").mkdir(exist_ok=True)
    (hostile / "info" / "attributes").write_text("* filter=trap\n")
    git(hostile, "config", "filter.trap.smudge", f"touch {tmp_path}/ran; cat")
    (hostile / "index").unlink()
    (one.path / "library" / "readme.txt").unlink()
    pointer = (one.path / "library" / ".git").rename(tmp_path / "pointer")
    [note] = initialise_submodules(one.path, base)
    assert "of an earlier run" in note
    pointer.rename(one.path / "library" / ".git")
    git(one.path / "library", "-c", "filter.trap.smudge=cat", "reset", "--quiet", "--hard")
    (one.path / "new.txt").write_text("uncommitted\n")
    workspace.release(one.path, "run-1")

    two = acquire(project, pool, SECOND, limit=1)

    assert (two.path, two.reused) == (one.path, False)
    assert git(project, "show", f"{two.saved}:new.txt") == "uncommitted"
    (two.path / "library" / ".git").mkdir()
    assert initialise_submodules(two.path, base) == (note,)
    (two.path / "library" / ".git").rmdir()
    assert initialise_submodules(two.path, base) == ()
    assert (two.path / "library" / "readme.txt").read_text() == "hello\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../other", "/etc/passwd", ".git/config", "a/../../x", "", ".", "absent", "a.txt", "out"]
)
def test_a_link_that_leaves_the_folder_or_hides_a_file_is_refused(
    project: Path, pool: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "other").write_text("outside")
    (project / "out").symlink_to(tmp_path / "other")
    slot = acquire(project, pool, FIRST)
    for copies, links in (([name], []), ([], [name])):
        with pytest.raises(LinkRefused):
            add_files(project, slot.path, copies, links)


def test_a_failing_set_up_shows_how_it_ended(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin"}
    workspace.run_set_up(tmp_path, ["sh", "-c", "echo done > made"], env, 10, SHAPES)
    assert (tmp_path / "made").exists()
    with pytest.raises(SetUpFailed, match=r"failed \(3\):\nlast words"):
        workspace.run_set_up(tmp_path, ["sh", "-c", "echo last words >&2; exit 3"], env, 10, SHAPES)
    with pytest.raises(SetUpFailed, match="did not end within"):
        workspace.run_set_up(tmp_path, ["sleep", "300"], env, 0.2, SHAPES)
    with pytest.raises(SetUpFailed, match="cannot be started"):
        workspace.run_set_up(tmp_path, ["no-such-program"], env, 1, SHAPES)
