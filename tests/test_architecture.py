"""Allowed imports between modules and packages: literal tables, checked over the syntax tree of every module.

`tests/test_changes.py` replays the recorded changes that show how many places each usual extension takes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import web

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = {
    "mc_pickup",
    "queue_reaper",
    "mc_probe",
    "mc_land",
    "mc_health",
    "mc_operator",
    "mc_scheduler",
    "mc_coordination_mcp",
    "mc_cli",
}
"""Programs of the top level. None imports another."""

STANDARD_LIBRARY_ONLY = {"bootstrap", "failpoints", "protocol", "redaction"}
"""Modules that import nothing else: a wrapper or a program that must start at once loads them."""

DATA = {"database", "models", "settings", "store_files"}
SECRETS = {"secret_files"}

SHARED = {"failpoints", "protocol", "redaction"}
"""Modules that every package may import."""

# Package -> packages it may import. A package may always import itself.
ALLOWED: dict[str, set[str]] = {
    "protocol": set(),
    "redaction": set(),
    "bootstrap": set(),
    "failpoints": set(),
    "settings": {"bootstrap"},
    "secret_files": {"settings"},
    "models": {"settings"},
    "database": {"models", "settings"},
    "store_files": set(),
    "migrations": DATA,
    "tickets": DATA,
    "auth": DATA | SECRETS | {"tickets"},
    "workers": set(),
    "mc_interactive": DATA | {"tickets", "workers"},
    "web": DATA | {"auth", "mc_interactive", "tickets"},
    "app": DATA | {"auth", "mc_interactive", "tickets", "web"},
    "cli": DATA | SECRETS | {"auth", "jobs", "migrations", "tickets", "workers"},
    "jobs": DATA | SECRETS | {"bootstrap", "migrations", "tickets", "workers"},
    **{program: DATA | {"bootstrap", "jobs", "tickets", "workers"} for program in PROGRAMS},
    "mc_cli": DATA | {"bootstrap", "cli", "migrations", "tickets", "workers"},
    "deploy": {"app", "settings", "web", "workers"},
}

# Modules that may import more than their package.
ALLOWED_TO_MODULE: dict[str, set[str]] = {
    "web/runs/console.py": {"workers"},
    "web/runs/changes.py": {"workers"},
    "web/runs/line_comments.py": {"workers"},
    "web/team/alert_page.py": SECRETS,
    "web/team/push_page.py": SECRETS | {"workers"},
    "web/runs/review_places.py": {"workers"},
    "web/team/project_branches.py": {"workers"},
    "web/team/project_trust.py": {"workers"},
    "web/operations/spool_status.py": {"workers"},
}

# Package -> its own packages in order: each may import those before it.
ORDER: dict[str, list[set[str]]] = {
    "tickets": [
        {"shared"},
        {"team"},
        {"workflow"},
        {"lifecycle"},
        {"dispatch"},
        {"conversation"},
        {"planning"},
        {"runs"},
        {"schedule"},
        {"operations"},
        {"loops"},
        {"alerts"},
        {"board"},
    ],
    "web": [{"api"}, {"site"}, {"stream"}, {"operations"}, {"team", "runs"}, {"board", "ticket"}],
    "workers": [{"host"}, {"contract"}, {"repository"}, {"agents"}, {"run"}],
}
# Package -> packages from outside that it must not use.
FORBIDDEN: dict[str, set[str]] = {
    "tickets": {"flask", "werkzeug", "subprocess"},
    "workers": {"flask", "werkzeug", "sqlalchemy"},
    "web": {"sqlalchemy", "alembic", "pysqlite3", "sqlite3", "psycopg"},
    "cli": {"flask", "werkzeug"},
    "jobs": {"flask", "werkzeug"},
    **{program: {"flask", "werkzeug"} for program in PROGRAMS},
}

# The MCP server and the script agent are programs of their own, started with an environment that was made for them.
# The isolation of git chooses the few variables that git is given. Failpoints are for tests alone.
READS_ENVIRONMENT = {
    "bootstrap.py",
    "settings.py",
    "cli/serve.py",
    "failpoints.py",
    "mc_coordination_mcp.py",
    "workers/agents/script/script_agent.py",
    "workers/repository/isolation.py",
}
STARTS_PROCESSES = {"workers", "cli/serve_parent.py"}
WRITES_TICKET_STATUS = {"tickets/lifecycle/transitions.py"}
CALLS_OTHER_SERVERS = {"workers/host/fetcher.py"}
HTTP_CLIENTS = {"aiohttp", "http.client", "httpx", "requests", "urllib.request", "urllib3"}
MAX_FILES = 25
"""Modules of one folder; its `__init__.py` is not counted."""
MAX_LINES = 500
LONG_FILES = {
    "mc_coordination_mcp.py": "every tool of an agent, in one program that starts at once",
    "models.py": "all tables, read like a schema",
    "protocol.py": "everything that a wrapper and the server exchange",
    "settings.py": "every setting with its meaning",
    "tickets/lifecycle/schemas.py": "the answers of the API, read like a schema",
}
"""Files of more lines, each with its reason."""


def violations(root: Path) -> list[str]:
    """Every breach of the tables above in the modules below `root`, as `file:line: text`."""
    breaches: list[str] = []
    for file in _modules(root):
        name = file.relative_to(root).as_posix()
        package = name.split("/")[0].removesuffix(".py")
        if package not in ALLOWED:
            breaches.append(f"{name}:1: is in no package of the table")
            continue
        tree = ast.parse(file.read_text("utf-8"), name)
        breaches += [f"{name}:{line}: {text}" for line, text in _breaches(tree, package, name)]
    return breaches


def _modules(root: Path) -> list[Path]:
    folders = [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    packages = [
        folder for folder in folders if folder.name not in {"tests", "bench", "soak", "bin", "build", "node_modules"}
    ]
    nested = [file for folder in packages for file in folder.rglob("*.py") if "versions" not in file.parts]
    return sorted([*root.glob("*.py"), *nested])


def _breaches(tree: ast.AST, package: str, name: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for module in _imports(node, name):
            yield from ((line, text) for text in _import_breaches(module, package, name))
        if _reads_environment(node) and name not in READS_ENVIRONMENT:
            yield line, "only settings.py reads the environment"
        if _writes_ticket_status(node) and name not in WRITES_TICKET_STATUS:
            yield line, f"only {', '.join(WRITES_TICKET_STATUS)} writes a ticket's status"


def _import_breaches(module: str, package: str, name: str) -> Iterator[str]:
    allowed = ALLOWED[package] | ALLOWED_TO_MODULE.get(name, set()) | {package} | SHARED
    top = module.split(".")[0]
    if top in ALLOWED and top not in allowed:
        yield f"{package} may not import {top}"
    if top in FORBIDDEN.get(package, set()):
        yield f"{package} may not use {top}"
    if package in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
        yield f"{package} may use the standard library alone, not {top}"
    if top == "subprocess" and not {package, name} & STARTS_PROCESSES:
        yield "only workers/ starts processes"
    if module in HTTP_CLIENTS and name not in CALLS_OTHER_SERVERS:
        yield f"only {', '.join(CALLS_OTHER_SERVERS)} calls other servers"
    if not _is_in_order(name, module):
        yield f"{'.'.join(name.split('/')[:2])} may not import {'.'.join(module.split('.')[:2])}"


def _is_in_order(name: str, module: str) -> bool:
    """Return whether a module's package may import another package of the same parent."""
    importer, target = name.split("/"), module.split(".")
    order = ORDER.get(importer[0])
    if order is None or target[0] != importer[0] or len(importer) < 3 or len(target) < 2 or importer[1] == target[1]:
        return True
    ranks = {package: rank for rank, packages in enumerate(order) for package in packages}
    return target[1] not in ranks or ranks[target[1]] < ranks[importer[1]]


def _imports(node: ast.AST, name: str) -> list[str]:
    """Dotted names of what this statement imports; relative imports are resolved from the file's own place."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(level=0, module=str(module)):
            return [f"{module}.{alias.name}" for alias in node.names] if module in ORDER else [module]
        case ast.ImportFrom(level=level, module=module) if level:
            base = name.split("/")[:-level]
            return [".".join([*base, *([module] if module else [alias.name])]) for alias in node.names]
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


def test_every_module_imports_only_what_its_package_may() -> None:
    assert violations(ROOT) == []


def test_every_package_stands_in_the_order_of_its_parent() -> None:
    folders = {parent: {file.parent.name for file in (ROOT / parent).glob("*/__init__.py")} for parent in ORDER}
    # `workers/tui` holds old places of programs for one version.
    assert {parent: names - {"tui"} for parent, names in folders.items()} == {
        parent: set().union(*order) for parent, order in ORDER.items()
    }


def test_folders_and_files_stay_small() -> None:
    files = _modules(ROOT)
    crowded = {folder for folder in {file.parent for file in files} if len(list(folder.glob("[!_]*.py"))) > MAX_FILES}
    assert crowded <= {ROOT}
    long = {
        file.relative_to(ROOT).as_posix() for file in files if len(file.read_text("utf-8").splitlines()) > MAX_LINES
    }
    assert long == set(LONG_FILES)


def _list_models(base: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _list_models(model)


def _list_limits(metadata: list[Any], name: str) -> list[int]:
    """List the limits of a field, of which Pydantic applies the last."""
    return [limit for constraint in metadata if (limit := getattr(constraint, name, None)) is not None]


def test_a_field_with_a_limit_of_its_own_is_held_to_it() -> None:
    """In `body: Words = Field(max_length=…)` that of `Words` would come last; `Annotated[Words, Field(…)]` is right."""
    web.blueprints()  # in the order of the navigation
    for file in (ROOT / "tickets").rglob("*.py"):
        import_module(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    own_packages = {file.stem if file.suffix else file.name for file in ROOT.iterdir()}
    fields = {
        f"{model.__module__}.{model.__name__}.{name}": field.metadata
        for model in _list_models()
        if model.__module__.partition(".")[0] in own_packages
        for name, field in model.model_fields.items()
    }
    longest = {place: _list_limits(metadata, "max_length") for place, metadata in fields.items()}
    shortest = {place: _list_limits(metadata, "min_length") for place, metadata in fields.items()}
    assert "tickets.conversation.reviews.NewLineComment.body" in longest
    assert [place for place, limits in longest.items() if limits and limits[-1] > min(limits)] == []
    assert [place for place, limits in shortest.items() if limits and limits[-1] < max(limits)] == []


def test_the_checker_finds_each_kind_of_breach(tmp_path: Path) -> None:
    bad = {
        "settings.py": "import models\n",
        "models.py": "import os\nhome = os.environ['HOME']\n",
        "protocol.py": "import enum\nimport pydantic\nfrom models import RunState\n",
        "tickets/board/columns.py": "from flask import request\nimport subprocess\n",
        "tickets/shared/lookup.py": "from tickets.board import columns\nfrom ..runs.claims import claim\nfrom . import errors\n",
        "tickets/lifecycle/transitions.py": "ticket.status = 'done'\n",
        "tickets/team/agents.py": "ticket.status = x\nupdate(Ticket).where(y).values(status=x)\nTicket(status=x)\n",
        "workers/host/tmux.py": "import subprocess\nimport protocol\nfrom tickets.shared.lookup import find\n",
        "workers/host/ports.py": "import http.client\nfrom urllib.parse import quote\nfrom urllib.request import urlopen\n",
        "web/board/board_page.py": "from sqlalchemy import select\nfrom workers import host\n",
        "web/runs/console.py": "from workers.host import tmux\n",
        "web/team/team_page.py": "from web.runs import run_page\n",
        "mc_pickup.py": "import queue_reaper\nfrom flask import Flask\n",
        "queue_reaper.py": "from os import getenv\n",
        "stray.py": "",
    }
    for name, text in bad.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert violations(tmp_path) == [
        "mc_pickup.py:1: mc_pickup may not import queue_reaper",
        "mc_pickup.py:2: mc_pickup may not use flask",
        "models.py:2: only settings.py reads the environment",
        "protocol.py:2: protocol may use the standard library alone, not pydantic",
        "protocol.py:3: protocol may not import models",
        "protocol.py:3: protocol may use the standard library alone, not models",
        "queue_reaper.py:1: only settings.py reads the environment",
        "settings.py:1: settings may not import models",
        "stray.py:1: is in no package of the table",
        "tickets/board/columns.py:1: tickets may not use flask",
        "tickets/board/columns.py:2: tickets may not use subprocess",
        "tickets/board/columns.py:2: only workers/ starts processes",
        "tickets/shared/lookup.py:1: tickets.shared may not import tickets.board",
        "tickets/shared/lookup.py:2: tickets.shared may not import tickets.runs",
        "tickets/team/agents.py:1: only tickets/lifecycle/transitions.py writes a ticket's status",
        "tickets/team/agents.py:2: only tickets/lifecycle/transitions.py writes a ticket's status",
        "tickets/team/agents.py:3: only tickets/lifecycle/transitions.py writes a ticket's status",
        "web/board/board_page.py:1: web may not use sqlalchemy",
        "web/board/board_page.py:2: web may not import workers",
        "web/team/team_page.py:1: web.team may not import web.runs",
        "workers/host/ports.py:1: only workers/host/fetcher.py calls other servers",
        "workers/host/ports.py:3: only workers/host/fetcher.py calls other servers",
        "workers/host/tmux.py:3: workers may not import tickets",
    ]
