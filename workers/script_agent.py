"""The former path of the script agent, which a run of the previous version may still start. Remove in the next version."""

import runpy

if __name__ == "__main__":
    runpy.run_module("workers.agents.script.script_agent", run_name="__main__", alter_sys=True)
