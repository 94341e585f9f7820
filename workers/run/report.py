"""A run's final report: on disk first, then to the server, and if that fails left there for the reaper."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.host import files

from .api import STALE_STATUSES, ApiClient, Unreachable
from .verdict import REPORT_FILE

REPORTED_FILE = "reported"
RETRY_SECONDS = 60.0
MAX_PAUSE_SECONDS = 10.0


def save_report(run_dir: Path, report: Mapping[str, Any]) -> bytes:
    """Put the report on disk for good, and return it as it is to be posted; a full disk does not hold that up."""
    body = json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")
    with suppress(OSError):
        files.replace(run_dir / REPORT_FILE, body)
    return body


def deliver_report(
    run_dir: Path,
    api: ApiClient,
    run_id: int,
    body: bytes,
    flush: Callable[[float], bool],
    pause: Callable[[float], bool],
    seconds: float = RETRY_SECONDS,
) -> int | None:
    """Post the report once the events before it have arrived; returns the server's status, None for no answer.

    200, 401 and 409 are final and written to `reported`; anything else is tried again for `seconds`, or until
    `pause`, which waits between two attempts, answers True.
    """
    deadline = time.monotonic() + seconds
    delay = 0.25
    while True:
        status = _post_report(api, run_id, body) if flush(api.timeout) else None
        if status == 200 or status in STALE_STATUSES:
            with suppress(OSError):
                files.replace(run_dir / REPORTED_FILE, str(status).encode())
            return status
        if time.monotonic() + delay > deadline or pause(delay):
            return status
        delay = min(MAX_PAUSE_SECONDS, delay * 2)


def _post_report(api: ApiClient, run_id: int, body: bytes) -> int | None:
    try:
        return api.post(f"/runs/{run_id}/report", body).status
    except Unreachable:
        return None
