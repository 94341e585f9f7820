"""The seeded faults fit the code as it is and name guards and tests that there are, which `bin/faults` sees fail."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

from tests.faults.patches import FOLDER, ROOT, list_faults
from tests.faults.promises import list_promises, render_promises

FAULTS = list_faults([])
PROMISES = list_promises()


@cache
def list_names(file: str) -> set[str]:
    """List what the module defines at its top level, and the members of its classes as `Class.member`."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    members = {f"{node.name}.{name}" for node in classes for name in find_names(node)}
    return members.union(*map(find_names, [tree]))


def find_names(parent: ast.Module | ast.ClassDef) -> set[str]:
    names = set()
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def is_there(reference: str) -> bool:
    """Return whether a file exists and defines the name behind `::`."""
    file, _, name = reference.partition("::")
    return Path(ROOT, file).is_file() and (not name or name.partition("[")[0] in list_names(file))


def is_test(reference: str) -> bool:
    return "::test_" in reference and is_there(reference)


def test_each_fault_has_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in FOLDER.glob("*.patch")]
    assert len(numbers) == len(set(numbers)) == len(FAULTS) >= 75


def test_each_fault_names_guard_and_tests_that_there_are() -> None:
    assert [test for fault in FAULTS for test in fault.tests if not is_test(test)] == []
    assert [fault.guard for fault in FAULTS if not is_there(fault.guard)] == []


def test_each_promise_has_a_test_or_says_that_it_is_not_proven_yet() -> None:
    proven = {name for fault in FAULTS for name in fault.promises}
    assert proven <= {promise.name for promise in PROMISES}
    assert [test for promise in PROMISES for test in promise.tests if not is_test(test)] == []
    assert [p.name for p in PROMISES if not (p.tests or p.name in proven or p.open)] == []


def test_the_document_of_promises_is_current() -> None:
    document = (ROOT / "docs" / "promises.md").read_text("utf-8")
    assert document == render_promises(PROMISES, FAULTS), "run: bin/faults --markdown > docs/promises.md"


def test_each_patch_applies_to_product_code() -> None:
    problems = {}
    for fault in FAULTS:
        check = ["git", "apply", "--check", str(fault.path)]
        done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
        content = [line[6:] for line in fault.path.read_text("utf-8").splitlines() if line.startswith("+++ b/")]
        if done.returncode or not content or any(path.startswith("tests/") for path in content):
            problems[fault.name] = done.stderr
    assert problems == {}
