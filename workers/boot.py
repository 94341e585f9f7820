"""Starting a program of this checkout, whatever lies in the workspace or stands in PYTHONPATH."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BOOT = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__')"


def module(name: str, *arguments: str) -> list[str]:
    """The argv that runs the module `name` as a program, isolated from the environment's Python settings."""
    return [sys.executable, "-I", "-c", _BOOT, str(ROOT), name, *arguments]
