"""An agent program's own log-in in a run, as a link to the operator's credentials file, which is never copied."""

from __future__ import annotations

from pathlib import Path

from workers.host.private_dirs import make_private_dir

CREDENTIAL_FILES = {"claude": (".claude", ".credentials.json"), "codex": (".codex", "auth.json")}


def link_credentials(program: str, home: Path, config_dir: Path) -> bool:
    """Link the log-in of `program` below `home` into a run's `config_dir`. False when there is none.

    A program that renews its log-in may replace the link by a file. That file is then newer, and stays
    until the operator logs in again.
    """
    make_private_dir(config_dir)
    if program not in CREDENTIAL_FILES:
        return False
    folder, name = CREDENTIAL_FILES[program]
    source, target = home / folder / name, config_dir / name
    if not source.is_file():
        return False
    if target.is_symlink() and target.readlink() == source:
        return True
    if target.is_file() and not target.is_symlink() and target.stat().st_mtime > source.stat().st_mtime:
        return True
    draft = config_dir / f".{name}.link"
    draft.unlink(missing_ok=True)
    draft.symlink_to(source)
    draft.replace(target)
    return True
