"""An agent program for tests that answers each message, until the message `bye`.

It uses the protocol of the script agent. A message `may I` makes it request permission, `pick` ask a question, and
`type WORDS` stream its answer in pieces.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def tell(kind: str, /, **payload: Any) -> None:
    print(json.dumps({"kind": kind, "payload": payload}), flush=True)


def reply(uuid: str, text: str) -> None:
    tell("input", uuid=uuid, text=text, source="echo")
    tell("receipt", uuid=uuid, state="accepted")
    if text == "may I":
        tell("approval", request="a-1", tool="Bash", input={"command": "ls"}, title="ls")
    elif text == "pick":
        tell("question", request="q-1", questions=[{"text": "Which?", "choices": [{"label": "This"}]}])
    for word in text.split() if text.startswith("type ") else ():
        tell("delta", block=f"t-{uuid}", kind="text", text=f"{word} ")
    tell("tool_call", call=f"c-{uuid}", name="Echo", input={"text": text}, title=text[:60])
    tell("tool_result", call=f"c-{uuid}", output=text, error=False)
    tell("text", block=f"t-{uuid}", text=f"You said: {text}")


def main() -> None:
    tell("session", program="talker", version="1", conversation_id="c-1")
    for line in sys.stdin:
        order = json.loads(line)
        if order["type"] == "prompt":
            tell("state", state="running")
            tell("text", block="hello", text="I am listening.")
        elif order["type"] == "interrupt":
            tell("result", ok=False, text="interrupted", stop_reason="interrupted")
            tell("state", state="running")
        elif order["type"] == "message" and order["text"] != "bye":
            reply(order["uuid"], order["text"])
        else:
            tell("result", ok=True, text="DONE: it was good to talk.")
            tell("state", state="idle")
        if order["type"] == "end":
            return


if __name__ == "__main__":
    main()
