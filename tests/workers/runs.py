"""Run directories for tests: specs with harmless defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workers.spec import Limits, RunSpec


def spec_for(folder: Path, **changes: Any) -> RunSpec:
    """A spec of the script agent whose places are all below `folder`; `changes` replace its fields."""
    values: dict[str, Any] = {
        "version": 1,
        "instance": "a1b2c3d4",
        "run_id": 12,
        "ticket_id": 3,
        "identifier": "MC-3",
        "title": "Say hello",
        "generation": 1,
        "api": "http://127.0.0.1:9",
        "token": "mcr_token-of-this-run",
        "nonce": "0123456789abcdef0123456789abcdef",
        "socket": str(folder / "run.sock"),
        "program": "script",
        "binary": None,
        "mode": "headless",
        "model": None,
        "effort": None,
        "argv": (),
        "permissions": "default",
        "conversation_id": "6f1c2b0e-6f5f-4f0e-9d0a-1f5f0c7f3a11",
        "resume": False,
        "config_dir": str(folder / "config"),
        "workspace": str(folder / "workspace"),
        "repository": None,
        "branch": None,
        "base_sha": None,
        "base_branch": None,
        "env": {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "MC_RUN_ID": "12"},
        "mcp_command": None,
        "check": None,
        "setup": None,
        "limits": Limits(),
        "secrets": (),
    }
    return RunSpec(**values | changes)
