"""Measurement of the coordination server that every agent program starts."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from workers.agents.coordination import SERVER_COMMAND

from .board import measure_megabytes
from .rows import ResultRow, build_percentile_rows

STARTS = 10
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}


def measure_server_start() -> Iterator[ResultRow]:
    """Measure the time from the start of the coordination server to its first answer, and its memory."""
    with tempfile.TemporaryDirectory() as folder:
        samples = [_start_server(Path(folder)) for _ in range(STARTS)]
    yield from build_percentile_rows("start of the coordination server", [seconds for seconds, _ in samples])
    yield ResultRow("memory of the coordination server", max(memory for _, memory in samples), "MB", "resident")


def _start_server(folder: Path) -> tuple[float, float]:
    places = {"MC_RUN_DIR": str(folder), "MC_WORKSPACE": str(folder), "MC_API_TOKEN_FILE": str(folder / "token")}
    environment = {**places, "MC_TICKET_ID": "1", "MC_TICKET_NONCE": "nonce", "MC_API": "http://127.0.0.1:9"}
    begin = time.perf_counter()
    with subprocess.Popen(SERVER_COMMAND, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        server.stdin.flush()
        server.stdout.readline()
        seconds = time.perf_counter() - begin
        memory = measure_megabytes(server.pid)
        server.stdin.close()
    return seconds, memory
