"""How an agent's program is told of Mission Control's coordination MCP server."""

from __future__ import annotations

import os
from pathlib import Path

from workers.spec import RunSpec

TOKEN_FILE = "api-token"  # noqa: S105 - a file's name


def server_environment(spec: RunSpec, run_dir: Path) -> dict[str, str]:
    """The environment of `mc_coordination_mcp.py`; writes the run's token into a 0600 file and names that
    file.

    The program's own configuration is kept with the conversation, so the token itself never stands in it.
    """
    token_file = run_dir / TOKEN_FILE
    write_private(token_file, spec.token)
    return {
        "MC_RUN_DIR": str(run_dir),
        "MC_TICKET_ID": str(spec.ticket_id),
        "MC_TICKET_NONCE": spec.nonce,
        "MC_API": spec.api,
        "MC_API_TOKEN_FILE": str(token_file),
    }


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, replacing an earlier one."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
