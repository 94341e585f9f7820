"""The isolated git call: a configuration of Mission Control's own, few variables, no hooks.

git runs commands that the repository's configuration names (filters, drivers, monitors, transports), as the operator and
outside the agent's sandbox, and an agent may write that configuration, or have its worktree point to another one. So
every call is given a common folder of Mission Control's own (`GIT_COMMON_DIR`): a configuration with those settings of
the repository that decide about files alone, and links to its objects and references. HEAD and index are the work
tree's own, as they hold no command.

A command that writes files, commits or a remote also reads the operator's own configuration (`~/.gitconfig`): the
identity, the signing key, log-ins, and the filters that the operator has installed, such as Git LFS.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workers.host import commands
from workers.host.private_dirs import UnsafeFolder, make_private_dir

SETTINGS_SECONDS = 20.0
CACHE_SECONDS = 60
"""How long a change in a file that the operator's configuration includes may go unnoticed."""
MAX_POINTER_BYTES = 8192
"""The size of a `.git` file with the path of the git folder."""

PASSED_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME")
OPERATOR_VARIABLES = (
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"),
    *("SSH_AUTH_SOCK", "GNUPGHOME", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "KRB5CCNAME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""Variables with which the operator's configuration, log-ins and keys are found."""
CONFIGURATION_VARIABLES = (
    *("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
FIXED_VARIABLES = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_LFS_SKIP_DOWNLOAD_ERRORS": "1",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "LC_ALL": "C.UTF-8",
}
NO_USER_CONFIGURATION = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
OPERATOR_COMMANDS = frozenset(
    (
        *("add", "bisect", "checkout", "clone", "commit", "commit-tree", "fetch", "merge", "merge-tree", "push"),
        *("reset", "submodule", "var", "worktree"),
    )
)
"""Commands that read the operator's configuration too. Any other one prints the same whatever it holds."""
COMMANDS_WITHOUT_REPOSITORY = frozenset({"clone", "init"})

OVERRIDES = (
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.quotePath=false", "core.safecrlf=false"),
    *("color.ui=false", "protocol.ext.allow=never", "gc.auto=0", "maintenance.auto=false", "submodule.recurse=false"),
    *("commit.gpgSign=false", "push.gpgSign=false", "push.recurseSubmodules=no", "merge.autoStash=false"),
    *("merge.verifySignatures=false", "rerere.enabled=false", "advice.detachedHead=false"),
)
"""Settings of the operator that must not change what Mission Control's commands do."""
ISOLATED_OVERRIDES = (*OVERRIDES, "core.attributesFile=/dev/null")

_BOOLEAN = re.compile(r"(?i:true|false|yes|no|on|off|1|0)")
FILE_SETTINGS = {
    "core.repositoryformatversion": re.compile(r"[01]"),
    "core.filemode": _BOOLEAN,
    "core.symlinks": _BOOLEAN,
    "core.ignorecase": _BOOLEAN,
    "core.precomposeunicode": _BOOLEAN,
    "core.trustctime": _BOOLEAN,
    "core.checkstat": re.compile(r"default|minimal"),
    "core.autocrlf": re.compile(rf"{_BOOLEAN.pattern}|input"),
    "core.eol": re.compile(r"lf|crlf|native"),
    "core.sparsecheckout": _BOOLEAN,
    "core.sparsecheckoutcone": _BOOLEAN,
    "extensions.objectformat": re.compile(r"sha1|sha256"),
    "extensions.refstorage": re.compile(r"files|reftable"),
}
"""The settings that are copied from the repository's and the user's configuration, with their valid values."""
USER_SETTINGS = {"core.excludesfile": re.compile(r"[^\x00-\x1f\x7f]+")}
"""The settings that are copied from the user's configuration alone."""
USER_SCOPES = ("system", "global")
LINKED_ENTRIES = ("HEAD", "info", "lfs", "logs", "objects", "refs", "reftable", "shallow", "worktrees")
"""The entries of a repository's git folder that Mission Control's common folder links to."""
MODULES_ENTRY = "modules"
"""The entry of a git folder with the git folders of its submodules."""
BRANCH_LOGS = "logs/refs/heads"
WRITTEN_ENTRIES = (
    *("logs", "logs/HEAD", "logs/refs", BRANCH_LOGS),
    *("refs", "refs/heads", "refs/heads/mc", "refs/mc", "refs/mc/saved"),
)
"""The entries of the shared git folder that an agent may replace, and through which git writes."""
MAX_ENTRIES = 10_000


class GitError(Exception):
    """A git command failed."""


class GitMissing(GitError):
    """The git program is not installed."""


class GitFailed(GitError):
    """git exited with an error."""


class GitHung(GitError):
    """git did not exit in time."""


@dataclass(frozen=True, slots=True)
class GitPlace:
    """A work tree (None in a bare repository), its git folder, and the git folder that all its work trees share."""

    root: Path | None
    git_dir: Path
    common_dir: Path


@dataclass(frozen=True, slots=True)
class GitCall:
    """The command line and the whole environment of an isolated git."""

    argv: list[str]
    env: dict[str, str]


def build_call(folder: Path, arguments: Sequence[str], variables: Mapping[str, str]) -> GitCall:
    """Build the isolated call of a git command in `folder`. `variables` are added. Raises `GitFailed`."""
    command = _find_command(arguments)
    is_operator = command in OPERATOR_COMMANDS
    overrides = OVERRIDES if is_operator else ISOLATED_OVERRIDES
    argv = ["git", "--no-pager", *(word for setting in overrides for word in ("-c", setting)), *arguments]
    env = _select_variables(operator=is_operator)
    if command not in COMMANDS_WITHOUT_REPOSITORY:
        place = require_place(folder)
        if command == "worktree":
            (place.common_dir / "worktrees").mkdir(exist_ok=True)  # else git would make it in the isolated folder
        env |= _build_place_variables(place, command)
    return GitCall(argv, {**env, **variables})


def build_program_environment(folder: Path, address: str, names: Sequence[str]) -> dict[str, str]:
    """Build the environment of a program that calls git itself, where `origin` is `address`. `names` are passed on too."""
    remote = ("remote.origin.url", address, "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    pairs = [*(setting.split("=", 1) for setting in OVERRIDES), remote[:2], remote[2:]]
    env = _select_variables(*names, operator=True) | _build_place_variables(require_place(folder), "push")
    env["GIT_CONFIG_COUNT"] = str(len(pairs))
    for number, (key, value) in enumerate(pairs):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def select_configuration_variables() -> dict[str, str]:
    """Select the variables with which a wrapper's git finds the configuration of this process."""
    return {name: os.environ[name] for name in CONFIGURATION_VARIABLES if name in os.environ}


def _find_command(arguments: Sequence[str]) -> str:
    """Find the command after git's own `-c NAME=VALUE` options."""
    start = 0
    while arguments[start] == "-c":
        start += 2
    return arguments[start]


def _select_variables(*names: str, operator: bool) -> dict[str, str]:
    """Select the variables of this process that git may have. A relative folder of PATH would be one of the work tree."""
    names_to_pass = (*PASSED_VARIABLES, *(OPERATOR_VARIABLES if operator else ()), *names)
    env = {name: os.environ[name] for name in names_to_pass if name in os.environ}
    env["PATH"] = os.pathsep.join(filter(os.path.isabs, env.get("PATH", os.defpath).split(os.pathsep)))
    return env | FIXED_VARIABLES | ({} if operator else NO_USER_CONFIGURATION)


def _build_place_variables(place: GitPlace, command: str) -> dict[str, str]:
    owner = str(place.git_dir) if command == "submodule" else ""  # that command writes into the configuration
    common = _make_common_folder(place, _choose_settings(_read_settings(place)), owner)
    tree = {"GIT_WORK_TREE": str(place.root)} if place.root else {}
    return {"GIT_DIR": str(place.git_dir), "GIT_COMMON_DIR": str(common), **tree}


# ------------------------------------------------------------------------------------------------------------- places


def require_place(folder: Path) -> GitPlace:
    """Find the repository of `folder`. Raises `GitFailed` when there is none, or it belongs to another user."""
    if not folder.is_dir():
        raise GitFailed(f"git cannot be run in {folder}: No such file or directory")
    place = find_place(folder)
    if place is None:
        raise GitFailed(f"not a git repository: {folder}")
    return place


def find_place(folder: Path) -> GitPlace | None:
    """Find the repository of `folder` as git does, None without one. Raises `GitFailed` when it belongs to another user.

    The repository of a linked worktree follows from the path of its git folder. What `commondir` says there does
    not count, as an agent may write it.
    """
    try:
        start = folder.resolve()
        place = next(filter(None, map(_read_place, (start, *start.parents))), None)
        if place:
            _require_safe(place)
    except (OSError, ValueError, RuntimeError) as error:  # a path that holds a NUL byte, or a loop of links
        raise GitFailed(f"git cannot read {folder}: {getattr(error, 'strerror', None) or error}") from error
    return place


def _read_place(path: Path) -> GitPlace | None:
    """Read the repository whose work tree or git folder is `path` itself."""
    pointer = path / ".git"
    for root, git_dir in ((path, _read_pointer(pointer) if pointer.is_file() else pointer), (None, path)):
        place = GitPlace(root, git_dir.resolve(), _find_common_dir(git_dir.resolve()))
        if _is_git_folder(place):
            return place
    return None


def _read_pointer(pointer: Path) -> Path:
    with pointer.open("rb") as file:
        text = os.fsdecode(file.read(MAX_POINTER_BYTES)).rstrip("\r\n")
    return pointer.parent / text.removeprefix("gitdir: ")


def _find_common_dir(git_dir: Path) -> Path:
    is_linked = git_dir.parent.name == "worktrees" and (git_dir / "commondir").is_file()
    return git_dir.parent.parent if is_linked else git_dir


def _is_git_folder(place: GitPlace) -> bool:
    has_head = os.path.lexists(place.git_dir / "HEAD")
    return has_head and all((place.common_dir / name).is_dir() for name in ("objects", "refs"))


def _require_safe(place: GitPlace) -> None:
    """Require what git checks itself only where it is not told the git folder: the owner. And no links to other files."""
    paths = [path for path in (place.root, place.git_dir, place.common_dir) if path]
    if any(path.stat().st_uid != os.geteuid() for path in paths) and not _is_declared_safe(paths[0]):
        raise GitFailed(
            f"{paths[0]} or its git folder belongs to another user. If you trust it, run"
            f" git config --global --add safe.directory {paths[0]}"
        )
    if link := next(filter(os.path.islink, _list_written_paths(place)), None):
        raise GitFailed(f"{link} is a symbolic link, through which git would write to another place. Remove the link.")
    alternates = place.common_dir / "objects/info/alternates"
    if os.path.lexists(alternates) and not stat.S_ISREG(alternates.lstat().st_mode):
        raise GitFailed(f"{alternates} is not a regular file. Remove it, or replace it by a file.")


def _list_written_paths(place: GitPlace) -> Iterator[str]:
    """List the paths that a command of Mission Control may write to. Those of a linked worktree are an agent's."""
    yield from (str(place.common_dir / name) for name in WRITTEN_ENTRIES)
    yield from _list_below(place.common_dir / BRANCH_LOGS)
    yield from list_entries(place.git_dir) if place.git_dir != place.common_dir else [str(place.git_dir / "index")]


def list_entries(git_dir: Path) -> Iterator[str]:
    """List everything in a worktree's own git folder, apart from the content of `modules`. `GitFailed` for too much."""
    return _list_below(git_dir, MODULES_ENTRY)


def _list_below(top: Path, skipped_name: str = "") -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(top):
        count += len(folders) + len(names)
        if count > MAX_ENTRIES:
            raise GitFailed(f"{top} holds more than {MAX_ENTRIES} entries. Remove those that are not git's.")
        yield from (f"{folder}/{name}" for name in (*folders, *names))
        if folder == str(top) and skipped_name in folders:
            folders.remove(skipped_name)


def _is_declared_safe(path: Path) -> bool:
    argv = ["git", "config", "--null", "--type=path", "--get-all", "safe.directory"]
    env = _select_variables(operator=True) | {"GIT_DIR": "/dev/null"}
    values = _run(argv, env).text.split("\0")
    return bool({"*", str(path)} & set(values))


# ----------------------------------------------------------------------------------------------------- settings, folder


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a configuration file, with git's name of its scope (`system`, `global`, `local`, `worktree`)."""

    scope: str
    key: str
    value: str

    @property
    def is_users(self) -> bool:
        return self.scope in USER_SCOPES


def list_settings(folder: Path) -> tuple[Setting, ...]:
    """List all settings that hold in a repository, the most specific last. Those of the repository are not to be trusted."""
    return _read_settings(require_place(folder))


def is_partial_clone(folder: Path) -> bool:
    """Return True when git would fetch objects of this repository only when they are needed, which is switched off here."""
    return any(
        setting.key.startswith("remote.") and setting.key.endswith(".promisor") for setting in list_settings(folder)
    )


def _read_settings(place: GitPlace) -> tuple[Setting, ...]:
    """Read the settings, from a cache until one of the files that hold them changes."""
    env = _select_variables(operator=True)
    user_files = [env.get("GIT_CONFIG_GLOBAL"), f"{env.get('HOME', '')}/.gitconfig"]
    user_files.append(f"{env.get('XDG_CONFIG_HOME') or env.get('HOME', '') + '/.config'}/git/config")
    config_files = [
        place.common_dir / "config",
        place.git_dir / "config.worktree",
        *map(Path, filter(None, user_files)),
    ]
    states = tuple(_read_state(file) for file in config_files)
    return _load_settings(place, tuple(env.items()), states, int(time.monotonic() // CACHE_SECONDS))


def _read_state(file: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = file.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


@lru_cache(maxsize=64)
def _load_settings(
    place: GitPlace, env: tuple[tuple[str, str], ...], _states: object, _period: int
) -> tuple[Setting, ...]:
    variables = dict(env) | {"GIT_DIR": str(place.git_dir), "GIT_COMMON_DIR": str(place.common_dir)}
    done = _run(["git", "config", "--list", "--show-scope", "--null"], variables)
    if done.code != 0:
        raise GitFailed(f"git cannot read the configuration of {place.common_dir}: {done.error_text}")
    words = done.text.split("\0")
    return tuple(_parse_setting(scope, entry) for scope, entry in zip(words[::2], words[1::2], strict=False))


def _parse_setting(scope: str, entry: str) -> Setting:
    key, newline, value = entry.partition("\n")
    return Setting(scope, key, value if newline else "true")


def _choose_settings(settings: Sequence[Setting]) -> dict[str, str]:
    """Choose the settings to copy."""
    return {setting.key: setting.value for setting in settings if _is_copied(setting)}


def _is_copied(setting: Setting) -> bool:
    pattern = FILE_SETTINGS.get(setting.key) or (USER_SETTINGS.get(setting.key) if setting.is_users else None)
    return pattern is not None and pattern.fullmatch(setting.value) is not None


def _run(argv: list[str], env: dict[str, str]) -> commands.CommandResult:
    try:
        return commands.run(argv, timeout=SETTINGS_SECONDS, cwd=Path("/"), env=env)
    except FileNotFoundError as error:
        raise GitMissing("git is not installed") from error


def _make_common_folder(place: GitPlace, settings: Mapping[str, str], owner: str) -> Path:
    """Make the common folder that these links and settings need, or return the present one.

    It is named after its content, so that it can stay, and stands where no sandbox lets an agent write. One with an
    `owner` is used by one work tree alone.
    """
    names = [name for name in LINKED_ENTRIES if os.path.lexists(place.common_dir / name)]
    links = {name: place.common_dir / name for name in (*names, "packed-refs")}
    config = _format_config({**settings, "core.bare": "false" if place.root else "true"})
    digest = hashlib.sha256(repr((links, config, owner)).encode()).hexdigest()
    try:
        folder = _make_state_folder() / digest[:32]
        if _read_text(folder / "config") != config:
            with _hold_lock(folder.with_name("lock")):
                _replace_common_folder(folder, links, config)
    except (OSError, UnsafeFolder) as error:
        raise GitFailed(f"The folder for Mission Control's own git configuration cannot be used: {error}") from error
    return folder


def _make_state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path(os.environ.get("HOME") or Path.home(), ".local/state")
    return make_private_dir(Path(base, "mission-control-git"))


@contextmanager
def hold_repository_lock(common_dir: Path) -> Iterator[None]:
    """Wait for the lock of a repository, which stands outside of it, and hold it for the length of the block."""
    digest = hashlib.sha256(os.fsencode(common_dir.resolve())).hexdigest()
    try:
        file = _make_state_folder() / f"{digest[:32]}.lock"
    except (OSError, UnsafeFolder) as error:
        raise GitFailed(f"The lock of {common_dir} cannot be used: {error}") from error
    with _hold_lock(file):
        yield


@contextmanager
def _hold_lock(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace_common_folder(folder: Path, links: Mapping[str, Path], config: str) -> None:
    """Put a whole folder in the place, unless another process has just done so."""
    if _read_text(folder / "config") == config:
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        draft = Path(scratch, "draft")
        draft.mkdir()
        (draft / "config").write_text(config, "utf-8")
        for name, target in links.items():
            (draft / name).symlink_to(target)
        if folder.is_dir():
            folder.rename(Path(scratch, "earlier"))
        draft.rename(folder)


def _read_text(file: Path) -> str | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return file.read_text("utf-8")
    return None


def _format_config(settings: Mapping[str, str]) -> str:
    return "".join(_format_setting(key, settings[key]) for key in sorted(settings))


def _format_setting(key: str, value: str) -> str:
    section, name = key.split(".")
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section}]\n\t{name} = "{quoted}"\n'
