"""A store, a session of requests and runs of the version before: they are upgraded and answered with the same data.

`tests/upgrade/record.py` has made the fixtures with the code of that version. Compared are statuses, fields, types, values
and error codes; ids, times and the wording of messages are not.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pysqlite3
import pytest

import app
import migrations
import queue_reaper
from settings import Settings
from tests.upgrade.client import Step, StepClient
from workers.run import lock

FIXTURES = Path(__file__).parent / "upgrade/fixtures"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
MASKED = frozenset({"id", "uuid", "token", "prefix"})
"""Keys whose values differ from one recording to the next; their types are compared."""
CHANGES = {
    "policies are named by what they do": [
        "GET /profiles .answer.items[1].permissions: 'accept_edits' became 'workspace'",
        "GET /profiles .answer.items[2].permissions: 'accept_edits' became 'workspace'",
    ],
    "a scheduled task that does not exist is not found": [
        "GET /tasks/no-such/runs .status: 200 became 404",
        "GET /tasks/no-such/runs .answer.items: is gone",
        "GET /tasks/no-such/runs .answer.next: is gone",
        "GET /tasks/no-such/runs .answer.error: is new: 'not_found'",
        "GET /tasks/no-such/runs .answer.detail: is new: {'task': 'no-such'}",
    ],
    "the answer to a message says what became of it": ["POST /tickets/MC-3/messages .answer.became: is new: 'message'"],
    "a service claims its external run itself": [
        "POST /tickets/MC-2/runs .answer.detail.moves: ['release', 'park', 'block'] became []"
    ],
    "the answer to a stop counts the events of the move and of the record": [
        "POST /runs/{id_2}/stop .answer.last_seq: 19 became 21"
    ],
    "the record of a stopped run says what became of its ticket": [
        f"GET /tickets/MC-2/comments?limit=1 .answer.items[0].data.{field}"
        for field in (
            "status: 'stopped' became 'parked'",
            "summary: 'tester: park' became 'The ticket was parked (tester: park).'",
            "root_cause: 'stopped' became 'The ticket was parked (tester: park).'",
            "stop_condition: 'the run is proven to have ended' became 'the run was asked to stop'",
        )
    ],
    "so the next page begins later": ["GET /tickets/MC-2/comments?limit=1 .answer.next: '19' became '21'"],
    "so have the answers to their changes": [
        "POST /profiles .answer.permissions: 'accept_edits' became 'workspace'",
        "PATCH /profiles/quick .answer.permissions: 'accept_edits' became 'workspace'",
    ],
    "the claim of an external run is an event of its service": [
        "GET /events?limit=200 .answer.items[16].actor: 'pickup' became 'mirror'"
    ],
    "an event of a run may have no number": [
        "POST /tickets/MC-15/events .status: 422 became 200",
        "POST /tickets/MC-15/events .answer.error: is gone",
        "POST /tickets/MC-15/events .answer.detail: is gone",
        "POST /tickets/MC-15/events .answer.accepted: is new: 1",
        "POST /tickets/MC-15/events .answer.repeated: is new: 0",
        "POST /tickets/MC-15/events .answer.last_run_seq: is new: 7",
    ],
}
"""Every difference from the recorded session that was made on purpose, by its reason and in the order of the session."""
OF_THE_MOMENT = frozenset({"GET /health"})
"""Requests whose answer describes this machine now."""
ADDED_GATES = frozenset({"repository", "quiet_hours", "attempts"})
ADDED_FIELDS: dict[str, Any] = {
    "instruction": None,
    "teardown_command": None,
    "copy_files": [],
    "ports": 4,
    "allowed_commands": [],
    "denied_commands": [],
    "network": False,
    "own_configuration": True,
    "trusted_digest": None,
    "push_address": None,
    "sign_landings": False,
    "ticket_template": "",
    "phases": [],
    "planning": None,
    "plan_first": False,
    "plans": False,
    "model": None,
    "model_order": None,
    "checklist": None,
}
"""Fields that were added to answers, with their value for what was stored before."""
RECORDED = json.loads((FIXTURES / "runs.json").read_text())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the recorded store and run folders as if they had been left a moment ago, upgraded."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    store = gzip.decompress((FIXTURES / "store.sql.gz").read_bytes()).decode()
    with closing(pysqlite3.connect(home / "mc.db")) as connection:
        connection.executescript(shift_times(fill_places(store, home)))
    for name, run_id in RECORDED["runs"].items():
        write_folder(home / "runs" / str(run_id), RECORDED["folders"][name], home)
    migrations.upgrade_store(f"sqlite:///{home / 'mc.db'}", home)
    monkeypatch.setenv("MC_HOME", str(home))
    return home


def fill_places(text: str, home: Path) -> str:
    return text.replace("{home}", str(home)).replace("{host}", socket.gethostname())


def shift_times(text: str) -> str:
    """Move every time by the age of the recording, so that what was recent then is recent now."""
    age = datetime.now(UTC) - datetime.fromisoformat(RECORDED["moment"])
    return TIMESTAMP.sub(lambda match: move_time(match[0], age), text)


def move_time(timestamp: str, age: timedelta) -> str:
    shifted = datetime.fromisoformat(timestamp) + age
    return shifted.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def write_folder(folder: Path, files: dict[str, str], home: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        (folder / name).write_text(fill_places(text, home))


@pytest.fixture
def tmux() -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")


@pytest.fixture
def client(home: Path) -> Iterator[StepClient]:
    settings = Settings(home=home)
    application = app.create_app(settings)
    yield StepClient(application.test_client(), dict(RECORDED["values"]))
    application.extensions["mission_control"].engine.dispose()
    shutil.rmtree(settings.sockets_dir, ignore_errors=True)


def read_recording(name: str, home: Path) -> list[Step]:
    text = fill_places((FIXTURES / f"{name}.jsonl").read_text(), home)
    return [json.loads(line) for line in text.splitlines()]


# Comparing


def replay(client: StepClient, steps: list[Step]) -> list[str]:
    """Send the requests of a recording; lists every difference from its answers, but for those of the moment."""
    return [
        f"{step['send']} {difference}"
        for step, status, answer in client.send_all(steps)
        if step["send"] not in OF_THE_MOMENT
        for difference in compare(
            "", {name: step[name] for name in ("status", "answer")}, {"status": status, "answer": answer}
        )
    ]


def compare(place: str, before: Any, after: Any) -> Iterator[str]:
    """Each place where two values differ, and how."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            if not is_wording(place, key, before | after):
                yield from compare_key(f"{place}.{key}", key, before, after)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from compare(f"{place}[{index}]", *pair)
    elif type(before) is not type(after) or before != after:
        yield f"{place}: {before!r} became {after!r}"


def compare_key(place: str, key: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    if key not in after:
        yield f"{place}: is gone"
    elif key not in before:
        if key not in ADDED_FIELDS or ADDED_FIELDS[key] != after[key]:
            yield f"{place}: is new: {after[key]!r}"
    else:
        now = [gate for gate in after[key] if gate["name"] not in ADDED_GATES] if key == "gates" else after[key]
        yield from compare(place, mask(key, before[key]), mask(key, now))


def is_wording(place: str, key: str, values: dict[str, Any]) -> bool:
    """Whether a value is text for people: of a refusal, of a record that Mission Control writes, of a measurement."""
    return (
        (key == "message" and "error" in values)
        or place == ".answer.detail.fields"
        or (key == "body" and values.get("author_kind") == "system")
        or (key == "detail" and ("status" in values or "ok" in values))
        or (key == "text" and "became" in values)
        or key == "waits_for"
    )


def mask(key: str, value: Any) -> Any:
    if key in MASKED and value is not None:
        return type(value)
    return TIMESTAMP.sub("<time>", value) if isinstance(value, str) else value


# The proofs


def test_a_store_of_the_version_before_answers_the_same_requests_with_the_same_data(
    home: Path, client: StepClient
) -> None:
    differences = replay(client, read_recording("session", home))
    assert differences == [change for changes in CHANGES.values() for change in changes]


@pytest.mark.usefixtures("tmux")
def test_runs_that_the_upgrade_met_end_well(home: Path, client: StepClient, capsys: pytest.CaptureFixture[str]) -> None:
    """One wrapper lives on and sends what it sent the version before; two have died while the board was away."""
    alive = RECORDED["runs"]["alive"]
    with lock.hold_lock(home / "runs" / str(alive)):
        assert queue_reaper.main(["--trigger", "timer"]) == 0
        assert json.loads(capsys.readouterr().out)["reconciled"] == {"recovered": 1, "lost": 1}
        differences = replay(client, read_recording("wrapper", home))
    assert differences == ["POST /tickets/15/messages .answer.became: is new: 'message'"]
    ends = {name: read_end(client, name) for name in RECORDED["runs"]}
    traffic = {name: read_spool(name) for name in RECORDED["runs"]} | {
        "alive": read_spool("alive") + list_sent_events(home)
    }
    assert ends == {
        "alive": ("done", "in_review", traffic["alive"]),
        "reported": ("done", "in_review", traffic["reported"]),
        "killed": ("lost", "todo", traffic["killed"]),
    }


def read_end(client: StepClient, name: str) -> tuple[str, str, list[str]]:
    """The outcome of a recorded run, the status of its ticket, and the types of what its wrapper has sent."""
    run_id, ticket_id = RECORDED["runs"][name], RECORDED["tickets"][name]
    paths = (f"/runs/{run_id}", f"/tickets/{ticket_id}", f"/tickets/{ticket_id}/events?limit=500")
    steps: list[Step] = [{"send": f"GET {path}"} for path in paths]
    [run, ticket, events] = [answer for _step, _status, answer in client.send_all(steps)]
    types = [event["event_type"] for event in events["items"]]
    return run["outcome"], ticket["status"], [event_type for event_type in types if "." in event_type]


def read_spool(name: str) -> list[str]:
    """The types of the events in a recorded run folder."""
    return list_types(RECORDED["folders"][name]["events.jsonl"])


def list_sent_events(home: Path) -> list[str]:
    steps = read_recording("wrapper", home)
    return [event for step in steps if step["send"].endswith("/events") for event in list_types(step["raw"])]


def list_types(lines: str) -> list[str]:
    """The types of events, without the typing that is dropped when its text is whole."""
    types = [json.loads(line)["event_type"] for line in lines.splitlines()]
    return [event_type for event_type in types if event_type != "agent.delta"]
