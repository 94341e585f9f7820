"""Landing on real repositories: nothing of the operator's is overwritten, and nothing lands twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from tickets.workflow import branch_states
from workers.repository import landing, pull_requests, trial_merge, worktrees
from workers.repository.git import GitError
from workers.repository.landing import LandingError, LandingJob, MergeCandidate, MergeConflict, MergeResult

from .repositories import commit, create_repository, git

BRANCH = "mc/MC-3-add-a-line"
Land = Callable[..., str]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The operator's folder on main; the ticket's branch changes one file and adds one."""
    repo = create_repository(tmp_path / "repo", readme="hello\n", other="one\n")
    git(repo, "switch", "--quiet", "--create", BRANCH)
    commit(repo, "Say more", readme="hello\nmore\n")
    commit(repo, "Add a line", line="line\n")
    git(repo, "switch", "--quiet", "main")
    return repo


@pytest.fixture
def job(repo: Path) -> LandingJob:
    return LandingJob(repo, "main", BRANCH, git(repo, "rev-parse", BRANCH), "MC-3", "Add a line", 7)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "landing" / "MC-3"


@pytest.fixture
def land(job: LandingJob, scratch: Path) -> Land:
    def land(
        job: LandingJob = job, *, squash: bool = False, look: Callable[[MergeCandidate], None] = lambda _: None
    ) -> str:
        try:
            return landing.merge_onto_base(job, scratch, squash=squash, look=look).commit
        finally:
            assert not scratch.exists() and str(scratch) not in git(job.repository, "worktree", "list")

    return land


def list_log(repo: Path, form: str = "%s", *more: str) -> list[str]:
    return git(repo, "log", f"--format={form}", *more).splitlines()


def switch_elsewhere(repo: Path) -> None:
    """The operator works on another branch, so that nothing shows main."""
    git(repo, "switch", "--quiet", "--create", "elsewhere")


def test_a_trial_merge_tells_of_conflicts_and_touched_lines_and_changes_nothing(repo: Path, job: LandingJob) -> None:
    commit(repo, "Otherwise", readme="goodbye\n", other="one\ntwo\n")
    before = git(repo, "rev-parse", "main", BRANCH), git(repo, "status", "--porcelain"), git(repo, "worktree", "list")
    heads = trial_merge.list_heads(repo, ["main", BRANCH, "absent"])
    trial = trial_merge.try_merge(repo, heads["main"].commit, heads[BRANCH].commit)
    assert heads.keys() == {"main", BRANCH} and heads[BRANCH].tree == git(repo, "rev-parse", f"{BRANCH}^{{tree}}")
    assert trial.conflicts == ("readme.txt",) and trial.spans.keys() == {"readme.txt", "line.txt"}
    assert before == (
        git(repo, "rev-parse", "main", BRANCH),
        git(repo, "status", "--porcelain"),
        git(repo, "worktree", "list"),
    )


PATCH = """diff --git a/src/a b.py b/src/a b.py
--- a/src/a b.py
+++ b/src/a b.py
@@ -3 +3,2 @@ def run():
-@@ -90 +90 @@
+one
@@ -10,0 +12 @@
+inserted
@@ -20,5 +22,0 @@
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
"""


def test_touched_lines_lie_between_gaps_and_meet_where_git_would_conflict() -> None:
    spans = trial_merge.parse_spans(PATCH)
    assert spans == {"src/a b.py": [(2, 3), (10, 10), (19, 24)], "logo.png": []}
    for other, places in (
        ([(4, 9)], []),
        ([(3, 4)], [("src/a b.py", 3, 3)]),
        ([(10, 10)], [("src/a b.py", 10, 10)]),
        ([(0, 40)], [("src/a b.py", 3, 3), ("src/a b.py", 10, 10), ("src/a b.py", 20, 24)]),
        ([(22, 30), (40, 41)], [("src/a b.py", 23, 24)]),
        ([], [("src/a b.py", None, None)]),
    ):
        assert branch_states.find_overlaps(spans, {"src/a b.py": other}) == places, other
    assert branch_states.find_overlaps({"a": []}, {"b": []}) == []
    many = {f"{number}.py": [(0, 9)] for number in range(1000)}
    assert len(branch_states.find_overlaps(many, many)) == branch_states.MAX_OVERLAPS


def test_a_merge_has_both_parents_and_the_operators_name_and_the_checkout_follows(
    repo: Path, job: LandingJob, land: Land
) -> None:
    before = git(repo, "rev-parse", "main")

    merge = land()

    assert git(repo, "rev-parse", "main", f"{merge}^1", f"{merge}^2").split() == [merge, before, job.commit]
    assert list_log(repo, "%s|%an <%ae>|%cn", "-1") == ["Merge MC-3: Add a line|Alice <alice@example.org>|Alice"]
    assert (repo / "line.txt").read_text() == "line\n" and git(repo, "status", "--porcelain") == ""


def test_a_squash_is_one_commit_that_names_what_the_branch_did(repo: Path, job: LandingJob, land: Land) -> None:
    before = commit(repo, "Meanwhile", other="two\n")
    git(repo, "switch", "--quiet", BRANCH)
    git(repo, "merge", "--quiet", "--no-edit", "main")
    git(repo, "switch", "--quiet", "main")

    squashed = land(replace(job, commit=git(repo, "rev-parse", BRANCH)), squash=True)

    assert (
        git(repo, "log", "-1", "--format=%P|%B", squashed) == f"{before}|MC-3: Add a line\n\n* Say more\n* Add a line"
    )
    assert git(repo, "diff", squashed, BRANCH) == ""


@pytest.mark.parametrize("squash", [False, True])
def test_a_base_that_nobody_shows_is_moved_by_itself(repo: Path, land: Land, squash: bool) -> None:
    switch_elsewhere(repo)
    landed_commit = land(squash=squash)
    assert git(repo, "rev-parse", "main") == landed_commit
    assert not (repo / "line.txt").exists() and git(repo, "status", "--porcelain") == ""


def test_only_what_was_verified_is_landed_when_the_branch_has_gone_on(repo: Path, land: Land) -> None:
    git(repo, "switch", "--quiet", BRANCH)
    commit(repo, "Not looked at", late="late\n")
    git(repo, "switch", "--quiet", "main")
    land()
    assert (repo / "line.txt").exists() and not (repo / "late.txt").exists()


def test_a_branch_that_left_what_was_verified_is_not_landed(repo: Path, land: Land) -> None:
    git(repo, "branch", "--force", BRANCH, f"{BRANCH}~2")
    with pytest.raises(LandingError, match="does not contain"):
        land()
    git(repo, "branch", "-D", BRANCH)
    with pytest.raises(LandingError, match="is gone"):
        land()
    assert list_log(repo) == ["first"]


def test_a_conflict_names_the_files_and_changes_nothing(repo: Path, land: Land) -> None:
    commit(repo, "Otherwise", readme="good day\n", line="another\n")
    before = git(repo, "rev-parse", "main")
    for squash in (False, True):
        with pytest.raises(MergeConflict) as error:
            land(squash=squash)
        assert error.value.files == ["line.txt", "readme.txt"]
    assert git(repo, "rev-parse", "main") == before and git(repo, "status", "--porcelain") == ""


def test_local_changes_to_other_files_stay_and_do_not_stop_it(repo: Path, land: Land) -> None:
    (repo / "other.txt").write_text("mine\n")
    (repo / "untracked.txt").write_text("mine too\n")
    git(repo, "add", "other.txt")
    land()
    assert (repo / "line.txt").exists()
    assert git(repo, "status", "--porcelain").splitlines() == ["M  other.txt", "?? untracked.txt"]
    assert (repo / "other.txt").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["readme.txt", "line.txt"])
def test_local_changes_that_would_be_overwritten_refuse_it(repo: Path, land: Land, name: str) -> None:
    git(repo, "config", "merge.autoStash", "true")
    (repo / name).write_text("mine\n")
    with pytest.raises(LandingError, match=rf"{repo}, where {name} would be overwritten"):
        land()
    assert (repo / name).read_text() == "mine\n" and list_log(repo) == ["first"]

    git(repo, "stash", "--quiet", "--include-untracked")
    land()
    assert "Merge MC-3: Add a line" in list_log(repo)


def test_a_base_that_moves_meanwhile_is_merged_anew(repo: Path, land: Land) -> None:
    moves = iter(["one", "two"])

    def move_once_more(_: MergeCandidate) -> None:
        if subject := next(moves, None):
            commit(repo, subject, **{subject: "x\n"})

    merge = land(look=move_once_more)
    assert list_log(repo, "%s", "--first-parent") == ["Merge MC-3: Add a line", "two", "one", "first"]
    assert git(repo, "rev-parse", "main") == merge


def test_a_base_that_never_rests_is_given_up(repo: Path, land: Land) -> None:
    with pytest.raises(LandingError, match="keeps moving"):
        land(look=lambda _: commit(repo, "again") and None)
    assert len(list_log(repo)) == 1 + landing.MAX_ATTEMPTS


def test_what_looks_at_the_result_sees_it_and_may_refuse_it(repo: Path, land: Land, scratch: Path) -> None:
    results: list[str] = []

    def refuse(candidate: MergeCandidate) -> None:
        results.extend([git(scratch, "rev-parse", "HEAD"), git(scratch, "status", "--porcelain"), candidate.commit])
        raise LandingError("No.")

    commit(repo, "Another file", third="x\n")
    with pytest.raises(LandingError, match="No"):
        land(look=refuse)
    assert results == [results[2], "", results[2]] and list_log(repo) == ["Another file", "first"]


def test_a_result_with_the_very_files_that_were_verified_is_told_from_another(repo: Path, land: Land) -> None:
    results: list[bool] = []

    def look(candidate: MergeCandidate) -> None:
        results.append(candidate.tested)
        raise LandingError("Seen.")

    for _ in range(2):
        with pytest.raises(LandingError, match="Seen"):
            land(look=look)
        commit(repo, "Another file", third="x\n")
    assert results == [True, False]


# Cut off, and begun again


@pytest.mark.parametrize("squash", [False, True])
def test_a_base_that_was_moved_before_a_crash_is_not_moved_again(
    repo: Path, land: Land, squash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed_commit = land(squash=squash)
    commit(repo, "Undo by hand", readme="hello\n")
    assert land(squash=squash) == landed_commit
    assert list_log(repo, "%s", "--first-parent")[:1] == ["Undo by hand"]


@pytest.mark.parametrize("step", ["_write_commit", "_fast_forward"])
def test_a_crash_before_the_base_moves_costs_nothing(
    repo: Path, job: LandingJob, scratch: Path, land: Land, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Not to be caught by anybody."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(landing, step, die)
        patch.setattr(worktrees, "_remove_scratch", lambda *_: None)  # nor is anything tidied
        with pytest.raises(Killed):
            landing.merge_onto_base(job, scratch, squash=True, look=lambda _: None)
    assert scratch.exists() and list_log(repo) == ["first"]

    landed_commit = land(squash=True)
    assert list_log(repo) == ["MC-3: Add a line", "first"] and git(repo, "rev-parse", "main") == landed_commit


def test_a_work_tree_that_a_crash_left_is_swept(repo: Path, scratch: Path) -> None:
    scratch.parent.mkdir()
    git(repo, "worktree", "add", "--quiet", "--detach", str(scratch))
    (scratch.parent / "stray").mkdir()
    worktrees.remove_scratch_worktrees(scratch.parent)
    assert list(scratch.parent.iterdir()) == [] and git(repo, "worktree", "list").count("\n") == 0


def test_a_later_landing_of_the_same_ticket_is_one_of_its_own(repo: Path, job: LandingJob, land: Land) -> None:
    land(squash=True)
    git(repo, "switch", "--quiet", BRANCH)
    second = commit(repo, "More", more="more\n")
    git(repo, "switch", "--quiet", "main")
    land(replace(job, commit=second, key=9), squash=True)
    assert (repo / "more.txt").exists() and len(list_log(repo)) == 3
    landing.delete_references(job)
    assert git(repo, "for-each-ref", landing.REFERENCE_PREFIX) == ""


def test_a_squash_that_would_change_nothing_makes_no_commit(repo: Path, job: LandingJob, land: Land) -> None:
    squashed = land(squash=True)
    assert land(replace(job, key=9), squash=True) == squashed
    assert list_log(repo) == ["MC-3: Add a line", "first"]


def test_what_the_base_has_already_is_done_even_without_its_branch(repo: Path, job: LandingJob, scratch: Path) -> None:
    git(repo, "merge", "--quiet", "--ff-only", BRANCH)
    git(repo, "branch", "-D", BRANCH)
    result = landing.merge_onto_base(job, scratch, squash=False, look=lambda _: None)
    assert result == MergeResult(git(repo, "rev-parse", "main"), already=True)


# What stands in the way


def test_no_name_is_made_up(repo: Path, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("EMAIL", "somebody@example.org")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    git(repo, "config", "user.name", "An agent")
    with pytest.raises(LandingError, match="in whose name"):
        land()
    assert list_log(repo) == ["first"]


def test_a_work_tree_that_git_cannot_read_is_in_nobodys_way(repo: Path, land: Land, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "--quiet", "--detach", str(tmp_path / "broken"))
    (tmp_path / "broken" / ".git").unlink()
    land()
    assert (repo / "line.txt").exists()


def test_a_base_in_a_rebase_is_left_alone(repo: Path, land: Land) -> None:
    git(repo, "switch", "--quiet", "--create", "topic")
    commit(repo, "Theirs", other="theirs\n")
    git(repo, "switch", "--quiet", "main")
    mine = commit(repo, "Mine", other="mine\n")
    with pytest.raises(CalledProcessError):
        git(repo, "rebase", "topic")

    with pytest.raises(LandingError, match=rf"main is being rebased in {repo}\. Finish that"):
        land()

    assert git(repo, "rev-parse", "main") == mine
    git(repo, "rebase", "--abort")
    land()
    assert (repo / "line.txt").exists()


def test_a_base_that_has_no_local_branch_says_what_to_do(repo: Path, job: LandingJob, land: Land) -> None:
    with pytest.raises(LandingError, match="git branch trunk"):
        land(replace(job, base="trunk"))


def test_a_repository_that_is_gone_is_named(job: LandingJob, scratch: Path, tmp_path: Path) -> None:
    missing = replace(job, repository=tmp_path / "gone")
    with pytest.raises(LandingError, match="not a git repository"):
        landing.merge_onto_base(missing, scratch, squash=False, look=lambda _: None)


def test_hooks_of_the_repository_are_not_run(repo: Path, land: Land) -> None:
    for hook in ("post-merge", "pre-merge-commit", "commit-msg", "post-checkout", "reference-transaction"):
        path = repo / ".git/hooks" / hook
        path.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
        path.chmod(0o755)
    land()
    assert not (repo / "ran").exists()


# Repositories with filters, line endings, submodules and signatures


def configure(path: Path, monkeypatch: pytest.MonkeyPatch, *settings: str) -> None:
    """Give the operator a configuration of these settings beside the name."""
    for setting in ("user.name=Alice", "user.email=alice@example.org", *settings):
        git(path.parent, "config", "--file", str(path), *setting.split("=", 1))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))


LFS_FILTER = ("filter.lfs.clean=sed s/real/stored/", "filter.lfs.smudge=sed s/stored/real/", "filter.lfs.required=true")


def test_filters_line_endings_and_a_submodule_are_no_obstacle(
    repo: Path, job: LandingJob, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path / "gitconfig", monkeypatch, *LFS_FILTER, "core.autocrlf=true", "protocol.file.allow=always")
    library = create_repository(tmp_path / "library")
    git(repo, "switch", "--quiet", BRANCH)
    (repo / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    (repo / "data.bin").write_text("real one\n")
    git(repo, "submodule", "--quiet", "add", str(library), "library")
    commit(repo, "Large files")
    git(repo, "switch", "--quiet", "main")
    shutil.rmtree(repo / "library")

    result = landing.merge_onto_base(
        replace(job, commit=git(repo, "rev-parse", BRANCH)), tmp_path / "scratch", squash=False, look=lambda _: None
    )

    assert (repo / "data.bin").read_text() == "real one\n" and git(repo, "show", "main:data.bin") == "stored one"
    assert (repo / "line.txt").read_bytes() == b"line\r\n" and git(repo, "show", "main:line.txt") == "line"
    assert git(repo, "status", "--porcelain") == "" and result.note == ""
    large = replace(job, commit=git(repo, "rev-parse", BRANCH), base="first")
    git(repo, "branch", "first", job.commit)
    assert landing.describe_upload(large).startswith(" LFS: off. The large files themselves were not uploaded")

    configure(tmp_path / "without", monkeypatch)
    git(repo, "config", "filter.lfs.smudge", "false")
    git(repo, "switch", "--quiet", "--create", "more")
    (repo / "data.bin").write_text("stored two\n")
    commit(repo, "Change it")
    git(repo, "switch", "--quiet", "main")
    more = replace(job, branch="more", commit=git(repo, "rev-parse", "more"), key=8)
    result = landing.merge_onto_base(more, tmp_path / "scratch", squash=True, look=lambda _: None)
    assert result.note.startswith(f" LFS: off. The changed files that go through it are in {repo} as they are stored")
    assert (repo / "data.bin").read_text() == "stored two\n"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_a_landing_commit_is_signed_with_the_operators_key_or_says_that_there_is_none(
    repo: Path, job: LandingJob, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("gpg.ssh.defaultKeyCommand", "gpg.ssh.program", "gpg.program"):
        git(repo, "config", setting, f"touch {tmp_path}/ran")
    configure(tmp_path / "gitconfig", monkeypatch, "gpg.format=ssh")
    signed_job = replace(job, sign=True)
    with pytest.raises(LandingError, match=r"could not sign this one: .*user\.signingkey.*Set your key with"):
        land(signed_job)
    assert list_log(repo) == ["first"]

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    configure(tmp_path / "gitconfig", monkeypatch, f"user.signingKey={key}.pub")
    assert "BEGIN SSH SIGNATURE" in git(repo, "cat-file", "commit", land(signed_job))
    assert not (tmp_path / "ran").exists()


# Elsewhere


@pytest.fixture
def remote(repo: Path, tmp_path: Path) -> Path:
    bare = tmp_path / "remote.git"
    git(repo, "init", "--quiet", "--bare", str(bare))
    return bare


@pytest.fixture
def pushed_job(job: LandingJob, remote: Path) -> LandingJob:
    return replace(job, address=str(remote))


def test_the_verified_commit_is_pushed_as_the_branch_and_again_without_harm(
    repo: Path, pushed_job: LandingJob, remote: Path
) -> None:
    for _ in range(2):
        assert landing.push_branch(pushed_job) == str(remote)
    assert git(remote, "rev-parse", f"refs/heads/{BRANCH}") == pushed_job.commit
    assert list_log(repo) == ["first"]


def test_a_remote_that_refuses_is_said_with_its_words_but_no_password(
    repo: Path, pushed_job: LandingJob, remote: Path
) -> None:
    landing.push_branch(pushed_job)
    git(repo, "switch", "--quiet", "--orphan", "another")
    other = commit(repo, "Unrelated")
    git(repo, "branch", "--force", BRANCH, other)
    with pytest.raises(LandingError, match=rf"{remote} did not take"):
        landing.push_branch(replace(pushed_job, commit=other))
    with pytest.raises(LandingError) as error:
        landing.push_branch(replace(pushed_job, commit=other, address="https://alice:hunter2@127.0.0.1:1/x"))
    assert "127.0.0.1" in str(error.value) and "hunter2" not in str(error.value)


def test_without_a_recorded_address_nothing_is_pushed_and_the_repositorys_remote_is_only_named(
    repo: Path, job: LandingJob
) -> None:
    with pytest.raises(LandingError, match=r"no push address\. Enter one there, then"):
        landing.push_branch(job)
    git(repo, "remote", "add", "only", "https://host.example/only")
    assert landing.find_remote_address(repo, "main") == "https://host.example/only"
    git(repo, "remote", "add", "origin", "https://alice:hunter2@host.example/x")
    with pytest.raises(LandingError, match=r"remote is https://host\.example/x: if that is right"):
        landing.push_branch(job)
    git(repo, "config", "branch.main.remote", "only")
    git(repo, "config", "remote.only.pushurl", "https://host.example/push")
    assert landing.find_remote_address(repo, "main") == "https://host.example/push"


def write_program(folder: Path, name: str, says: str, listed: str = "[]", code: int = 0) -> Path:
    """A program that writes down how it was called, one JSON array a line."""
    call_log = folder / f"{name}.calls"
    path = folder / name
    path.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        f"open({str(call_log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"print({listed!r} if 'list' in sys.argv else {says!r})\n"
        f"sys.exit(0 if 'list' in sys.argv else {code})\n"
    )
    path.chmod(0o755)
    return call_log


def read_calls(call_log: Path) -> list[list[str]]:
    return [json.loads(line) for line in call_log.read_text().splitlines()]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH, for gh and glab."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_pull_request_is_opened_with_gh(pushed_job: LandingJob, programs: Path) -> None:
    call_log = write_program(programs, "gh", "Creating...\nhttps://github.example/a/b/pull/5")
    assert pull_requests.open_pull_request(pushed_job) == "https://github.example/a/b/pull/5"
    listed, created = read_calls(call_log)
    assert listed == ["pr", "list", f"--head={BRANCH}", "--base=main", "--state=open", "--json=url"]
    assert created[:4] == ["pr", "create", f"--head={BRANCH}", "--base=main"]
    assert created[4:] == ["--title=MC-3: Add a line", "--body=- Say more\n- Add a line"]


def test_a_base_that_only_the_remote_has_is_enough_for_a_pull_request(
    repo: Path, pushed_job: LandingJob, remote: Path, programs: Path
) -> None:
    call_log = write_program(programs, "gh", "https://github.example/a/b/pull/5")
    git(repo, "remote", "add", "origin", str(remote))
    git(repo, "push", "--quiet", "origin", "main")
    git(repo, "fetch", "--quiet", "origin")
    git(repo, "switch", "--quiet", "--create", "elsewhere")
    git(repo, "branch", "-D", "main")
    landing.push_branch(pushed_job)
    pull_requests.open_pull_request(pushed_job)
    assert read_calls(call_log)[1][-1] == "--body=- Say more\n- Add a line"


@pytest.mark.parametrize(("name", "key"), [("gh", "url"), ("glab", "web_url")])
def test_one_that_is_open_already_is_taken(pushed_job: LandingJob, programs: Path, name: str, key: str) -> None:
    call_log = write_program(programs, name, "no", listed=json.dumps([{key: "https://host.example/5"}]))
    assert pull_requests.open_pull_request(pushed_job) == "https://host.example/5"
    assert len(read_calls(call_log)) == 1


def test_the_program_fits_the_host_of_the_address(job: LandingJob, programs: Path) -> None:
    call_log = write_program(programs, "glab", "https://gitlab.example/a/b/-/merge_requests/1")
    write_program(programs, "gh", "wrong")
    gitlab = replace(job, address="git@gitlab.example:github/b.git")
    assert pull_requests.open_pull_request(gitlab) == "https://gitlab.example/a/b/-/merge_requests/1"
    assert read_calls(call_log)[1][:2] == ["mr", "create"]
    with pytest.raises(LandingError, match=r"https://code\.example/a/b\.git does not tell"):
        pull_requests.open_pull_request(replace(job, address="https://me:secret@code.example/a/b.git"))
    (programs / "gh").unlink()
    with pytest.raises(LandingError, match="needs gh"):
        pull_requests.open_pull_request(replace(job, address="https://github.example/a/b.git"))


def test_without_a_program_or_with_one_that_refuses_it_says_what_to_do(pushed_job: LandingJob, programs: Path) -> None:
    with pytest.raises(LandingError, match="Neither gh nor glab"):
        pull_requests.open_pull_request(pushed_job)
    write_program(programs, "gh", "not logged in", code=4)
    with pytest.raises(LandingError, match=r"gh did not open a pull request: not logged in\. Resolve that with gh"):
        pull_requests.open_pull_request(pushed_job)


def test_git_that_cannot_merge_at_all_says_why(repo: Path, job: LandingJob, land: Land) -> None:
    git(repo, "switch", "--quiet", "--orphan", "another")
    other = commit(repo, "Unrelated", x="x\n")
    git(repo, "branch", "--force", BRANCH, other)
    git(repo, "switch", "--quiet", "main")
    with pytest.raises((LandingError, GitError), match="unrelated histories"):
        land(replace(job, commit=other))
