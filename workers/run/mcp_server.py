"""An MCP server with tools alone, over stdio or one message at a time: JSON-RPC 2.0, of the standard library.

The SDK's own server needs over a second of CPU and 70 MB to start, for each run. The main thread reads stdin; every tool
call has a thread of its own, so that `ping` and cancellations are served while a call waits for the board.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

PROTOCOL_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions with an `initialize` handshake, oldest first; a client that asks for another one is offered the newest."""
PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
FINISH_SECONDS = 5.0
"""How long calls that are still running may take after stdin was closed."""

Json = dict[str, Any]


class ToolError(Exception):
    """A call that failed, with a text on which the agent can act."""


class RpcError(Exception):
    """A request that cannot be served, with its JSON-RPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `arguments` maps each argument to its JSON schema, `run` gets the valid ones by keyword."""

    name: str
    description: str
    run: Callable[..., str]
    arguments: Mapping[str, Json]
    required: Sequence[str] = ()

    @property
    def schema(self) -> Json:
        return build_object_schema(self.arguments, self.required)


def build_object_schema(properties: Mapping[str, Json], required: Sequence[str] = ()) -> Json:
    """Build the schema of an object without other properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


class McpServer:
    """The server of one client. `on_ready` is called when the client has listed the tools, which it does to use them."""

    def __init__(
        self, name: str, version: str, instructions: str, tools: Sequence[Tool], on_ready: Callable[[], None]
    ) -> None:
        self._info = {"name": name, "version": version}
        self._instructions = instructions
        self._tools = {tool.name: tool for tool in tools}
        self._on_ready = on_ready
        self._calls: dict[str | int, threading.Thread] = {}
        self._cancelled_calls: set[str | int] = set()
        self._lock = threading.Lock()
        self._methods: dict[str, Callable[[Json], Json]] = {
            "initialize": self._initialize,
            "ping": lambda _: {},
            "tools/list": self._list_tools,
        }

    def serve(self, requests: IO[bytes], responses: IO[bytes]) -> None:
        """Serve until `requests` ends, and then finish the calls that still run."""
        self._responses = responses
        for line in requests:
            if line.strip():
                self._receive(line)
        for call in list(self._calls.values()):
            call.join(FINISH_SECONDS)

    def answer(self, content: bytes) -> bytes | None:
        """Handle one message to its end, and return the response, None for a notification."""
        response = self._handle(content, self._call)
        return None if response is None else _format_response(response)

    def _receive(self, line: bytes) -> None:
        """Handle one message. A call of a tool is answered by its own thread."""
        response = self._handle(line, self._start_call)
        if response is not None:
            self._send(response)

    def _handle(self, content: bytes, call: Callable[[Any, Tool, object], Json | None]) -> Json | None:
        """Handle one message, tools by `call`. A request that cannot be read is answered without its number."""
        number = None
        try:
            message = _parse_message(content)
            number = _read_number(message)
            method, params = _read_message(message)
            if "id" not in message:
                self._take_notification(method, params)
                return None
            if method == "tools/call":
                return call(number, self._find_tool(params), params.get("arguments") or {})
            return {"id": number, "result": self._find_method(method)(params)}
        except RpcError as error:
            return {"id": number, "error": {"code": error.code, "message": str(error)}}

    def _find_tool(self, params: Json) -> Tool:
        tool = self._tools.get(str(params.get("name")))
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"Unknown tool {params.get('name')!r}. See tools/list.")
        return tool

    def _find_method(self, method: str) -> Callable[[Json], Json]:
        if method not in self._methods:
            raise RpcError(UNKNOWN_METHOD, f"Unknown method {method!r}. This server has {', '.join(self._methods)}.")
        return self._methods[method]

    def _initialize(self, params: Json) -> Json:
        version = params.get("protocolVersion")
        return {
            "protocolVersion": version if version in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[-1],
            "capabilities": {"tools": {}},
            "serverInfo": self._info,
            "instructions": self._instructions,
        }

    def _list_tools(self, _: Json) -> Json:
        self._on_ready()
        tools = self._tools.values()
        return {
            "tools": [
                {"name": tool.name, "description": tool.description, "inputSchema": tool.schema} for tool in tools
            ]
        }

    def _take_notification(self, method: str, params: Json) -> None:
        """Take a notification, which is never answered. A call that it cancels ends without an answer."""
        number = params.get("requestId")
        if method == "notifications/cancelled" and isinstance(number, str | int) and number in self._calls:
            self._cancelled_calls.add(number)

    def _call(self, number: Any, tool: Tool, arguments: object) -> Json:
        text, failed = run_tool(tool, arguments)
        return {"id": number, "result": {"content": [{"type": "text", "text": text}], "isError": failed}}

    def _start_call(self, number: Any, tool: Tool, arguments: object) -> None:
        """Run a tool in a thread of its own, which sends the response unless the client has cancelled the call."""

        def run() -> None:
            response = self._call(number, tool, arguments)
            if number not in self._cancelled_calls:
                self._send(response)
            self._cancelled_calls.discard(number)
            self._calls.pop(number, None)

        thread = threading.Thread(target=run, daemon=True)
        self._calls[number] = thread
        thread.start()

    def _send(self, message: Json) -> None:
        line = _format_response(message) + b"\n"
        with self._lock:
            self._responses.write(line)
            self._responses.flush()


def _format_response(message: Json) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=True).encode()


def _parse_message(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "The message is not JSON.") from None


def _read_number(message: Any) -> str | int | None:
    number = message.get("id") if isinstance(message, dict) else None
    return number if isinstance(number, str | int) and not isinstance(number, bool) else None


def _read_message(message: object) -> tuple[str, Json]:
    """Return method and params of a request or notification."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, 'A message is one object with "jsonrpc": "2.0" and a method.')
    if "id" in message and (isinstance(message["id"], bool) or not isinstance(message["id"], str | int)):
        raise RpcError(INVALID_REQUEST, "The id of a request is a string or an integer.")
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "The params of a method are an object.")
    return message["method"], params


def run_tool(tool: Tool, arguments: object) -> tuple[str, bool]:
    """Run a tool and return its text, and whether it failed. Nothing that a tool does ends the server."""
    try:
        valid = check_value(arguments, tool.schema, tool.name)
        return tool.run(**valid), False
    except ToolError as error:
        return str(error), True
    except Exception as error:
        return f"{tool.name} failed: {type(error).__name__}: {error}", True


# ------------------------------------------------------------------------------------------------------------- schemas

_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "array": (list,), "object": (dict,)}
_UNITS = {"string": " characters", "array": " items", "object": " properties"}


def check_value(value: object, schema: Json, name: str) -> Any:
    """Return a value that fits its schema, without optional properties that are null. `ToolError` names what does not.

    Covers what the schemas of this server use: type, enum, bounds of texts, numbers and arrays, and objects.
    """
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        article = "an" if kind[0] in "aeio" else "a"
        raise ToolError(f"{name} must be {article} {kind}.")
    if "enum" in schema and value not in schema["enum"]:
        raise ToolError(f"{name} must be one of {', '.join(schema['enum'])}.")
    _check_bounds(value, schema, name)
    if isinstance(value, dict):
        return _check_properties(value, schema, name)
    if isinstance(value, list):
        return [check_value(item, schema["items"], f"{name}[{index}]") for index, item in enumerate(value)]
    return value


def _check_bounds(value: Any, schema: Json, name: str) -> None:
    size, unit = (value, "") if isinstance(value, int) else (len(value), _UNITS[schema["type"]])
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    if schema.get("minLength") and not str(value).strip():
        raise ToolError(f"{name} must not be empty.")
    if low is not None and size < low:
        raise ToolError(f"{name} must be at least {low}.")
    if high is not None and size > high:
        raise ToolError(f"{name} must be at most {high}{unit}.")


def _check_properties(value: Json, schema: Json, name: str) -> Json:
    properties, required = schema["properties"], schema["required"]
    if unknown := sorted(value.keys() - properties.keys()):
        raise ToolError(f"{name} has no {', '.join(unknown)}. It takes {', '.join(properties) or 'nothing'}.")
    values = {key: item for key, item in value.items() if item is not None or key in required}
    if missing := [key for key in required if key not in values]:
        raise ToolError(f"{name} needs {', '.join(missing)}.")
    return {key: check_value(item, properties[key], f"{name}.{key}") for key, item in values.items()}
