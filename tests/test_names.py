"""Names are terms of the field: few participles among them, no class name with two owners, no module named like its package."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"build", "dist", "migrations", "node_modules"}
MAX_SHARE = 0.001
"""Of all locals, parameters, functions and classes."""

PARTICIPLES = frozenset(
    """
    answered asked attached away begun beside between broken brought built cared changed chosen cleared closed
    counted covered cut deaf decided declared drawn eaten fallen filed filled forgotten found fresh furnished
    gathered given gone got guarded had handed hanging heard held hidden joined kept known landed let looked
    made marked meant measured missed moved named needed noted offered opened ordered owed paid parked passed
    picked placed planned pressed printed probed promised proved put quiet raised received recorded refused
    released remembered removed replaced reported resolved rested returned said saved seen sent served settled
    shown shut silent spared spent split spoilt spoken standing started stayed stopped stuck taken thrown told
    took touched turned undone unmet unseen untold used wanted watched woken worked written
    """.split()
)
PRONOUNS = frozenset(
    """
    each he it its ours she their theirs them they this those us we what which who whom whose you
    """.split()
)
METAPHORS = frozenset(
    """
    adrift arrow arrows buried bury corpse corpses courier desk door doors ears grave house houses law laws room
    rooms stirred voice
    """.split()
)
FORBIDDEN = PARTICIPLES | PRONOUNS | METAPHORS | {"of"}


class Name:
    """A local, parameter, function or class where it is defined."""

    def __init__(self, kind: str, text: str, place: str) -> None:
        self.kind, self.text, self.place = kind, text, place


def modules(root: Path) -> list[Path]:
    files = [file for file in root.rglob("*.py") if not LEFT_OUT & set(file.relative_to(root).parts)]
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


def names(root: Path) -> Iterator[Name]:
    """Locals, parameters, functions and classes; never columns, fields, JSON keys or keyword arguments of libraries."""
    for file in modules(root):
        tree = ast.parse(file.read_text("utf-8"))
        where = file.relative_to(root).as_posix()
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef(name=name):
                    yield Name("class", name, f"{where}:{node.lineno}")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield Name("function", name, f"{where}:{node.lineno}")
                    yield from _locals(node, where)


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef, where: str) -> Iterator[Name]:
    """Parameters and assigned names of one function, those of functions inside it left to their own turn."""
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        if argument.arg not in ("self", "cls"):
            yield Name("parameter", argument.arg, f"{where}:{argument.lineno}")
    pending: list[ast.AST] = list(function.body)
    texts: set[str] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in texts:
            texts.add(node.id)
            yield Name("local", node.id, f"{where}:{node.lineno}")
        pending += list(ast.iter_child_nodes(node))


def forbidden(root: Path) -> tuple[list[str], int]:
    """The names of the word list with their places, and how many names there are in all."""
    everything = list(names(root))
    bad = [f"{name.place} {name.kind} {name.text}" for name in everything if name.text.strip("_").lower() in FORBIDDEN]
    return bad, len(everything)


def shared_classes(root: Path) -> list[str]:
    """Class names that two modules define."""
    owners: dict[str, set[str]] = defaultdict(set)
    for name in names(root):
        if name.kind == "class" and not name.place.startswith("tests/"):
            owners[name.text].add(name.place)
    return [f"{text}: {', '.join(sorted(places))}" for text, places in sorted(owners.items()) if len(places) > 1]


# --------------------------------------------------------------------------------------------------------------- tests


def test_names_are_terms_of_the_field() -> None:
    bad, total = forbidden(ROOT)
    assert len(bad) <= MAX_SHARE * total, f"{len(bad)} of {total}:\n" + "\n".join(bad)


def test_no_class_name_has_two_owners() -> None:
    assert shared_classes(ROOT) == []


def test_no_module_has_the_name_of_its_package() -> None:
    doubled = [file.relative_to(ROOT).as_posix() for file in modules(ROOT) if file.stem == file.parent.name]
    assert doubled == []


def test_the_measure_finds_each_kind_of_name(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text(
        "class Held: ...\n"
        "class Row: ...\n"
        "def of(told, count, *, key=None):\n"
        "    kept = [found for found in told]\n"
        "    kept = sorted(kept, key=len)\n"
        "    return kept\n"
    )
    (tmp_path / "other.py").write_text(
        "class Row:\n    shown: int\n\ndef read_row(row): row.said = row.update(given=1)\n"
    )
    bad, total = forbidden(tmp_path)
    kinds = Counter(line.split()[1] for line in bad)
    assert kinds == {"class": 1, "function": 1, "parameter": 1, "local": 2}
    assert total == 11
    assert shared_classes(tmp_path) == ["Row: other.py:1, shop/shop.py:2"]
