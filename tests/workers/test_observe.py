"""What a run did is seen by Mission Control itself, whatever state the workspace was left in."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from redaction import SHAPES, Redaction
from tests.waiting import wait_until
from workers.host import processes
from workers.repository import checks
from workers.repository.linked_files import add_files
from workers.repository.observe import EMPTY_OBSERVATIONS, CheckSettings, observe
from workers.repository.observe import find_base as workers_base_of

from .repositories import commit, create_repository, git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return create_repository(tmp_path / "repo", a="one\ntwo\n")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def build_check(logs: Path, script: str, **changed: Any) -> CheckSettings:
    marker = f"MC_RUN_ID=test-{uuid4().hex}"
    env = {"PATH": os.environ["PATH"], "MC_RUN_ID": marker.removeprefix("MC_RUN_ID=")}
    settings: dict[str, Any] = {"timeout": 20.0, "redaction": SHAPES, **changed}
    return CheckSettings(["sh", "-c", script], env, marker, logs, **settings)


def read_head(repo: Path) -> str:
    return git(repo, "rev-parse", "HEAD")


def test_commits_changes_and_uncommitted_files_are_seen(repo: Path) -> None:
    base = read_head(repo)
    one = commit(repo, "add b", b="bee\n")
    two = commit(repo, "change a", a="one\n2\n")
    (repo / "left").write_text("over")
    observations = observe(repo, base)
    assert observations == EMPTY_OBSERVATIONS | {
        "base_sha": base,
        "head_sha": two,
        "tree_sha": git(repo, "rev-parse", "HEAD^{tree}"),
        "commits": [{"sha": two, "subject": "change a"}, {"sha": one, "subject": "add b"}],
        "files_changed": 2,
        "insertions": 2,
        "deletions": 1,
        "diff_sha256": observations["diff_sha256"],
        "dirty": ["left"],
    }


def test_equal_changes_have_equal_hashes_and_others_not(repo: Path) -> None:
    base = read_head(repo)
    nothing = observe(repo, base)["diff_sha256"]
    commit(repo, "one way", a="changed\n")
    first = observe(repo, base)["diff_sha256"]
    git(repo, "reset", "--quiet", "--hard", base)
    commit(repo, "another way", a="changed\n")
    assert observe(repo, base)["diff_sha256"] == first != nothing


def test_long_lists_are_cut(repo: Path) -> None:
    base = read_head(repo)
    for number in range(53):
        git(repo, "commit", "--quiet", "--allow-empty", "-m", str(number))
        (repo / f"left-{number}").write_text("")
    observations = observe(repo, base)
    assert len(observations["commits"]) == 50
    assert observations["commits"][0]["subject"] == "52"
    assert len(observations["dirty"]) == 50


def test_a_passing_check_is_measured_and_the_base_left_alone(repo: Path, logs: Path) -> None:
    script = "printf '\\033[32mgreen\\033[0m\\007\\n'; pwd; echo hunter22-secret"
    (logs / "check.log.new").symlink_to(repo / "a")
    observations = observe(repo, read_head(repo), build_check(logs, script, redaction=Redaction(["hunter22-secret"])))
    output = f"green\n{repo}\n[redacted]\n"
    log = logs / "check.log"
    assert log.read_text() == output and log.stat().st_mode & 0o777 == 0o600, "the log has neither colours nor secrets"
    check = observations["check"]
    assert (check["exit_code"], check["timed_out"], observations["check_base"]) == (0, False, None)
    assert check["argv"][:2] == ["sh", "-c"]
    assert check["sha256"] == hashlib.sha256(output.encode()).hexdigest()
    assert check["tail"] == output
    assert check["seconds"] >= 0
    assert "error" not in observations


def test_a_failing_check_is_run_on_the_base_too(repo: Path, logs: Path, tmp_path: Path) -> None:
    base = read_head(repo)
    commit(repo, a="broken\n")
    (repo / "link").write_text("here\n")

    def prepare_base(scratch: Path) -> None:
        add_files(repo, scratch, ["link"], [])

    script, setup = "cat made link; grep -q one a.txt", ["sh", "-c", "echo set up > made"]
    observations = observe(repo, base, build_check(logs, script, setup=setup, prepare_base=prepare_base))
    assert observations["check"]["exit_code"] == 1
    assert observations["check_base"]["exit_code"] == 0
    assert observations["check_base"]["tail"] == "set up\nhere\n"
    assert git(repo, "worktree", "list").count("\n") == 0
    assert not (logs / "base").exists()


def test_what_the_check_writes_is_removed_and_what_the_agent_left_stays(repo: Path, logs: Path) -> None:
    odd = os.fsdecode(b'--new\n"line\xff')
    commit(repo, kept="1\n")
    (repo / odd).write_text("agent's")
    (repo / "kept.txt").write_text("2\n")
    before = git(repo, "status", "--porcelain")
    script = "echo 3 >>kept.txt; rm a.txt; mkdir -p out/deep; touch out/deep/report .coverage; git init -q fixture; "
    script += "touch staged; git add staged; "
    script += """printf x >"$(printf 'out/\\377\\nb')"; exit 3"""
    observations = observe(repo, read_head(repo), build_check(logs, script, base_check=False))
    assert (observations["check"]["exit_code"], len(observations["dirty"])) == (3, 2)
    assert git(repo, "status", "--porcelain") == before
    assert sorted(entry.name for entry in repo.iterdir()) == [odd, ".git", "a.txt", "kept.txt"]


def test_no_file_of_the_agent_is_removed_after_a_check(repo: Path, logs: Path) -> None:
    (repo / ".gitignore").write_text("build/\n.env\n")
    base = commit(repo, "ignore")
    (repo / ".git" / "info" / "exclude").write_text("cache/\n")
    names = [".env", "cache/data", "build/output", "draft/work", "own/work"]
    for name in names:
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("agent's")
    git(repo / "own", "init", "--quiet")
    script = "git init -q draft; rm -rf own/.git; echo other >.gitignore; touch report build/log; >.git/info/exclude"

    observe(repo, base, build_check(logs, script))

    assert [name for name in names if not (repo / name).exists()] == []
    assert (repo / ".gitignore").read_text() == "build/\n.env\n"
    assert not (repo / "report").exists()
    assert (repo / "build" / "log").exists(), "it is ignored again"


def test_a_base_that_cannot_be_set_up_is_not_judged(repo: Path, logs: Path) -> None:
    observations = observe(repo, read_head(repo), build_check(logs, "exit 4", setup=["false"]))
    assert (observations["check"]["exit_code"], observations["check_base"]) == (4, None)


def test_a_check_that_takes_too_long_is_ended_with_all_it_started(repo: Path, logs: Path) -> None:
    script = (
        f"trap '' TERM; echo begun; {sys.executable} -c 'import os, time; os.setsid(); time.sleep(300)' & wait; wait"
    )
    slow = build_check(logs, script, timeout=0.5, base_check=False)
    observations = observe(repo, read_head(repo), slow)
    assert (observations["check"]["exit_code"], observations["check"]["timed_out"]) == (None, True)
    assert observations["check"]["tail"] == "begun\n"
    assert processes.find_by_marker(slow.marker) == []


def test_what_a_finished_check_leaves_running_is_ended(repo: Path, logs: Path) -> None:
    leaving = build_check(logs, "sleep 300 & exit 0")
    assert observe(repo, read_head(repo), leaving)["check"]["exit_code"] == 0
    assert processes.find_by_marker(leaving.marker) == []


def test_a_check_is_given_up_when_the_run_is_to_stop(repo: Path, logs: Path) -> None:
    stop = threading.Event()
    check = build_check(logs, "echo begun; sleep 300", give_up=stop.is_set)
    observations: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: observations.update(observe(repo, read_head(repo), check)))
    thread.start()
    wait_until(lambda: (logs / "check.log").exists() and (logs / "check.log").read_text(), description="the check")
    stop.set()
    thread.join(timeout=10)
    assert (observations["check"]["exit_code"], observations["check"]["timed_out"], observations["check_base"]) == (
        None,
        False,
        None,
    )


def test_a_check_that_prints_without_end_is_ended(repo: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_LOG_BYTES", 100_000)
    observations = observe(repo, read_head(repo), build_check(logs, "exec yes", base_check=False))
    assert observations["check"]["exit_code"] is None
    assert len(observations["check"]["tail"]) == 4096


def test_what_the_branch_takes_in_of_its_base_is_not_its_own_work(repo: Path) -> None:
    base = read_head(repo)
    git(repo, "switch", "--quiet", "--create", "work")
    own_commit = commit(repo, "mine", mine="x\n")
    git(repo, "switch", "--quiet", "main")
    base_commit = commit(repo, "theirs", theirs="x\n")
    git(repo, "switch", "--quiet", "work")
    assert workers_base_of(repo, base, "main") == base

    git(repo, "merge", "--quiet", "--no-edit", "main")
    assert workers_base_of(repo, base, "main") == base_commit
    assert observe(repo, base_commit)["files_changed"] == 1

    git(repo, "reset", "--quiet", "--hard", own_commit)
    git(repo, "rebase", "--quiet", "main")
    assert workers_base_of(repo, base, "main") == base_commit

    git(repo, "branch", "--force", "main", "work")
    assert workers_base_of(repo, base, "main") == base, "what was merged is still its work"
    assert workers_base_of(repo, base, "gone") == base
    assert workers_base_of(repo, None, "main") is None


def test_a_check_that_cannot_be_started_fails_like_in_a_shell(repo: Path, logs: Path) -> None:
    absent = CheckSettings(["no-such-program"], {}, "MC_RUN_ID=none", logs, 5, SHAPES)
    check = observe(repo, read_head(repo), absent)["check"]
    assert check["exit_code"] == 127
    assert "no-such-program cannot be started" in check["tail"]


def test_a_folder_without_a_repository_has_no_git_facts_but_a_check(tmp_path: Path, logs: Path) -> None:
    observations = observe(tmp_path, None, build_check(logs, "exit 3"))
    assert observations == EMPTY_OBSERVATIONS | {"check": observations["check"]}
    assert observations["check"]["exit_code"] == 3


@pytest.mark.parametrize("damage", ["HEAD", "objects", "index"])
def test_a_broken_repository_is_named_and_never_raises(repo: Path, logs: Path, damage: str) -> None:
    base = read_head(repo)
    damaged = repo / ".git" / damage
    damaged.rename(repo / ".git" / "gone") if damaged.is_dir() else damaged.write_bytes(b"rubbish")
    observations = observe(repo, base, build_check(logs, "exit 0"))
    assert observations["error"]
    assert set(observations) == {*EMPTY_OBSERVATIONS, "error"}
    assert observations["check"]["exit_code"] == 0


def test_a_workspace_that_is_gone_is_named(tmp_path: Path, logs: Path) -> None:
    observations = observe(tmp_path / "gone", "0" * 40, build_check(logs, "exit 0"))
    assert "gone" in observations["error"]
    assert observations["check"]["exit_code"] == 127


def test_a_check_is_kept_when_the_base_cannot_be_had(repo: Path, logs: Path) -> None:
    observations = observe(repo, "0" * 40, build_check(logs, "exit 3"))
    assert (observations["check"]["exit_code"], observations["check_base"]) == (3, None)
    assert "worktree" in observations["error"]


def test_an_unknown_base_leaves_what_can_be_seen(repo: Path) -> None:
    observations = observe(repo, "0" * 40)
    assert observations["head_sha"] == read_head(repo)
    assert observations["commits"] == []
    assert "error" in observations
