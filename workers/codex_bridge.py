"""The Codex bridge at its old place, which a run of the version before may still start; to be removed with the next version."""

import runpy

if __name__ == "__main__":
    runpy.run_module("workers.agents.codex.bridge", run_name="__main__", alter_sys=True)
