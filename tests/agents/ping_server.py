"""An MCP server with one tool, `ping`. Arguments: its name, and a folder for a file of that name once it has started."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TOOL = {"name": "ping", "description": "Ping.", "inputSchema": {"type": "object", "properties": {}}}


def answer(method: str, params: dict[str, Any], name: str) -> dict[str, Any]:
    """Build the result of a request."""
    match method:
        case "initialize":
            info = {"name": name, "version": "1"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return {"content": [{"type": "text", "text": f"pong from {name} {os.environ.get('OWN_VARIABLE', '')}"}]}
        case _:
            return {}


def main(name: str, folder: str) -> None:
    Path(folder, name).touch()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            result = answer(message["method"], message.get("params", {}), name)
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
