"""Record what one version of Mission Control stores and answers, as fixtures for `tests/test_upgrade.py`.

Run it with the checkout of that version as working directory and on the path, where git and tmux are installed:

    cd CHECKOUT && PYTHONPATH=. PYTHON THIS_FOLDER/record.py

It uses what all versions have in common: the programs, `app.create_app()` and the API. Into `fixtures/` go the store in
the middle of three runs (`store.sql.gz`), the answers to the requests of `session.jsonl`, what the wrapper of the run that
lives on sends afterwards (`wrapper.jsonl`), and the run folders (`runs.json`). They hold placeholders for home and host.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from sqlite3.dump import _iterdump  # type: ignore[attr-defined]  # pysqlite3 has none, and two SQLites must not share a file
from typing import TYPE_CHECKING, Any
from urllib.request import Request as Post
from urllib.request import urlopen

import pysqlite3
from flask import Flask
from werkzeug.serving import make_server
from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from .client import Step, StepClient, read_steps, write_steps
else:  # as a program: the package `tests` is that of the recorded version
    from client import Step, StepClient, read_steps, write_steps

FIXTURES = Path(__file__).parent / "fixtures"
CHECKOUT = Path.cwd()
RUNS = {"alive": 15, "reported": 16, "killed": 17}
"""The tickets whose runs outlive the board, by what becomes of them."""
ROWS = """
INSERT INTO incidents (fingerprint, title, detail, severity, state, count, recurrence, first_seen, last_seen)
VALUES ('tmux', 'tmux does not answer', 'exit code 1', 'warning', 'open', 2, 0, :now, :now);
INSERT INTO incidents (fingerprint, title, detail, severity, state, count, recurrence, closed_by, evidence, first_seen,
last_seen) VALUES ('disk', 'The disk is full', '', 'critical', 'closed', 1, 1, 'alice', 'Deleted.', :now, :now);
INSERT INTO saved_views (name, query, author, created) VALUES ('Bugs', 'tag=bug', 'alice', :now)
"""
"""What no request of the API stores."""


class Recorder:
    """An installation in a folder of its own, with its board served on a port when that is open."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        paths = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
        self.environment = {**paths, "MC_HOME": str(home), "MC_PORT": str(port), "MC_TIMEZONE": "UTC"}
        self.port = port
        self.steps: list[Step] = []
        """Requests that the served board has answered."""

    def run_program(self, *argv: str) -> str:
        command = [sys.executable, *argv]
        return subprocess.run(
            command, cwd=CHECKOUT, env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def create_app(self) -> Flask:
        import app

        os.environ.update(self.environment)
        return app.create_app()

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Serve the board and record what it is sent."""
        answer = self.create_app().wsgi_app
        lock = threading.Lock()

        def record(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            with lock:
                request = Request(environ)
                traffic = request.get_data()
                captured: list[str] = []

                def start(status: str, *rest: Any) -> Any:
                    captured.append(status)
                    return start_response(status, *rest)

                parts = list(answer(environ | {"wsgi.input": _Body(traffic)}, start))
                self._add_step(request, traffic, int(captured[0].split()[0]), b"".join(parts))
                return parts

        server = make_server("127.0.0.1", self.port, record, threaded=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _add_step(self, request: Request, traffic: bytes, status: int, answer: bytes) -> None:
        self.steps.append(
            {
                "send": f"{request.method} {request.path.removeprefix('/api/v1')}",
                "as": request.headers["Authorization"].removeprefix("Bearer "),
                "raw": traffic.decode(),
                "type": request.mimetype,
                "status": status,
                "answer": json.loads(answer) if answer else None,
            }
        )

    # The store and the folders

    def execute(self, statements: str) -> None:
        with closing(pysqlite3.connect(self.home / "mc.db")) as connection, connection:
            for statement in statements.split(";"):
                connection.execute(statement, {"now": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")})

    def find_run(self, ticket_id: int) -> tuple[int, int]:
        """The number of a ticket's run and the process id of its wrapper, once it has reported a step."""
        query = "SELECT id, pid FROM runs WHERE ticket_id = ? AND pid IS NOT NULL AND last_run_seq > 4"

        def find() -> Any:
            with closing(pysqlite3.connect(self.home / "mc.db")) as connection:
                return connection.execute(query, (ticket_id,)).fetchone()

        run_id, pid = wait_for(find)
        return run_id, pid

    def hide_places(self, text: str) -> str:
        """Put placeholders for this machine's name and folders; the name is replaced only where it is a whole value."""
        host, sockets = socket.gethostname(), str((self.home / "run/sockets").resolve())
        for place, placeholder in ((sockets, "{home}/run/sockets"), (str(self.home), "{home}")):
            text = text.replace(place, placeholder)
        return text.replace(f"'{host}'", "'{host}'").replace(f'"{host}"', '"{host}"')

    def dump_store(self) -> str:
        with closing(pysqlite3.connect(self.home / "mc.db")) as connection:
            return self.hide_places("\n".join(_iterdump(connection)))

    def read_folder(self, run_id: int) -> dict[str, str]:
        """The text files of a run by their names."""
        files = [path for path in sorted((self.home / "runs" / str(run_id)).iterdir()) if path.is_file()]
        return {path.name: self.hide_places(path.read_text()) for path in files}

    def has_written(self, run_id: int, file: str, sign: str) -> bool:
        return sign in self.read_folder(run_id).get(file, "")


class _Body:
    """The body of a request that has been read, to read again."""

    def __init__(self, content: bytes) -> None:
        self.read = BytesIO(content).read


def wait_for(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if result := find():
            return result
        time.sleep(0.1)
    raise TimeoutError(find)


def create_repository(folder: Path) -> None:
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@localhost", "-C", str(folder))
    folder.mkdir()
    for command in (("init", "-q", "-b", "main"), ("commit", "-q", "--allow-empty", "-m", "Start")):
        subprocess.run([*git, *command], check=True)


def fill_store(recorder: Recorder) -> dict[str, Any]:
    """Fill a new store; returns the tokens."""
    create_repository(recorder.home / "repository")
    recorder.run_program("mc_cli.py", "db", "upgrade")
    operator = recorder.run_program("mc_cli.py", "token", "create", "--scope", "operator", "tester").split()[-1]
    values = {"operator": operator, "unknown": "mct_unknown", "home": str(recorder.home)}
    client = StepClient(recorder.create_app().test_client(), values)
    for step, status, answer in client.send_all(read_steps(FIXTURES / "fill.jsonl")):
        if status >= 300 and "too late" not in str(step):
            raise SystemExit(f"{step}: {status} {answer}")
    recorder.execute(ROWS)
    recorder.run_program("queue_reaper.py", "--trigger", "timer")
    return client.values


def record_runs(recorder: Recorder) -> dict[str, Any]:
    """Start the three runs, stop the board in their middle, and let two of their wrappers die while it is away."""
    with recorder.serve():
        recorder.run_program("mc_pickup.py")
        runs = {name: recorder.find_run(ticket_id) for name, ticket_id in RUNS.items()}
        time.sleep(1)  # until their events have been sent
    numbers = {name: run_id for name, (run_id, _pid) in runs.items()}
    recording = {
        "moment": datetime.now(UTC).isoformat(),
        "store": recorder.dump_store(),
        "tickets": RUNS,
        "runs": numbers,
    }
    folders = {"alive": recorder.read_folder(numbers["alive"])}
    signs = {"reported": ("report.json", "verdict"), "killed": ("events.jsonl", "agent.tool_result")}
    for name, (file, sign) in signs.items():
        (recorder.home / f"go-{name}").touch()
        wait_for(partial(recorder.has_written, numbers[name], file, sign))
        os.kill(runs[name][1], signal.SIGKILL)
        folders[name] = recorder.read_folder(numbers[name])
    return recording | {"folders": folders}


def record_wrapper(recorder: Recorder, values: dict[str, Any], run_id: int) -> list[Step]:
    """What the wrapper of the run that lives on sends to the board when that is back, and an operator meanwhile."""
    recorder.steps = []
    token = json.loads((recorder.home / f"runs/{run_id}/spec.json").read_text())["token"]
    with recorder.serve():
        wait_for(lambda: len(recorder.steps) >= 1)
        send_message(recorder, values["operator"])
        wait_for(lambda: any("agent.receipt" in step["raw"] for step in recorder.steps))
        (recorder.home / "go-alive").touch()
        wait_for(lambda: any(step["send"].endswith("/report") for step in recorder.steps))
    names = {token: "alive", values["operator"]: "operator"}
    values["alive"] = token
    steps = [step | {"as": names[step["as"]]} for step in recorder.steps if step["as"] in names]
    [message] = [step for step in steps if step["as"] == "operator"]
    message["keep"] = {"message": "uuid"}
    recording: list[Step] = json.loads(json.dumps(steps).replace(message["answer"]["uuid"], "{message}"))
    return recording


def send_message(recorder: Recorder, token: str) -> None:
    url = f"http://127.0.0.1:{recorder.port}/api/v1/tickets/{RUNS['alive']}/messages"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urlopen(Post(url, b'{"body": "Hurry up."}', headers)).close()


def record_session(recorder: Recorder, store: str, values: dict[str, Any]) -> list[Step]:
    """The answers to the session, over a copy of the store."""
    for file in recorder.home.glob("mc.db*"):
        file.unlink()
    text = store.replace("{home}", str(recorder.home)).replace("{host}", socket.gethostname())
    with closing(pysqlite3.connect(recorder.home / "mc.db")) as connection:
        connection.executescript(text)
    client = StepClient(recorder.create_app().test_client(), dict(values))
    recording = client.send_all(read_steps(FIXTURES / "session.jsonl"))
    return [step | {"status": status, "answer": answer} for step, status, answer in recording]


def end_processes(home: Path) -> None:
    """End whatever was started for this recording, tmux included, and remove its sockets."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(home).encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
    sockets = (home / "run/sockets").resolve()
    for server in sockets.glob("tmux-*/*"):
        subprocess.run(["tmux", "-S", str(server), "kill-server"], check=False)
    shutil.rmtree(sockets, ignore_errors=True)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="mc-record-"))
    recorder = Recorder(home)
    try:
        values = fill_store(recorder)
        recording = record_runs(recorder)
        wrapper = record_wrapper(recorder, values, recording["runs"]["alive"])
        store = recording.pop("store")
        session = record_session(recorder, store, values)
    finally:
        end_processes(home)
        shutil.rmtree(home, ignore_errors=True)
    (FIXTURES / "store.sql.gz").write_bytes(gzip.compress(store.encode(), mtime=0))
    values = {name: value for name, value in values.items() if name != "home"}
    (FIXTURES / "runs.json").write_text(json.dumps(recording | {"values": values}, indent=1) + "\n")
    for name, steps in (("wrapper", wrapper), ("session", session)):
        write_steps(FIXTURES / f"{name}.jsonl", json.loads(recorder.hide_places(json.dumps(steps))))


if __name__ == "__main__":
    main()
