"""`mc project`: the projects of the board, and the evidence that they require."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from models import Project
from settings import load
from tickets.lifecycle.schemas import ProjectJson
from tickets.team import projects
from tickets.team.projects import EditProject

from .common import as_json, print_one, print_rows, reading, require_operator, validate_fields, writing


@click.group()
def project() -> None:
    """Show projects, and set the evidence that they require."""


@project.command("list")
@as_json
def list_projects(as_json: bool) -> None:
    """List the projects."""
    with reading(load()) as session:
        rows = [_build_row(entry) for entry in projects.list_projects(session)]
    print_rows(rows, as_json=as_json)


@project.command()
@click.argument("slug")
@as_json
def show(slug: str, as_json: bool) -> None:
    """Show the project SLUG."""
    with reading(load()) as session:
        entry = projects.get_project(session, slug)
        facts = ProjectJson.read(entry).as_json()
        rules = [_format_rule(rule) for rule in entry.evidence_policy]
    print_one(facts if as_json else facts | {"evidence_policy": rules}, as_json=as_json)


@project.command(short_help="Set the evidence that its tickets need.")
@click.argument("slug")
@click.argument("rules", nargs=-1, metavar="[KIND[:BEFORE[:TAG,TAG]]]...")
@click.option("--runbook", multiple=True, metavar="KIND=URL", help="Page that says how to provide it; repeatable.")
@as_json
def require(slug: str, rules: tuple[str, ...], runbook: tuple[str, ...], as_json: bool) -> None:
    """Set the evidence that tickets of the project SLUG need, as in `mc project require web tests:submit:bug sign_off`.

    KIND is commit, diff, check, tests, screenshot, artifact, live_route or sign_off; BEFORE is submit, complete or approve
    (the default). Without any the project requires none.
    """
    runbooks = dict(entry.partition("=")[::2] for entry in runbook)
    policy = [_parse_rule(rule) for rule in rules]
    _edit(slug, as_json, evidence_policy=[rule | {"runbook": runbooks.get(rule["kind"])} for rule in policy])


@project.command(short_help="Set the hosts of its live routes.")
@click.argument("slug")
@click.argument("names", nargs=-1, metavar="[HOST[:PORT]]...")
@as_json
def hosts(slug: str, names: tuple[str, ...], as_json: bool) -> None:
    """Set the hosts whose live routes Mission Control may fetch for the project SLUG, such as localhost:* or *.example.com."""
    _edit(slug, as_json, live_hosts=list(names))


def _parse_rule(rule: str) -> dict[str, Any]:
    kind, _, rest = rule.partition(":")
    before, _, tags = rest.partition(":")
    return {"kind": kind, "before": before or "approve", "tags": [tag for tag in tags.split(",") if tag]}


def _edit(slug: str, as_json: bool, **fields: Any) -> None:
    settings, actor = require_operator()
    with writing(settings) as session:
        body = validate_fields(EditProject, version=projects.get_project(session, slug).version, **fields)
        row = _build_row(projects.edit_project(session, slug, body, actor))
    print_one(row, as_json=as_json)


def _build_row(entry: Project) -> dict[str, Any]:
    return {
        "slug": entry.slug,
        "name": entry.name,
        "folder": entry.folder,
        "evidence": tuple(map(_format_rule, entry.evidence_policy)),
        "live_hosts": tuple(entry.live_hosts),
    }


def _format_rule(rule: Mapping[str, Any]) -> str:
    """Format a rule as `mc project require` takes it: `tests:submit:bug`."""
    return ":".join([rule["kind"], rule["before"], *([",".join(rule["tags"])] if rule["tags"] else [])])


COMMANDS: tuple[click.Command, ...] = (project,)
