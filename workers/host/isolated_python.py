"""Start a Python module of this checkout, independent of the working directory and PYTHONPATH."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BOOT = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__')"


def build_argv(name: str, *arguments: str, site_packages: bool = True) -> list[str]:
    """Build the argv that runs the module `name` as a program, isolated from the environment's Python settings.

    Without `site_packages` it starts faster and smaller, and can import the standard library and this checkout alone.
    """
    options = ["-I"] if site_packages else ["-I", "-S"]
    return [sys.executable, *options, "-c", _BOOT, str(ROOT), name, *arguments]
