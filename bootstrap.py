"""Values that a program needs before it loads its settings. It imports the standard library only, to start fast."""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGES = (".", "jobs", "migrations", "tickets", "workers")
"""Folders whose code a dispatch pass runs, including subfolders except for the first."""
SETTING_PREFIXES = ("MC_", "SSE_MAX_", "WS_MAX_")
"""The prefixes of the environment variables that are settings."""


def find_home_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Find the home folder of this instance: MC_HOME, else the default in the user's home."""
    environ = os.environ if environ is None else environ
    user_home = Path(environ.get("HOME") or Path.home())
    return Path(environ.get("MC_HOME") or user_home / ".local/share/mission-control").expanduser().resolve()


def locate_config_file(home: Path) -> Path:
    return home / "config.toml"


def compute_fingerprint(environ: Mapping[str, str] | None = None) -> str:
    """Compute a digest of the settings and of the code's version. Programs with equal ones behave the same."""
    environ = os.environ if environ is None else environ
    home = find_home_folder(environ)
    variables = sorted(
        item for item in environ.items() if item[0].startswith(SETTING_PREFIXES) and item[0] != "MC_HOME"
    )
    zone = environ.get("TZ"), os.path.realpath("/etc/localtime")
    facts = (sys.version, str(home), _read_content(locate_config_file(home)), variables, zone, *_list_sources())
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _read_content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _list_sources() -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of each source file, as reading the files takes too long."""
    for package in PACKAGES:
        yield from _scan_sources(str(ROOT / package), deep=package != ".")


def _scan_sources(folder: str, *, deep: bool) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                state = entry.stat()
                yield entry.path, state.st_size, state.st_mtime_ns
            elif deep and not entry.name.startswith(("_", ".")) and entry.is_dir():
                yield from _scan_sources(entry.path, deep=True)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without garbage collection, and exclude the imported objects from later collections.

    Together with the last collection, at exit, this saves a third of a short program's time. Every program uses it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
