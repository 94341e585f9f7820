"""An agent's program for tests: speaks the script agent's protocol and does what its prompt says, line by line.

A prompt line is a word and the rest: `say TEXT`, `result TEXT`, `fail CLASS TEXT`, `print RAW`, `stderr TEXT`,
`signal VERDICT SUMMARY`, `wait FILE`, `exit CODE`, `kill`, `flood FILE`, `orphan FILE`, `hide FILE`, `deaf` (ignore TERM and orders),
`slow SECONDS` (to take up messages),
`ask TEXT`, `usage N`, `many N`, `retry CLASS` (for ever). After the last line it is idle. A message's body is more such lines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ORPHAN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
"""
HIDE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(str(os.getpid()))
        code = f"import os, time; os.rename({sys.argv[1] + '.new'!r}, {sys.argv[1]!r}); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-c", code], {})
    os._exit(0)
os.wait()
"""
"""Forks twice, leaves its session and clears its environment, then names itself in a file."""
FLOOD = """
import os, sys
chunk = (b"x" * 99 + b"\\n") * 10000
os.write(1, chunk)
open(sys.argv[1], "w").close()
while True:
    os.write(1, chunk)
"""

deaf = threading.Event()
slowness: list[float] = []


def tell(kind: str, **payload: Any) -> None:
    print(json.dumps({"kind": kind, "payload": payload}), flush=True)


def report(rest: str) -> None:
    kind, _, summary = rest.partition(" ")
    signalled: dict[str, Any] = {"verdict": kind, "summary": summary, "claims": [], "question": None}
    text = json.dumps(signalled | {"nonce": os.environ["TEST_NONCE"]})
    (Path(os.environ["TEST_RUN_DIR"]) / "signal.json").write_text(text)


def fail(rest: str) -> None:
    failure, _, text = rest.partition(" ")
    tell("result", ok=False, failure=failure, text=text, retry_at="2031-01-01T00:00:00Z")


def wait(rest: str) -> None:
    while not Path(rest).exists():
        time.sleep(0.02)


def ignore(_: str) -> None:
    deaf.set()


def be_slow(rest: str) -> None:
    slowness.append(float(rest))


def ask(rest: str) -> None:
    tell("state", state="waiting")
    tell("question", request="q-1", questions=[{"text": rest, "choices": []}])


def tell_many(rest: str) -> None:
    for number in range(int(rest)):
        tell("text", block=str(number), text=f"text {number}")


def retry(rest: str) -> None:
    while True:
        tell("retry", attempt=0, limit=0, delay_seconds=0, failure=rest, message="nobody answers")
        time.sleep(0.2)


ACTS: dict[str, Callable[[str], object]] = {
    "say": lambda rest: tell("text", block=str(time.monotonic_ns()), text=rest),
    "result": lambda rest: tell("result", ok=True, text=rest.replace("\\n", "\n")),
    "fail": fail,
    "print": lambda rest: print(eval(rest), flush=True),  # the test's own text
    "stderr": lambda rest: print(eval(rest), end="", file=sys.stderr, flush=True),
    "signal": report,
    "wait": wait,
    "exit": lambda rest: os._exit(int(rest)),
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "flood": lambda rest: subprocess.Popen([sys.executable, "-c", FLOOD, rest], start_new_session=True),
    "orphan": lambda rest: subprocess.run([sys.executable, "-c", ORPHAN, rest], check=True),
    "hide": lambda rest: subprocess.run([sys.executable, "-c", HIDE, rest], check=True),
    "deaf": ignore,
    "slow": be_slow,
    "ask": ask,
    "usage": lambda rest: tell("usage", input_tokens=int(rest), output_tokens=0, turns=1, cumulative=True),
    "many": tell_many,
    "retry": retry,
}


def turn(text: str, uuid: str) -> None:
    time.sleep(sum(slowness))
    tell("state", state="running")
    tell("input", uuid=uuid, text=text, source="echo")
    for state in ("queued", "accepted") if uuid else ():
        tell("receipt", uuid=uuid, state=state)
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        ACTS.get(word, len)(rest)
    tell("state", state="idle")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None if deaf.is_set() else os._exit(143))
    tell("session", program="scripted", version="1", conversation_id="c-1")
    for line in sys.stdin:
        order = json.loads(line)
        if deaf.is_set():
            continue
        if order["type"] in ("prompt", "message"):
            threading.Thread(target=turn, args=(order["text"], order.get("uuid", "")), daemon=True).start()
        elif order["type"] == "interrupt":
            tell("result", ok=False, text="interrupted", stop_reason="interrupted")
            tell("state", state="idle")
        elif order["type"] == "end":
            sys.exit(0)
    threading.Event().wait(600 if deaf.is_set() else 0)


if __name__ == "__main__":
    main()
