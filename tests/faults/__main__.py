"""Put each fault into a copy of the last commit and run the tests that have to catch it; exit 1 where one does not.

The tests run once without any fault first: a test that fails anyway catches nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .patches import ROOT, Fault, list_faults
from .promises import list_promises, render_promises

PYTEST = (".venv/bin/python", "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider")
FAILED = 1
"""The exit code of pytest where tests have run and some have failed."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/faults", description="See that the suite catches each seeded fault.")
    parser.add_argument("number", nargs="*", help="faults such as 07; all where none is named")
    parser.add_argument("--markdown", action="store_true", help="print the content of docs/promises.md and run nothing")
    options = parser.parse_args(argv)
    try:
        faults = list_faults(options.number)
    except ValueError as error:
        parser.error(str(error))
    if options.markdown:
        print(render_promises(list_promises(), faults), end="")
        return 0
    with copied_checkout() as checkout:
        tests = sorted({test for fault in faults for test in fault.tests})
        if run_tests(checkout, tests, show=True) != 0:
            print("These tests have to pass without a fault.")
            return 1
        misses = [fault.name for fault in faults if not is_caught(checkout, fault)]
    print(f"{len(faults) - len(misses)} of {len(faults)} faults are caught.")
    return 1 if misses else 0


@contextmanager
def copied_checkout() -> Iterator[Path]:
    """A work tree of the last commit with the packages and files that `bin/setup` has put into this one."""
    with tempfile.TemporaryDirectory(prefix="mc-faults-") as folder:
        checkout = Path(folder) / "checkout"
        git(ROOT, "worktree", "add", "--quiet", "--detach", str(checkout), "HEAD")
        try:
            (checkout / ".venv").symlink_to((ROOT / ".venv").resolve())
            for vendored in ("static/vendor", "tests/vendor"):
                shutil.copytree(ROOT / vendored, checkout / vendored)
            yield checkout
        finally:
            git(ROOT, "worktree", "remove", "--force", str(checkout))


def is_caught(checkout: Path, fault: Fault) -> bool:
    """Put a fault in, and return whether each of its tests fails."""
    git(checkout, "apply", str(fault.path))
    try:
        is_green = [test for test in fault.tests if run_tests(checkout, [test]) != FAILED]
    finally:
        git(checkout, "reset", "--quiet", "--hard")
    print(f"{'MISSED' if is_green else 'CAUGHT'} {fault.name}: {fault.text}", flush=True)
    for test in is_green:
        print(f"       by {test}", flush=True)
    return not is_green


def run_tests(checkout: Path, tests: list[str], *, show: bool = False) -> int:
    """The exit code of pytest for these tests."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    output = None if show else subprocess.DEVNULL
    stop = () if show else ("-x",)
    return subprocess.run(
        [*PYTEST, *stop, *tests], cwd=checkout, env=environment, stdout=output, check=False
    ).returncode


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
