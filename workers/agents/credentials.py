"""An agent program's own log-in, lent to a run: a link to the operator's credentials file, which is never copied."""

from __future__ import annotations

from pathlib import Path

from workers.host.private_dirs import make_private_dir

from .descriptor import load_descriptor


def link_credentials(program: str, home: Path, config_dir: Path) -> bool:
    """Link the log-in of `program` found below `home` into a run's `config_dir`; False where there is none.

    A program that renews its log-in may put a file in place of the link. That file is then newer, and is left alone
    until the operator logs in again.
    """
    make_private_dir(config_dir)
    log_in = load_descriptor(program).log_in
    if log_in is None:
        return False
    source, target = home / log_in.folder / log_in.file, config_dir / log_in.file
    if not source.is_file():
        return False
    if target.is_symlink() and target.readlink() == source:
        return True
    if target.is_file() and not target.is_symlink() and target.stat().st_mtime > source.stat().st_mtime:
        return True
    draft = config_dir / f".{log_in.file}.link"
    draft.unlink(missing_ok=True)
    draft.symlink_to(source)
    draft.replace(target)
    return True
