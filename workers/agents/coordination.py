"""The configuration of the coordination MCP server for an agent program."""

from __future__ import annotations

from pathlib import Path

from workers.contract.spec import RunSpec
from workers.host import files

TOKEN_FILE = "api-token"  # noqa: S105 - a file's name


def build_server_environment(spec: RunSpec, run_dir: Path) -> dict[str, str]:
    """Build the environment of `mc_coordination_mcp.py`, with the path of a 0600 file that contains the run's token.

    The program's own configuration is stored with the conversation, so it must not contain the token itself.
    """
    token_file = run_dir / TOKEN_FILE
    files.replace(token_file, spec.token.encode())
    return {
        "MC_RUN_DIR": str(run_dir),
        "MC_WORKSPACE": spec.workspace,
        "MC_TICKET_ID": str(spec.ticket_id),
        "MC_TICKET_NONCE": spec.nonce,
        "MC_API": spec.api,
        "MC_API_TOKEN_FILE": str(token_file),
    }
