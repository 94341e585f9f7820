"""The command of every hook of an agent's program: `python -I -S hook.py <run directory>`, with the hook's JSON on stdin.

It appends the JSON as one line to `hooks.jsonl`. A permission request gets a name and then waits, while the
program shows or holds its dialog, for `answers/<name>.json`, whose content it prints. It ends with its program.
Started for every event, so it imports next to nothing.
"""

# ruff: noqa: PTH118, PTH123 - pathlib would double the time to start

import json
import os
import sys
import time

POLL_SECONDS = 0.05


def main(run_dir: str) -> None:
    hook = json.loads(sys.stdin.buffer.read())
    waits = hook.get("hook_event_name") == "PermissionRequest"
    request = os.urandom(16).hex() if waits else None
    line = json.dumps({"hook": hook, "request": request}).encode() + b"\n"
    handle = os.open(os.path.join(run_dir, "hooks.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, line)
    os.close(handle)
    if request:
        sys.stdout.write(_await_answer(os.path.join(run_dir, "answers", request + ".json")))


def _await_answer(path: str) -> str:
    """Wait for the answer file and return its content, empty when the program is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            time.sleep(POLL_SECONDS)
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
