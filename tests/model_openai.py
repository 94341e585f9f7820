"""Fake of OpenAI's Responses API, as far as Codex uses it: choice of the step, and its event stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from .model_script import Step, is_script, pieces, step_at

Body = dict[str, Any]
Chunk = tuple[str, Body]
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 120,
}
_SHELLS = (("exec_command", "cmd"), ("shell_command", "command"))


def next_step(body: Body) -> Step:
    """Return the step for a request: in the script of its last scripted prompt, after the answers given since."""
    items = body.get("input") or []
    prompts = [place for place, item in enumerate(items) if item.get("role") == "user"]
    scripted = [place for place in prompts if is_script(_extract_text(items[place]))]
    at = (scripted or prompts or [0])[-1]
    step = step_at(_extract_text(items[at]) if items else "", _answers(items[at + 1 :]))
    side = step.kind == "bash" and not _shell(body)
    return Step(argument="A title") if side else step


def error(status: int) -> Body:
    return {"error": {"message": f"scripted error {status}", "type": "error", "param": None, "code": str(status)}}


def limit(epoch: str) -> Body:
    """Build the body of a 429 for an account that has reached its usage limit."""
    error_fields = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus"}
    return {"error": {**error_fields, "resets_at": int(epoch)}}


def items(body: Body, step: Step) -> list[Body]:
    """Build the output items of a response."""
    output: list[Body] = []
    if step.think:
        summary = [{"type": "summary_text", "text": step.think}]
        output.append({"type": "reasoning", "id": _id("rs"), "summary": summary, "encrypted_content": None})
    if step.text:
        output.append(_message(step.text))
    return [*output, _call(body, step) if step.calls_tool else _message(step.argument or "DONE")]


def stream(body: Body, step: Step) -> Iterator[Chunk]:
    """Yield the events of a streamed response, as (name, data)."""
    answer = {"id": _id("resp"), "object": "response", "created_at": int(time.time()), "model": body.get("model")}
    output = items(body, step)
    events: list[Chunk] = [
        ("response.created", {"response": {**answer, "status": "in_progress", "output": [], "usage": None}})
    ]
    for index, item in enumerate(output):
        events += _item(index, item)
    done = {**answer, "status": "completed", "output": output, "usage": USAGE}
    events.append(("response.completed", {"response": done}))
    for number, (name, data) in enumerate(events):
        yield name, {"type": name, "sequence_number": number, **data}


def _item(index: int, item: Body) -> list[Chunk]:
    place = {"output_index": index}
    events: list[Chunk] = []
    if item["type"] == "message":
        whole = item["content"][0]["text"]
        started_item = {**item, "status": "in_progress", "content": []}
        part = {"item_id": item["id"], "content_index": 0, **place}
        empty = {"type": "output_text", "text": "", "annotations": []}
        events.append(("response.content_part.added", {**part, "part": empty}))
        events += [("response.output_text.delta", {**part, "delta": piece}) for piece in pieces(whole)]
        events.append(("response.output_text.done", {**part, "text": whole}))
    elif item["type"] == "reasoning":
        started_item, part = {**item, "summary": []}, {"item_id": item["id"], "summary_index": 0, **place}
        whole = item["summary"][0]["text"]
        empty = {"type": "summary_text", "text": ""}
        events.append(("response.reasoning_summary_part.added", {**part, "part": empty}))
        events.append(("response.reasoning_summary_text.delta", {**part, "delta": whole}))
        events.append(("response.reasoning_summary_text.done", {**part, "text": whole}))
    else:
        started_item = {**item, "status": "in_progress", "arguments": ""}
    begin = ("response.output_item.added", {**place, "item": started_item})
    return [begin, *events, ("response.output_item.done", {**place, "item": item})]


def _call(body: Body, step: Step) -> Body:
    if step.kind == "bash":
        name, field = _shell(body) or _SHELLS[0]
        arguments: Body = {field: step.argument}
    else:
        name, arguments = step.tool
    namespace, _, short = name.rpartition("/")
    call = {"type": "function_call", "id": _id("fc"), "call_id": _id("call"), "name": short, "status": "completed"}
    return {**call, "arguments": json.dumps(arguments), **({"namespace": namespace} if namespace else {})}


def _shell(body: Body) -> tuple[str, str] | None:
    tool_names = {tool.get("name") or tool.get("type") for tool in body.get("tools") or []}
    return next((shell for shell in _SHELLS if shell[0] in tool_names), None)


def _message(text: str) -> Body:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": _id("msg"), "role": "assistant", "status": "completed", "content": content}


def _answers(items: list[Body]) -> int:
    """Count the responses among these items: uninterrupted sequences of items written by the model."""
    mine = [
        item.get("role") == "assistant" or item.get("type") == "reasoning" or str(item.get("type")).endswith("_call")
        for item in items
    ]
    return sum(now and not before for before, now in zip([False, *mine], mine, strict=False))


def _extract_text(item: Body) -> str:
    content = item.get("content")
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content or [])


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:20]}"
