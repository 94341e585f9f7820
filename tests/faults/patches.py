"""The patches of this folder: a header that names the fault and its tests, then a git diff."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
HEADER = re.compile(r"Fault: (?P<text>.+)\nCaught by: (?P<tests>.+)\nCaught before by: .+\n\ndiff --git ")


@dataclass(frozen=True, slots=True)
class Fault:
    """One patch; `tests` are the node ids of which each fails under it."""

    name: str
    text: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.patch"


def read_fault(path: Path) -> Fault:
    """Read the header of a patch. Raises `ValueError` for one that is not complete."""
    header = HEADER.match(path.read_text("utf-8"))
    if header is None:
        raise ValueError(
            f"{path.name} begins with other lines than `Fault:`, `Caught by:`, `Caught before by:` and a git diff"
        )
    return Fault(path.stem, header["text"], tuple(header["tests"].split(" | ")))


def list_faults(numbers: list[str]) -> list[Fault]:
    """The faults with these numbers, all where none is named. Raises `ValueError` for a number without a patch."""
    faults = {path.name.partition("-")[0]: read_fault(path) for path in sorted(FOLDER.glob("*.patch"))}
    unknown = [number for number in numbers if number not in faults]
    if unknown:
        raise ValueError(f"there is no fault {', '.join(unknown)}; there are {min(faults)} to {max(faults)}")
    return [faults[number] for number in numbers or faults]
