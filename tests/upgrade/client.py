"""A client that sends written requests to the JSON API, for the recorder and for the test that repeats its recording."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

Step = dict[str, Any]
"""A request as one JSON object: `send` ("GET /tickets"), `as` (whose token), `body`, `raw` with `type`, `file` with `form`,
`headers`; `keep` names values of the answer that later requests hold in braces. A recording adds `status` and `answer`.
"""
PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")


def read_steps(file: Path) -> list[Step]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write_steps(file: Path, steps: list[Step]) -> None:
    file.write_text("".join(json.dumps(step) + "\n" for step in steps))


@dataclass
class StepClient:
    """Sends steps in their order; `values` holds tokens and what the answers have brought."""

    client: FlaskClient
    values: dict[str, Any] = field(default_factory=dict)

    def send_all(self, steps: list[Step]) -> Iterator[tuple[Step, int, Any]]:
        """Send each step and yield it with the status and the answer."""
        for step in steps:
            response = self._send(step)
            answer = read_answer(response)
            self._keep(step, answer)
            yield step, response.status_code, answer

    def _send(self, step: Step) -> TestResponse:
        method, path = self._fill_in(step["send"]).split(" ", 1)
        return self.client.open(
            f"/api/v1{path}", method=method, headers=self._build_headers(step), **self._build_body(step)
        )

    def _build_headers(self, step: Step) -> dict[str, str]:
        token = self.values.get(step.get("as", "operator"))
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return {**authorization, **step.get("headers", {})}

    def _build_body(self, step: Step) -> dict[str, Any]:
        if "file" in step:
            name, content = step["file"]
            return {"data": {"file": (BytesIO(content.encode()), name), **step.get("form", {})}}
        if "raw" in step:
            return {"data": self._fill_in(step["raw"]), "content_type": step["type"]}
        return {"json": self._fill_in(step["body"])} if "body" in step else {}

    def _fill_in(self, value: Any) -> Any:
        """Replace the names in braces; a text that is nothing but one becomes its value, whatever its type."""
        if isinstance(value, dict):
            return {key: self._fill_in(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._fill_in(part) for part in value]
        if not isinstance(value, str):
            return value
        if whole := PLACEHOLDER.fullmatch(value):
            return self.values.get(whole[1], value)
        return PLACEHOLDER.sub(lambda match: str(self.values.get(match[1], match[0])), value)

    def _keep(self, step: Step, answer: Any) -> None:
        for name, path in step.get("keep", {}).items():
            value = answer
            for key in path.split("."):
                value = value[key]
            self.values[name] = value


def read_answer(response: TestResponse) -> Any:
    """The JSON of an answer; its text where it is none, and None where it is empty."""
    text = response.get_data(as_text=True)
    return json.loads(text) if response.mimetype == "application/json" and text else text or None
