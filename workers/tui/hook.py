"""The former path of the screen's hook, which the program of a live run still calls. Remove in the next version."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "agents" / "tui" / "hook.py"), run_name="__main__")
