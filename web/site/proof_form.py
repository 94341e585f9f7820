"""The form in which a browser proves who uses it. It holds all that was entered in the form that needed the proof."""

from __future__ import annotations

from flask import render_template, request

from . import layout

SECRET, PATH = "proof-secret", "proof-path"
OWN_FIELDS = {"csrf", SECRET, PATH}
SECRET_PREFIX = "secret-"  # noqa: S105 - a name, no secret
"""Begins the names of fields whose values are never in a page."""


def render_proof_form(path: str, error: str = "") -> str:
    """Render the form for a script, which still has what was entered, or as a page that sends it to `path` afterwards."""
    if layout.is_script_request():
        return layout.render_part("site/_proof_form", path="", fields=[], files=0, error=error)
    fields = [(name, value) for name, value in request.form.items(multi=True) if not _is_withheld(name)]
    secrets = sum(name.startswith(SECRET_PREFIX) and bool(value) for name, value in request.form.items())
    files = sum(bool(file.filename) for file in request.files.values())
    return render_template("site/proof.html", path=path, fields=fields, files=files, secrets=secrets, error=error)


def _is_withheld(name: str) -> bool:
    return name in OWN_FIELDS or name.startswith(SECRET_PREFIX)
