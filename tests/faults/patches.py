"""The patches of this folder: a header that names the fault, its promises, its guard and its tests, then a git diff."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
HEADER = re.compile(
    r"Fault: (?P<text>.+)\n"
    r"(?:Promise: (?P<promises>.+)\n)?"
    r"Guard: (?P<guard>.+)\n"
    r"Caught by: (?P<tests>.+)\n"
    r"(?:Caught before by: .+\n)?"
    r"\ndiff --git "
)
SEPARATOR = " | "


@dataclass(frozen=True, slots=True)
class Fault:
    """One patch, which switches `guard` off; `tests` are the node ids of which each fails under it.

    `guard` is a file, with `::` and the name of its function or class in a Python file. `promises` are names of
    `promises.toml`.
    """

    name: str
    text: str
    promises: tuple[str, ...]
    guard: str
    tests: tuple[str, ...]

    @property
    def number(self) -> str:
        return self.name.partition("-")[0]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.patch"


def read_fault(path: Path) -> Fault:
    """Read the header of a patch. Raises `ValueError` for one that is not complete."""
    header = HEADER.match(path.read_text("utf-8"))
    if header is None:
        raise ValueError(
            f"{path.name} begins with other lines than `Fault:`, `Promise:` (optional), `Guard:`, `Caught by:` and a git diff"
        )
    promises = (header["promises"] or "").split(SEPARATOR)
    tests = header["tests"].split(SEPARATOR)
    return Fault(path.stem, header["text"], tuple(filter(None, promises)), header["guard"], tuple(tests))


def list_faults(numbers: list[str]) -> list[Fault]:
    """The faults with these numbers, all where none is named. Raises `ValueError` for a number without a patch."""
    faults = {fault.number: fault for fault in map(read_fault, sorted(FOLDER.glob("*.patch")))}
    unknown = [number for number in numbers if number not in faults]
    if unknown:
        raise ValueError(f"there is no fault {', '.join(unknown)}; there are {min(faults)} to {max(faults)}")
    return [faults[number] for number in numbers or faults]
