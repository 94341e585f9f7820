"""The built-in agent: runs a ticket's fenced shell blocks in the workspace as steps, and commits the changes.

After the last step it is DONE, unless that step's output ends with a line that says REVIEW:, CHANGES: or QUESTION:.

It uses Mission Control's own line protocol. On stdout, one event per line: {"kind": "step", "payload": {...}}; on
stdin:

    {"type": "prompt", "text": "..."}                    starts the work, once
    {"type": "message", "uuid": "...", "text": "..."}    is refused: this agent reads none
    {"type": "interrupt"}                                stops the running step and skips the others
    {"type": "end"}                                      ends the program when the work is done; so does the end of
stdin
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import queue
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redaction import OMISSION_MARK
from workers.repository import git

from .blocks import InvalidBlock, Step, parse_steps

MAX_RESULT_LENGTH = 32_000
"""How much of a step's output is in its result, from the end."""
MAX_STREAM_LENGTH = 1_000_000
"""How much of a step's output is streamed, from the start."""
KILL_SECONDS = 3.0
TICK_SECONDS = 0.1
GIT_SECONDS = 120.0
VERDICT_PATTERN = re.compile(r"(?:REVIEW|CHANGES|QUESTION): .+")
NOTHING_TO_RUN = "This ticket has no sh block, so the script agent has nothing to run."
NO_MESSAGES = "The script agent reads no messages: it runs the ticket's blocks and nothing else."
NO_PLANS = (
    "QUESTION: A plan is wanted first, and the script agent makes none: it runs the ticket's blocks as they stand."
    " Choose 'Start without a plan' on the ticket, or another agent."
)
FALLBACK_AUTHOR = ("-c", "user.name=Mission Control", "-c", "user.email=mc@localhost")


class CommitFailed(Exception):
    """git did not commit the changes of the steps."""


_stdout_lock = threading.Lock()


def emit(kind: str, /, **payload: object) -> None:
    """Print one event. Fields that are None are left out."""
    line = json.dumps({"kind": kind, "payload": {k: v for k, v in payload.items() if v is not None}})
    with _stdout_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@dataclass(slots=True)
class StdinListener:
    """Reads stdin in a thread. `interrupted` is set until the interrupted turn is over."""

    prompts: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        for line in sys.stdin:
            with suppress(ValueError):
                self._handle_order(json.loads(line))
        self.prompts.put(None)

    def _handle_order(self, order: dict[str, Any]) -> None:
        match order.get("type"):
            case "prompt":
                self.prompts.put(str(order.get("text", "")))
            case "message":
                emit("receipt", uuid=str(order.get("uuid", "")), state="refused", detail=NO_MESSAGES)
            case "interrupt":
                self.interrupted.set()
            case "end":
                self.prompts.put(None)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step: `ok`, `failed` or `timed_out`."""

    status: str
    exit_code: int | None
    seconds: float
    last_line: str = ""


def main(argv: list[str]) -> int:
    """Work on the first prompt, then wait for the end. Exit code 0 unless the program itself fails."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--identifier", required=True)
    arguments.add_argument("--title", required=True)
    arguments.add_argument("--plan", action="store_true")
    options = arguments.parse_args(argv)
    listener = StdinListener()
    threading.Thread(target=listener.listen, daemon=True).start()
    emit("session", program="script", version="1")
    if (prompt := listener.prompts.get()) is not None:
        emit("state", state="running")
        emit("input", text=prompt, source="prompt")
        subject = f"{options.identifier}: {options.title}"
        emit("result", **(_make_result(NO_PLANS) if options.plan else run_steps(prompt, subject, listener)))
        emit("state", state="idle")
        listener.prompts.get()
    return 0


def run_steps(prompt: str, subject: str, listener: StdinListener) -> dict[str, Any]:
    """Run all steps and commit. Returns the payload of the turn's result."""
    try:
        todo = parse_steps(prompt)
    except InvalidBlock as error:
        return _make_result(f"QUESTION: A block cannot be run: {error}.")
    if not todo:
        return _make_result(f"QUESTION: {NOTHING_TO_RUN}")
    for number, step in enumerate(todo, 1):
        done = run_step(number, step, listener)
        if done.status != "ok":
            for skipped, rest in enumerate(todo[number:], number + 1):
                emit("step", step=skipped, title=rest.title, state="ended", status="skipped")
            return _make_failure(number, step, done, listener)
    try:
        committed = commit_changes(subject)
    except CommitFailed as error:
        return {"ok": False, "text": f"The changes cannot be committed: {error}", "failure": "agent_failed"}
    if VERDICT_PATTERN.fullmatch(done.last_line):
        return _make_result(done.last_line)
    summary = f"DONE: {len(todo)} {'step' if len(todo) == 1 else 'steps'} ran"
    return _make_result(f"{summary}, {committed}." if committed else f"{summary}.")


def _make_result(text: str) -> dict[str, Any]:
    emit("text", block="result", text=text)
    return {"ok": True, "text": text}


def _make_failure(number: int, step: Step, done: StepResult, listener: StdinListener) -> dict[str, Any]:
    if listener.interrupted.is_set():
        return {"ok": False, "text": f"Step {number} was interrupted.", "stop_reason": "interrupted"}
    how = {"timed_out": f"ran longer than {step.timeout:g} seconds", "failed": f"ended with exit code {done.exit_code}"}
    text = f"Step {number} ({step.title}) {how[done.status]}."
    emit("text", block="result", text=text)
    return {"ok": False, "text": text, "failure": "timeout" if done.status == "timed_out" else "agent_failed"}


@dataclass(slots=True)
class StepOutput:
    """A step's output: streamed as it comes, with its tail for the result."""

    call: str
    length: int = 0
    tail: str = ""

    def take(self, piece: str) -> None:
        if piece and self.length < MAX_STREAM_LENGTH:
            emit("delta", block=self.call, kind="text", offset=self.length, text=piece)
        self.length += len(piece)
        self.tail = (self.tail + piece)[-MAX_RESULT_LENGTH:]

    @property
    def result(self) -> str:
        left_out = self.length - len(self.tail)
        return f"[{left_out} characters before this]{OMISSION_MARK}{self.tail}" if left_out else self.tail

    @property
    def last_line(self) -> str:
        return self.tail.rstrip().rpartition("\n")[2].strip()


def run_step(number: int, step: Step, listener: StdinListener) -> StepResult:
    """Run one step, with events before and after and its output streamed in between."""
    call = f"step-{number}"
    output = StepOutput(call)
    emit("step", step=number, title=step.title, state="started")
    emit("tool_call", call=call, name=step.shell, input={"command": step.script}, title=step.title)
    done = _run_script(step, listener, output)
    facts = {"exit_code": done.exit_code, "seconds": round(done.seconds, 3)}
    emit("tool_result", call=call, block=call, output=output.result, error=done.status != "ok", **facts)
    emit("step", step=number, title=step.title, state="ended", status=done.status, **facts)
    return done


def _run_script(step: Step, listener: StdinListener, output: StepOutput) -> StepResult:
    """Run the step's script, `sh -eu <file>`, in a session of its own."""
    start = time.monotonic()
    try:
        process = _start(step)
    except OSError as error:
        output.take(f"{error}\n")
        return StepResult("failed", 127, time.monotonic() - start)
    timed_out = _follow(process, start + step.timeout, listener, output)
    code = process.wait()
    status = "timed_out" if timed_out else "ok" if code == 0 else "failed"
    return StepResult(status, code, time.monotonic() - start, output.last_line)


def _start(step: Step) -> subprocess.Popen[bytes]:
    """Start the step. Its script is a file in memory, so that nothing is left of a run that is killed."""
    with os.fdopen(os.memfd_create("step"), "wb") as script:
        script.write(step.script.encode())
        script.flush()
        return subprocess.Popen(
            [step.shell, "-eu", f"/proc/self/fd/{script.fileno()}"],
            cwd=step.cwd,
            env={**os.environ, **dict(step.env)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(script.fileno(),),
        )


def _follow(process: subprocess.Popen[bytes], deadline: float, listener: StdinListener, output: StepOutput) -> bool:
    """Pass output on until the step has ended. Returns True when it was stopped at its time limit.

    A background process of a step may hold the pipe open, so the step ends with its shell.
    """
    pipe = process.stdout.fileno() if process.stdout else -1
    os.set_blocking(pipe, False)
    letters = codecs.getincrementaldecoder("utf-8")("replace")
    timed_out = False
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            exited = process.poll() is not None
            if selector.select(0 if exited else TICK_SECONDS):
                chunk = os.read(pipe, 65536)
                output.take(letters.decode(chunk, final=not chunk))
                if not chunk:
                    selector.unregister(pipe)
            elif exited:
                break
            if not exited and (listener.interrupted.is_set() or time.monotonic() > deadline):
                timed_out = not listener.interrupted.is_set()
                _end(process)
    return timed_out


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a step's process group with TERM, then KILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)


def commit_changes(subject: str) -> str | None:
    """Commit all changes in the workspace. Returns a description, None without changes or repository.

    A file that git would only store in another form (line endings) is not a change of the steps.
    """
    folder = Path.cwd()
    try:
        changes = git.find_dirty_paths(folder) if git.is_repository(folder) else []
        if not changes:
            return None
        git.stage_changes(folder, changes)
        has_author = git.run(folder, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT").code == 0
        author = () if has_author else FALLBACK_AUTHOR
        git.check_output(folder, *author, "commit", "--quiet", "-m", subject, timeout=GIT_SECONDS)
        return f"committed as {git.check_output(folder, 'rev-parse', '--short', 'HEAD')}"
    except git.GitError as error:
        raise CommitFailed(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
