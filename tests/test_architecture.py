"""The arrows between the rooms are law: a literal table, checked over the syntax tree of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DOORS = {
    "mc_pickup",
    "queue_reaper",
    "mc_probe",
    "mc_land",
    "mc_scheduler",
    "mc_coordination_mcp",
    "mc_cli",
}

# Room -> rooms it may import. A room may always import itself and `protocol`, which is the standard library alone.
ARROWS: dict[str, set[str]] = {
    "protocol": set(),
    "bootstrap": set(),
    "settings": {"bootstrap"},
    "models": {"settings"},
    "migrations": {"models", "settings"},
    "tickets": {"models", "settings"},
    "auth": {"models", "settings", "tickets"},
    "workers": set(),
    "mc_interactive": {"models", "settings", "tickets", "workers"},
    "web": {"auth", "mc_interactive", "models", "settings", "tickets"},
    "app": {"auth", "mc_interactive", "models", "settings", "tickets", "web"},
    "cli": {"auth", "doors", "migrations", "models", "settings", "tickets", "workers"},
    "doors": {"bootstrap", "migrations", "models", "settings", "tickets", "workers"},
    **{door: {"bootstrap", "doors", "models", "settings", "tickets", "workers"} for door in DOORS},
    "mc_cli": {"bootstrap", "cli", "migrations", "models", "settings", "tickets", "workers"},
    "deploy": {"app", "settings", "web"},
}

# Modules that may do more than their room.
MORE_ARROWS: dict[str, set[str]] = {
    "web/console.py": {"workers"},
    "web/changes.py": {"workers"},
    "web/spool.py": {"workers"},
}

# Room -> packages from outside that it must not touch.
FORBIDDEN: dict[str, set[str]] = {
    "protocol": {"pydantic", "sqlalchemy", "flask", "subprocess"},
    "tickets": {"flask", "werkzeug", "subprocess"},
    "workers": {"flask", "werkzeug", "sqlalchemy"},
    "web": {"sqlalchemy", "alembic", "pysqlite3", "sqlite3", "psycopg"},
    "cli": {"flask", "werkzeug"},
    "doors": {"flask", "werkzeug"},
    **{door: {"flask", "werkzeug"} for door in DOORS},
}

# The last two are programs of their own, started with an environment that was made for them.
READS_ENVIRONMENT = {"bootstrap.py", "settings.py", "cli/serve.py", "mc_coordination_mcp.py", "workers/script_agent.py"}
STARTS_PROCESSES = {"workers", "cli/serve_parent.py"}
WRITES_TICKET_STATUS = {"tickets/lifecycle.py"}


def violations(root: Path) -> list[str]:
    """Every breach of the tables above in the modules below `root`, as `file:line: what`."""
    found: list[str] = []
    for file in _modules(root):
        name = file.relative_to(root).as_posix()
        room = name.split("/")[0].removesuffix(".py")
        tree = ast.parse(file.read_text("utf-8"), name)
        if room not in ARROWS:
            found.append(f"{name}:1: belongs to no room")
            continue
        found += [f"{name}:{line}: {what}" for line, what in _breaches(tree, room, name)]
    return found


def _modules(root: Path) -> list[Path]:
    rooms = [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    kept = [folder for folder in rooms if folder.name not in {"tests", "bench", "bin", "build", "node_modules"}]
    nested = [file for folder in kept for file in folder.rglob("*.py") if "versions" not in file.parts]
    return sorted([*root.glob("*.py"), *nested])


def _breaches(tree: ast.AST, room: str, name: str) -> Iterator[tuple[int, str]]:
    allowed = ARROWS[room] | MORE_ARROWS.get(name, set()) | {room, "protocol"}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for package in _imported(node):
            if package in ARROWS and package not in allowed:
                yield line, f"{room} may not import {package}"
            if package in FORBIDDEN.get(room, set()):
                yield line, f"{room} may not use {package}"
            if package == "subprocess" and not {room, name} & STARTS_PROCESSES:
                yield line, "only workers/ starts processes"
        if _reads_environment(node) and name not in READS_ENVIRONMENT:
            yield line, "only settings.py reads the environment"
        if _writes_ticket_status(node) and name not in WRITES_TICKET_STATUS:
            yield line, "only tickets/lifecycle.py writes a ticket's status"


def _imported(node: ast.AST) -> list[str]:
    """Top-level packages that this statement imports."""
    match node:
        case ast.Import():
            return [alias.name.split(".")[0] for alias in node.names]
        case ast.ImportFrom(level=0, module=str(module)):
            return [module.split(".")[0]]
        case _:
            return []


def _reads_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv"):
            return True
        case ast.ImportFrom(module="os"):
            return any(alias.name in {"environ", "getenv"} for alias in node.names)
        case _:
            return False


def _writes_ticket_status(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=targets):
            return any(_is_ticket_status(target) for target in targets)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            return _is_ticket_status(target)
        case ast.Call(func=ast.Attribute(value=subject, attr="values"), keywords=keywords):
            return "(Ticket)" in ast.unparse(subject) and any(word.arg == "status" for word in keywords)
        case ast.Call(func=ast.Name(id="Ticket"), keywords=keywords):
            return any(word.arg == "status" for word in keywords)
        case _:
            return False


def _is_ticket_status(target: ast.AST) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "status" and "ticket" in ast.unparse(target).lower()


# --------------------------------------------------------------------------------------------------------------- tests


def test_every_module_keeps_to_its_room() -> None:
    assert violations(ROOT) == []


def test_the_checker_finds_each_kind_of_breach(tmp_path: Path) -> None:
    bad = {
        "protocol.py": "import settings\nfrom pydantic import BaseModel\n",
        "settings.py": "import models\nimport protocol\n",
        "models.py": "import os\nhome = os.environ['HOME']\n",
        "tickets/board.py": "from flask import request\nimport subprocess\n",
        "tickets/lifecycle.py": "ticket.status = 'done'\n",
        "tickets/team.py": "ticket.status = x\nupdate(Ticket).where(y).values(status=x)\nTicket(status=x)\n",
        "workers/tmux.py": "import subprocess\nfrom tickets.lookup import find\n",
        "web/board.py": "from sqlalchemy import select\nfrom workers import tmux\n",
        "web/console.py": "from workers import tmux\n",
        "mc_pickup.py": "import queue_reaper\nfrom flask import Flask\n",
        "queue_reaper.py": "from os import getenv\n",
        "stray.py": "",
    }
    for name, text in bad.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert violations(tmp_path) == [
        "mc_pickup.py:1: mc_pickup may not import queue_reaper",
        "mc_pickup.py:2: mc_pickup may not use flask",
        "models.py:2: only settings.py reads the environment",
        "protocol.py:1: protocol may not import settings",
        "protocol.py:2: protocol may not use pydantic",
        "queue_reaper.py:1: only settings.py reads the environment",
        "settings.py:1: settings may not import models",
        "stray.py:1: belongs to no room",
        "tickets/board.py:1: tickets may not use flask",
        "tickets/board.py:2: tickets may not use subprocess",
        "tickets/board.py:2: only workers/ starts processes",
        "tickets/team.py:1: only tickets/lifecycle.py writes a ticket's status",
        "tickets/team.py:2: only tickets/lifecycle.py writes a ticket's status",
        "tickets/team.py:3: only tickets/lifecycle.py writes a ticket's status",
        "web/board.py:1: web may not use sqlalchemy",
        "web/board.py:2: web may not import workers",
        "workers/tmux.py:2: workers may not import tickets",
    ]
