"""Fake of Anthropic's Messages API, as far as an agent program uses it: choice of the step, and its event stream."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from .model_script import Step, is_script, pieces, step_at

Body = dict[str, Any]
Chunk = tuple[str, Body]
_USAGE = {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
OUTPUT_TOKENS = 20


def next_step(body: Body) -> Step:
    """Return the step for a request: in the script of its last scripted prompt, after the answers given since."""
    if not body.get("tools"):
        return Step(argument='{"title": "A title"}' if body.get("output_config") else "ok")
    messages = body.get("messages") or []
    prompts = [place for place, message in enumerate(messages) if _is_prompt(message)]
    scripted = [place for place in prompts if is_script(_extract_text(messages[place]))]
    at = (scripted or prompts or [0])[-1]
    answers = sum(message["role"] == "assistant" for message in messages[at + 1 :])
    return step_at(_extract_text(messages[at]) if messages else "", answers)


def error(status: int) -> Body:
    names = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = names.get(status, "overloaded_error" if status == 529 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": f"scripted error {status}"}}


def limit_headers(epoch: str) -> dict[str, str]:
    """Build the headers of a 429 for an account that has reached its usage limit."""
    prefix = "anthropic-ratelimit-unified"
    return {f"{prefix}-status": "rejected", f"{prefix}-reset": epoch, f"{prefix}-representative-claim": "five_hour"}


def whole(body: Body, step: Step) -> Body:
    """Build the response to a request without streaming."""
    return {**_head(body), "content": blocks(step), "stop_reason": _stop(step)}


def blocks(step: Step) -> list[Body]:
    """Build the content blocks of a response."""
    content: list[Body] = []
    if step.think:
        content.append({"type": "thinking", "thinking": step.think, "signature": "c2lnbmVk"})
    if step.text:
        content.append({"type": "text", "text": step.text})
    if not step.calls_tool:
        return [*content, {"type": "text", "text": step.argument or "DONE"}]
    name, arguments = ("Bash", {"command": step.argument, "description": "Run"}) if step.kind == "bash" else step.tool
    return [*content, {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": name, "input": arguments}]


def stream(body: Body, step: Step) -> Iterator[Chunk]:
    """Yield the events of a streamed response, as (name, data)."""
    yield "message_start", {"type": "message_start", "message": _head(body)}
    for index, block in enumerate(blocks(step)):
        yield from _block(index, block)
    delta = {"stop_reason": _stop(step), "stop_sequence": None}
    usage = {"output_tokens": OUTPUT_TOKENS}
    yield "message_delta", {"type": "message_delta", "delta": delta, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


def _block(index: int, block: Body) -> Iterator[Chunk]:
    kind = block["type"]
    field, empty = {"text": ("text", ""), "thinking": ("thinking", "")}.get(kind, ("input", {}))
    start = {**block, field: empty, **({"signature": ""} if kind == "thinking" else {})}
    yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
    whole = json.dumps(block["input"]) if field == "input" else block[field]
    delta_fields = {"input": ("input_json_delta", "partial_json")}.get(field, (f"{field}_delta", field))
    for piece in pieces(whole):
        delta = {"type": delta_fields[0], delta_fields[1]: piece}
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    if kind == "thinking":
        delta = {"type": "signature_delta", "signature": block["signature"]}
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": index}


def _head(body: Body) -> Body:
    message = {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant"}
    rest: Body = {
        "model": body.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _USAGE,
    }
    return {**message, **rest}


def _stop(step: Step) -> str:
    return "tool_use" if step.calls_tool else "end_turn"


def _is_prompt(message: Body) -> bool:
    content = message["content"]
    results = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
    return message["role"] == "user" and (not results or is_script(_extract_text(message)))


def _extract_text(message: Body) -> str:
    """Return the text of a message: of several, the last one with a script, since an interrupted prompt is kept."""
    content = message["content"]
    if isinstance(content, str):
        return content
    texts = [block.get("text", "") for block in content if block.get("type") == "text"]
    return next((text for text in reversed(texts) if is_script(text)), "\n".join(texts))
