from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import AttachedFile
from tests.canary import ADDRESS, CANARY, KEY, PASSWORD, list_leaks, put_escape
from tests.waiting import wait_until
from workers.contract import attached_files
from workers.contract.agent_events import MAX_TEXT_BYTES
from workers.contract.spec import RepositoryTrust
from workers.host.private_dirs import make_private_dir
from workers.repository import configuration
from workers.run import launch
from workers.run.lock import hold_lock

from .fake_api import FakeApi, serving
from .runs import Run, build_scripted_fields, notify_wrapper, running

BLOCK = "```sh\n{}\n```\n"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    """A real worktree on a branch of its own, beside its repository."""
    repository, folder = tmp_path / "repository", tmp_path / "workspace"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    (repository / "answer.txt").write_text("41\n")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=A", "-c", "user.email=a@x", "commit", "-q", "-m", "Start")
    git(repository, "worktree", "add", "-q", "-b", "mc/MC-3-hello", str(folder))
    return folder


def act(folder: Path, api: FakeApi, *lines: str, **changes: Any) -> Any:
    return running(folder, api.base, "\n".join(lines), **build_scripted_fields(folder, **changes))


def numbers(api: FakeApi) -> list[int]:
    return [event["run_seq"] for event in api.events]


# From start to report


def test_a_run_ends_in_a_report_with_observations_that_mission_control_made_itself(
    tmp_path: Path, worktree: Path, api: FakeApi
) -> None:
    base = git(worktree, "rev-parse", "HEAD")
    prompt = "MC-3: Say hello\n\n" + BLOCK.format("echo 42 > answer.txt; echo hi > new.txt")
    check = ("sh", "-c", "echo checked; grep -q 42 answer.txt")
    with running(tmp_path, api.base, prompt, base_sha=base, repository=str(tmp_path), check=check) as run:
        report = run.wait()
    assert report == api.reports[0]
    assert (report["verdict"], report["failure"], report["exit_code"]) == ("done", None, 0)
    assert report["summary"].startswith("1 step ran, committed as ")
    observations = report["observations"]
    assert [commit["subject"] for commit in observations["commits"]] == ["MC-3: Say hello"]
    assert observations["head_sha"] == git(worktree, "rev-parse", "HEAD")
    assert (
        observations["files_changed"],
        observations["insertions"],
        observations["deletions"],
        observations["dirty"],
    ) == (2, 2, 1, [])
    assert (observations["check"]["exit_code"], observations["check"]["tail"]) == (0, "checked\n")
    assert (run.dir / "reported").read_text() == "200"
    assert json.loads((run.dir / "exit.json").read_text())["verdict"] == "done"
    assert numbers(api) == list(range(1, len(api.events) + 1))
    types = [event["event_type"] for event in api.events]
    assert types[0] == "run.started"
    assert [kind for kind in types if kind.startswith("run.")][1:] == [
        "run.ended",
        "run.check_started",
        "run.check_ended",
    ]
    assert "▸ sh: echo 42 > answer.txt" in run.screen
    assert run.screen == (run.dir / "mc-MC-3.tmux.log").read_text()


def test_a_run_whose_folder_is_deleted_still_reports(tmp_path: Path, worktree: Path, api: FakeApi) -> None:
    """Regression: the thread that sends the events died of it, the report waited for them and was never sent."""
    with running(tmp_path, api.base, BLOCK.format(f"rm -rf '{tmp_path}/run'")) as run:
        assert run.wrapper and run.wrapper.wait(120) == 0
    assert [report["verdict"] for report in api.reports] == ["done"]


def test_a_failing_check_is_run_on_the_base_as_well(tmp_path: Path, worktree: Path, api: FakeApi) -> None:
    base = git(worktree, "rev-parse", "HEAD")
    changes = {"base_sha": base, "repository": str(tmp_path), "check": ("grep", "-q", "43", "answer.txt")}
    with running(tmp_path, api.base, BLOCK.format("echo 42 > answer.txt"), **changes) as run:
        observations = run.wait()["observations"]
    assert (observations["check"]["exit_code"], observations["check_base"]["exit_code"]) == (1, 1)


def test_every_file_of_a_run_is_its_owners_alone(tmp_path: Path, api: FakeApi) -> None:
    with running(tmp_path, api.base, BLOCK.format("true")) as run:
        run.wait()
    assert stat.S_IMODE(run.dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.dir.iterdir() if path.is_file()} == {0o600}


def test_the_set_up_command_runs_first_and_its_failure_is_the_environments(tmp_path: Path, api: FakeApi) -> None:
    """Before it come the attached files that this host does not have; without one the run goes on."""
    folder = tmp_path / "run/attachments"
    names = {7: "plan.txt", 8: "gone.txt"}
    files = [AttachedFile(number, name, f"{folder}/{number}-{name}", "text/plain", 9) for number, name in names.items()]
    attached_files.write_list(make_private_dir(tmp_path / "run"), files)
    api.files["/api/v1/attachments/7"] = b"Mind it.\n"
    setup = ("sh", "-c", f"cat {folder}/7-plan.txt; echo no compiler; exit 3")
    with act(tmp_path, api, "result DONE: x", setup=setup) as run:
        report = run.wait()
    assert "Mind it." in report["summary"]
    assert "The attached file 8 (gone.txt) could not be fetched." in [
        notice["text"] for notice in run.events("agent.notice")
    ]
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "environment")
    assert "no compiler" in report["summary"]
    assert "unusable" in report["terminal"]["root_cause"]


@pytest.mark.parametrize("trust", ["trusted", "none"])
def test_configuration_that_changed_after_its_judgement_is_ignored(
    tmp_path: Path, api: FakeApi, trust: RepositoryTrust
) -> None:
    """The set-up command runs after the judgement, and could bring MCP servers and hooks that nobody has seen."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    if trust == "trusted":
        (workspace / ".mcp.json").write_text('{"mcpServers": {"db": {"command": "start-db"}}}')
    fields = {
        "program": "claude",
        "binary": "/bin/false",
        "setup": ("sh", "-c", """echo '{"mcpServers": {"evil": {"command": "evil"}}}' > .mcp.json"""),
        "repository_configuration": trust,
        "repository_digest": configuration.read_folder(workspace).digest or "",
    }
    with running(tmp_path, api.base, "x", **fields) as run:
        run.wait()
    [notice] = [notice for notice in run.events("agent.notice") if notice.get("ignores_configuration")]
    assert notice["level"] == "warning" and "have changed since they were judged" in notice["text"]
    config_dir = Path(run.spec.config_dir)
    assert "evil" not in (config_dir / "mc-coord.json").read_text()
    assert not (config_dir / ".claude.json").exists() or "evil" not in (config_dir / ".claude.json").read_text()


@pytest.mark.parametrize("changes", [{"binary": "/no/such/program"}, {"program": "cobol"}, {"mode": "tui"}])
def test_an_agent_that_cannot_be_started_is_reported(tmp_path: Path, api: FakeApi, changes: dict[str, Any]) -> None:
    with running(tmp_path, api.base, "x", **changes) as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "environment")
    assert api.reports == [report]


# Verdicts


def test_the_coordination_tools_signal_is_the_verdict(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "signal review Look at the colours", "result I am DONE: really") as run:
        report = run.wait()
    assert (report["verdict"], report["summary"]) == ("review", "Look at the colours")


def test_a_line_of_the_final_message_is_the_verdict(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "result I thought.\\n\\n**QUESTION:** Which colour?\\nRed or blue?") as run:
        report = run.wait()
    assert (report["verdict"], report["summary"]) == ("question", "Which colour?\nRed or blue?")
    assert report["question"]["questions"][0]["text"] == "Which colour?\nRed or blue?"
    assert report["terminal"] is None


def test_the_last_message_of_a_run_that_plans_is_its_plan_and_not_a_verdict(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "result DONE: my plan", plan=True) as run:
        report = run.wait()
    assert [payload["text"] for payload in run.events("agent.plan")] == ["DONE: my plan"]
    assert (report["verdict"], report["summary"]) == ("question", "The plan waits for a person.")
    assert "Approve the plan above" in report["question"]["questions"][0]["text"]


def test_an_idle_agent_without_a_verdict_is_asked_once_and_then_ended(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "result I am fine") as run:
        report = run.wait()
    assert report["verdict"] == "protocol_violation"
    inputs = [event["source"] for event in run.events("agent.input")]
    assert inputs == ["echo", "nudge"]


def test_exit_code_0_without_a_verdict_is_no_success(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "say Everything is fine", "exit 0") as run:
        report = run.wait()
    assert (report["verdict"], report["exit_code"]) == ("protocol_violation", 0)
    assert report["terminal"]["status"] == "protocol_violation"
    assert "Everything is fine" in report["transcript_tail"]


def test_a_bad_exit_code_does_not_undo_a_verdict(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "result DONE: all of it", "exit 1") as run:
        report = run.wait()
    assert (report["verdict"], report["exit_code"]) == ("done", 1)


def test_a_crash_is_told_with_the_programs_last_words(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "stderr 'Segmentation of something\\n'", "exit 139") as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "crash")
    assert report["failure"]["message"] == "Segmentation of something"


def test_an_agent_killed_from_outside_is_told_as_such(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "kill") as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"], report["exit_code"]) == ("failed", "killed", -9)


def test_a_usage_limit_keeps_the_time_when_it_is_lifted(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "fail usage_limit No more today") as run:
        report = run.wait()
    assert report["verdict"] == "usage_limited"
    assert report["failure"] == {
        "class": "usage_limit",
        "message": "No more today",
        "retry_at": "2031-01-01T00:00:00Z",
    }


# What an agent prints


@pytest.mark.parametrize(
    "line",
    [
        "'not json at all'",
        "'x' * 300000",
        "chr(0) + chr(27) + '[31m'",
        "'[' * 100000",
        '\'{"kind":"progress","payload":{"text":"a"}}{"kind":"progress","payload":{"text":"b"}}\'',
    ],
)
def test_a_garbled_huge_or_merged_line_never_ends_a_run(tmp_path: Path, api: FakeApi, line: str) -> None:
    with act(tmp_path, api, f"print {line}", "result DONE: still here", limits={"line_bytes": 200_000}) as run:
        assert run.wait()["verdict"] == "done"
    assert run.events("agent.raw") or [payload["text"] for payload in run.events("agent.progress")] == ["a", "b"]
    assert "\x1b" not in run.screen
    assert "\x00" not in run.screen


def test_a_flood_on_stderr_is_drained_kept_up_to_a_limit_and_told(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "stderr ('x' * 99 + chr(10)) * 50000", "result DONE: ok") as run:
        assert run.wait()["verdict"] == "done"
    assert 900_000 < (run.dir / "stderr.log").stat().st_size < 1_200_000
    assert run.events("run.output")[-1]["text"].endswith("[more of stderr is not kept]\n")


def test_a_run_ends_though_its_child_floods_the_output_and_its_result_is_too_long(tmp_path: Path, api: FakeApi) -> None:
    """Regression: such a run was never over, and a `result` line over the limit lost the verdict."""
    text = """'{"kind":"result","payload":{"ok":true,"text":"x\\\\nREVIEW: ' + 'y' * 300000 + ' the end"}}'"""
    flood = tmp_path / "flood"
    lines = (f"print {text}", f"flood {flood}", f"wait {flood}", "exit 0")
    with act(tmp_path, api, *lines, limits={"line_bytes": 200_000}) as run:
        report = run.wait(20)
    assert (report["verdict"], report["exit_code"]) == ("review", 0)
    assert report["summary"].startswith("yyy") and report["summary"].endswith("yyy the end")
    assert run.survivors() == []


def quote(text: str) -> str:
    """Build the expression of a text for the scripted agent, which repeats its prompt, so that no piece of it is there."""
    return f"__import__('base64').b64decode('{base64.b64encode(text.encode()).decode()}').decode()"


def emit(kind: str, /, **payload: Any) -> str:
    """Build the line of a prompt for which the scripted agent prints this event."""
    return f"print {quote(json.dumps({'kind': kind, 'payload': payload}))}"


def test_no_secret_gets_into_spool_pane_report_or_stream(tmp_path: Path, worktree: Path, api: FakeApi) -> None:
    """Regression: what was cut first kept up to 40 of 48 characters, and an escape inside hid a secret."""
    deltas = ("see " + CANARY[:9], CANARY[9:20] + "\x1b[3", "1m" + CANARY[20:40], CANARY[40:] + " here")
    long = "x" * (MAX_TEXT_BYTES - 30) + CANARY
    lines = [
        *(emit("delta", block="b", kind="text", offset=0, text=piece) for piece in deltas),
        emit("tool_call", call="c", name="sh", title="t" * 80 + CANARY, input={"command": long, CANARY: [long]}),
        emit("tool_result", call="c", output=long),
        emit("text", block="t", text="y" * (MAX_TEXT_BYTES // 2 - 30) + CANARY + "y" * MAX_TEXT_BYTES + CANARY),
        emit("result", ok=False, failure="network", text=f"{PASSWORD} of {ADDRESS} and {put_escape(CANARY)}"),
        f"print {quote('z' * (150_000 - 20) + CANARY + 'z' * 200_000)}",
        f"print {quote(CANARY)}",
        emit("text", block="l", text="v" * (150_000 - 75) + CANARY + "v" * 200_000),
        *(f"stderr {quote(KEY[start : start + 7])}" for start in range(0, len(KEY), 7)),
        f"stderr {quote(put_escape(CANARY))}",
        emit("question", request="q-1", questions=[{"text": f"Is it {CANARY}?", "choices": [{"label": CANARY}]}]),
        f"signal review {'q' * (MAX_TEXT_BYTES - 20)}{CANARY}",
    ]
    check = "printf '%s' \"$SETTING\"; head -c 4080 /dev/zero | tr '\\0' y"
    fields: dict[str, Any] = {"secrets": (CANARY, KEY, ADDRESS), "limits": {"line_bytes": 200_000}}
    fields |= {"base_sha": git(worktree, "rev-parse", "HEAD"), "repository": str(tmp_path)}
    fields |= {"check": ("sh", "-c", check + "; exit 1"), "teardown": ("sh", "-c", check + "; exit 3")}
    fields |= {"setup": ("sh", "-c", "touch $SETTING")}
    env = build_scripted_fields(tmp_path)["env"] | {"SETTING": CANARY}
    with act(tmp_path, api, *lines, env=env, **fields) as run:
        report = run.wait()
    assert (report["verdict"], report["observations"]["dirty"]) == ("review", ["[redacted]"])
    assert report["observations"]["check"]["tail"].endswith("yyy")
    private = ("spec.json", "prompt.md", "check.log", "check-base.log", "teardown.log", "teardown.json", "signal.json")
    content = b"".join(path.read_bytes() for path in run.dir.iterdir() if path.name not in private)
    content += json.dumps([api.events, api.reports]).encode() + run.screen.encode()
    assert list_leaks(content, CANARY, KEY, PASSWORD) == []
    assert "".join(payload["text"] for payload in run.events("agent.delta")).startswith("see ")
    assert any(payload["text"].endswith("yyy") for payload in run.events("agent.notice"))


# Messages


def test_a_message_is_delivered_once_and_before_the_verdict_counts(tmp_path: Path, api: FakeApi) -> None:
    gate = tmp_path / "gate"
    message = {"id": 7, "uuid": "u-7", "body": "result REVIEW: after the message", "mode": "queue"}
    with act(tmp_path, api, "result DONE: before", f"wait {gate}") as run:
        run.event("agent.result")
        api.control["messages"] = [message]
        notify_wrapper(run.spec)
        gate.touch()
        report = run.wait()
    assert (report["verdict"], report["summary"]) == ("review", "after the message")
    states = [payload["state"] for payload in run.events("agent.receipt")]
    assert states in (["queued", "delivered", "accepted"], ["queued", "accepted"]), "none is taken back"
    assert [payload["source"] for payload in run.events("agent.input")] == ["echo", "message"]


def test_a_verdict_waits_for_a_message_that_the_agent_has_not_taken_up_yet(tmp_path: Path, api: FakeApi) -> None:
    message = {"id": 7, "uuid": "u-7", "body": "result REVIEW: as you say", "mode": "queue"}
    with act(tmp_path, api, "slow 3", "say Slow now.", f"wait {tmp_path / 'gate'}", "result DONE: before") as run:
        run.event("agent.text")
        api.control["messages"] = [message]
        notify_wrapper(run.spec)
        run.event("agent.receipt")
        (tmp_path / "gate").touch()
        assert run.wait()["summary"] == "as you say"


def test_a_question_is_answered_by_a_person_once(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "ask Which colour?", f"wait {tmp_path / 'gate'}", "result DONE: blue") as run:
        wait_until(lambda: any(beat["state"] == "waiting" for beat in api.heartbeats), description="the waiting state")
        api.control["answers"] = [{"request": "q-1", "behavior": "allow", "answers": {"Which colour?": "blue"}}]
        notify_wrapper(run.spec)
        wait_until(
            lambda: {"uuid": "q-1", "state": "delivered"} in run.events("agent.receipt"), description="the answer"
        )
        (tmp_path / "gate").touch()
        assert run.wait()["verdict"] == "done"
    assert len(run.events("agent.receipt")) == 1


def test_a_message_that_no_agent_was_given_is_left_for_the_next_run(tmp_path: Path, api: FakeApi) -> None:
    """Regression: queued messages were drained as a set, losing those that arrived meanwhile."""
    api.control |= {
        "stop": {"reason": "Parked.", "code": "parked", "grace_seconds": 1},
        "messages": [{"id": 7, "uuid": "u-7", "body": "x", "mode": "queue"}],
    }
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        assert run.wait()["verdict"] == "stopped"
    assert run.events("agent.receipt") == []


def test_a_datagram_makes_the_wrapper_look_at_once(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        wait_until(lambda: any(beat["state"] == "running" for beat in api.heartbeats), description="the running state")
        beats = len(api.heartbeats)
        notify_wrapper(run.spec)
        wait_until(lambda: len(api.heartbeats) > beats, timeout=2, description="a heartbeat at once")
    beat = api.heartbeats[-1]
    assert set(beat) == {"state", "pid", "pid_started", "boot_id", "last_run_seq", "agent_pid"}


def test_an_interrupt_ends_the_turn_and_not_the_run(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        run.event("agent.input")
        api.control["interrupt"] = {"uuid": "i-1"}
        notify_wrapper(run.spec)
        wait_until(
            lambda: {"uuid": "i-1", "state": "accepted"} in run.events("agent.receipt"), 15, "the interrupt's receipt"
        )
        api.control["messages"] = [{"id": 1, "uuid": "u-1", "body": "result DONE: after all", "mode": "queue"}]
        notify_wrapper(run.spec)
        assert run.wait()["summary"] == "after all"


# Stop


def test_a_stop_of_the_server_ends_the_agent_politely(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        run.event("agent.input")
        api.control["stop"] = {"reason": "The ticket was parked.", "code": "parked", "grace_seconds": 4}
        notify_wrapper(run.spec)
        report = run.wait()
    assert (report["verdict"], report["summary"], report["exit_code"]) == ("stopped", "The ticket was parked.", 0)


def test_an_agent_that_ignores_everything_and_its_orphans_are_gone_within_15_seconds(
    tmp_path: Path, api: FakeApi
) -> None:
    with act(tmp_path, api, f"orphan {tmp_path / 'orphan'}", "deaf", f"wait {tmp_path / 'never'}") as run:
        orphan = int(
            wait_until(lambda: (tmp_path / "orphan").exists() and (tmp_path / "orphan").read_text(), description="it")
        )
        assert orphan in [process.pid for process in run.survivors()]
        api.control["stop"] = {"reason": "Enough.", "code": "operator", "grace_seconds": 1}
        notify_wrapper(run.spec)
        report = run.wait(timeout=20)
    assert run.survivors() == []
    assert (report["verdict"], report["exit_code"]) == ("stopped", -9)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_wrapper_is_a_polite_stop(tmp_path: Path, api: FakeApi, signum: signal.Signals) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        run.event("agent.input")
        assert run.wrapper
        run.wrapper.send_signal(signum)
        report = run.wait()
    assert (report["verdict"], report["summary"]) == ("stopped", f"The wrapper received {signum.name}.")


@pytest.mark.parametrize("status", [401, 409])
def test_a_run_the_server_does_not_know_any_more_is_stopped(tmp_path: Path, api: FakeApi, status: int) -> None:
    api.statuses = {"heartbeat": status, "report": status, "events": status}
    with act(tmp_path, api, f"wait {tmp_path / 'never'}") as run:
        assert run.wait()["verdict"] == "stopped"
    assert (run.dir / "reported").read_text() == str(status)


# Limits


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"silence_seconds": 1}, "silent"),
        ({"turn_seconds": 1}, "A turn"),
        ({"run_seconds": 1}, "The run"),
    ],
)
def test_a_limit_ends_the_run_as_timed_out(tmp_path: Path, api: FakeApi, limits: dict[str, float], code: str) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'never'}", limits=limits) as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"]) == ("timed_out", "timeout")
    assert code in report["summary"]


def test_an_agent_that_only_tries_again_is_silent_and_fails_with_what_it_tries_to_overcome(
    tmp_path: Path, api: FakeApi
) -> None:
    """Regression: a program that waited for the network for ever was ended after an hour, at the cost of an attempt."""
    with act(tmp_path, api, "retry network", limits={"silence_seconds": 1}) as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "network")
    assert "silent" in report["summary"] and "nobody answers" in report["summary"]


def test_an_agent_that_prints_nothing_after_its_start_is_ended(tmp_path: Path, api: FakeApi) -> None:
    changes = {"binary": "/bin/sh", "argv": ("-c", "sleep 600"), "limits": {"startup_seconds": 1}}
    with running(tmp_path, api.base, "x", **changes) as run:
        report = run.wait()
    assert (report["verdict"], report["summary"]) == ("timed_out", "The agent printed nothing for 1 seconds.")


def test_a_budget_ends_the_run(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "usage 500", f"wait {tmp_path / 'never'}", limits={"tokens": 400}) as run:
        report = run.wait()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "budget")
    assert report["usage"]["input_tokens"] == 500


# One wrapper


def test_a_second_wrapper_a_revoked_run_and_a_run_of_before_are_refused(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, f"wait {tmp_path / 'gate'}", "result DONE: x") as run:
        run.event("agent.input")
        assert not launch.revoke_run(run.dir)
        assert _exit_code(run) == 75
        (tmp_path / "gate").touch()
        run.wait()
        assert _exit_code(run) == 75
        assert launch.revoke_run(run.dir)
    assert len(api.reports) == 1


def test_a_revoked_run_never_starts(tmp_path: Path, api: FakeApi) -> None:
    run = Run(tmp_path, api.base, "x")
    assert launch.revoke_run(run.dir)
    assert _exit_code(run) == 75
    assert not api.posts


def test_a_glance_at_the_lock_does_not_cost_a_run_its_start(tmp_path: Path, api: FakeApi) -> None:
    run = Run(tmp_path, api.base, BLOCK.format("true"))
    with hold_lock(run.dir):
        run.start()
        wait_until(
            lambda: run.wrapper and _has_open(run.wrapper.pid, run.dir / "lock"), description="the wrapper at the lock"
        )
    try:
        assert run.wait()["verdict"] == "done"
    finally:
        run.clear()


def _exit_code(run: Run) -> int:
    command = [sys.executable, "-m", "workers.run.wrapper", str(run.dir)]
    return subprocess.run(command, cwd=launch.ROOT, capture_output=True, check=False).returncode


def _has_open(pid: int, path: Path) -> bool:
    folder = Path(f"/proc/{pid}/fd")
    return any(os.path.realpath(link) == str(path) for link in folder.iterdir())


# Size


def test_a_wrapper_at_rest_needs_less_than_25_megabytes(tmp_path: Path, api: FakeApi) -> None:
    with act(tmp_path, api, "many 2000", f"wait {tmp_path / 'never'}") as run:
        wait_until(lambda: len(api.events) > 2000, 60, "all events at the server")
        assert run.wrapper
        status = Path(f"/proc/{run.wrapper.pid}/status").read_text()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    assert kilobytes < 25 * 1024
