"""The text of `docs/settings.md`: the settings as Markdown. A test fails when the file is out of date."""

from __future__ import annotations

from pydantic import BaseModel

from settings import Settings, list_keys

_HEAD = """\
# Settings

Written by `bin/mc settings --markdown`. A variable overrides the key in `MC_HOME/config.toml`, which
overrides the default; an unknown key or a bad value is refused at start by name. In the environment, lists
are comma-separated. `MC_HOME` names the home folder (`~/.local/share/mission-control`).

| key | variable | default | meaning |
|---|---|---|---|
"""
_DEFAULT_TEXTS = {
    "database_url": "`mc.db` in the home folder",
    "timezone": "the machine's",
    "machine_name": "its host name",
}


def render_settings() -> str:
    """Render every setting with its key, variable, default and meaning."""
    return _HEAD + "".join(_render_row(path, variable) for path, variable in list_keys().items())


def _render_row(path: tuple[str, ...], variable: str) -> str:
    model: type[BaseModel] = Settings
    for group in path[:-1]:
        inner = model.model_fields[group].annotation
        assert isinstance(inner, type)  # keys() yields groups only
        model = inner
    field = model.model_fields[path[-1]]
    key = ".".join(path)
    return f"| `{key}` | `{variable}` | {_DEFAULT_TEXTS.get(key) or _format_default(field.default)} | {field.description} |\n"


def _format_default(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case None | ():
            return "none"
        case tuple():
            return f"`{', '.join(value)}`"
        case _:
            return f"`{value}`"
