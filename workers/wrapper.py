"""The former path of the wrapper, which a run of the previous version may still start. Remove in the next version."""

import runpy

if __name__ == "__main__":
    runpy.run_module("workers.run.wrapper", run_name="__main__", alter_sys=True)
