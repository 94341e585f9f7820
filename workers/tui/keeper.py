"""The former path of the screen's process, which a run of the previous version may still start. Remove in the next version."""

import runpy

if __name__ == "__main__":
    runpy.run_module("workers.agents.tui.screen_process", run_name="__main__", alter_sys=True)
