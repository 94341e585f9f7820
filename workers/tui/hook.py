"""The hook of a screen at its old place, which the program of a living run still calls; to be removed with the next version."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "agents" / "tui" / "hook.py"), run_name="__main__")
