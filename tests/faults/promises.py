"""The promises of the product, read from `promises.toml`, and the text of `docs/promises.md`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .patches import FOLDER, Fault

_HEAD = """\
# Promises

Written by `bin/faults --markdown` from `tests/faults/promises.toml` and the patches beside it. Each promise names the tests
that prove it. A *guard* is the code that keeps the promise: the fault named with it is a recorded patch that switches it
off, and `bin/faults NN` sees each of its tests fail. What is not proven yet is said so.
"""
_OTHER = "Further guards"


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise. `tests` prove it besides those of its faults; `open` says what is not proven yet."""

    name: str
    area: str
    text: str
    tests: tuple[str, ...] = ()
    open: str = ""


def list_promises() -> list[Promise]:
    """Read the promises in the order of the file. Raises `TypeError` for an unknown or missing key."""
    areas = tomllib.loads((FOLDER / "promises.toml").read_text("utf-8"))
    return [
        Promise(name, area, **values | {"tests": tuple(values.get("tests", ()))})
        for area, promises in areas.items()
        for name, values in promises.items()
    ]


def render_promises(promises: Sequence[Promise], faults: Sequence[Fault]) -> str:
    """Render every promise with its tests and guards, and last the guards of no promise."""
    other = [fault for fault in faults if not fault.promises]
    lines = [_HEAD, *_render_areas(promises, faults)]
    if other:
        lines += [f"\n## {_OTHER}\n", *map(_render_fault, other)]
    return "\n".join(lines) + "\n"


def _render_areas(promises: Sequence[Promise], faults: Sequence[Fault]) -> Iterator[str]:
    area = None
    for promise in promises:
        if promise.area != area:
            area = promise.area
            yield f"\n## {area}"
        yield f"\n**{promise.text}**\n"
        yield from (f"- `{test}`" for test in promise.tests)
        yield from (_render_fault(fault) for fault in faults if promise.name in fault.promises)
        if promise.open:
            yield f"- Not proven yet: {promise.open}"


def _render_fault(fault: Fault) -> str:
    tests = ", ".join(f"`{test}`" for test in fault.tests)
    verb = "proves" if len(fault.tests) == 1 else "each prove"
    return f"- {tests} {verb} the guard `{fault.guard}`: fault {fault.number}, {fault.text[0].lower()}{fault.text[1:]}"
