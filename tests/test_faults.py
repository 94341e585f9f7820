"""The seeded faults fit the code as it is and name tests that there are, which `bin/faults` sees fail."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

from tests.faults.patches import FOLDER, ROOT, list_faults

FAULTS = list_faults([])


@cache
def list_tests(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    return Path(ROOT, file).is_file() and name.partition("[")[0] in list_tests(file)


def test_there_are_forty_faults_each_with_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in sorted(FOLDER.glob("*.patch"))]
    assert numbers == [f"{number:02}" for number in range(1, len(FAULTS) + 1)]
    assert len(FAULTS) >= 40


def test_each_fault_names_tests_that_there_are() -> None:
    assert [test for fault in FAULTS for test in fault.tests if not is_there(test)] == []


def test_each_patch_applies_to_product_code() -> None:
    problems = {}
    for fault in FAULTS:
        check = ["git", "apply", "--check", str(fault.path)]
        done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
        content = [line[6:] for line in fault.path.read_text("utf-8").splitlines() if line.startswith("+++ b/")]
        if done.returncode or not content or any(path.startswith("tests/") for path in content):
            problems[fault.name] = done.stderr
    assert problems == {}
