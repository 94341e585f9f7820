"""A run's final report: written to disk, then posted to the server, or left on disk for the reaper."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import failpoints
from failpoints import Failpoint
from workers.host import files

from .api import STALE_STATUSES, ApiClient, Unreachable
from .verdict import REPORT_FILE

REPORTED_FILE = "reported"
RETRY_SECONDS = 60.0
MAX_PAUSE_SECONDS = 10.0


def save_report(run_dir: Path, report: Mapping[str, Any]) -> bytes:
    """Save the report on disk and return the body to post. A full disk is no obstacle."""
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
    """Post the report after the events before it. Returns the server's status, None without a response.

    200, 401 and 409 are final and written to `reported`. Anything else is retried for `seconds`, or until
    `pause`, which waits between two attempts, returns True.
    """
    deadline = time.monotonic() + seconds
    delay = 0.25
    while True:
        status = _post_report(api, run_id, body) if flush(api.timeout) else None
        if status == 200 or status in STALE_STATUSES:
            failpoints.kill_at(Failpoint.REPORTED)
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
