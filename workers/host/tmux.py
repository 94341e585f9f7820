"""A private tmux server whose panes contain the runs, so that a person can watch them.

Every result is either what a tmux server reported or a typed error: "tmux failed" never looks like "no panes".
The server gets a small fixed environment, so that nothing of the program that happens to start it (tokens,
another run's markers) leaks into a pane. `new_session` adds what a pane needs.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import commands, processes
from .private_dirs import UnsafeFolder, make_private_dir

HISTORY_LINES = 10_000
"""The scrollback of a pane. The whole output of a run is in its pane log."""
CHUNK_CHARACTERS = 500
"""Longer bursts of typed text look like a paste to the agents' screens, and tmux refuses above 16 KB."""
CHUNK_PAUSE_SECONDS = 0.02
ECHO_CHARACTERS = 16
ECHO_LINES = 60
ECHO_SECONDS = 3.0
"""The longest wait for an echo, for programs that do not show typed text."""

SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
SESSION_NAME = re.compile(r"mc-[A-Za-z0-9][A-Za-z0-9-]{0,59}")
WINDOW_NAME = re.compile(r"[a-z]{1,20}")
PANE_ID = re.compile(r"%[0-9]{1,9}")
KEY_NAME = re.compile(r"(?:[CMS]-){0,3}(?:[A-Za-z][A-Za-z0-9]{0,9}|[!-~])")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

PANE_FORMAT = "#{pane_id}|#{pane_pid}|#{pane_dead}|#{pane_dead_status}|#{session_name}"
PANE_LINE = re.compile(r"(%[0-9]+)\|([0-9]+)\|([01]?)\|([0-9]*)\|(.+)")
MISMATCH = "protocol version mismatch"
NO_SERVER = re.compile(r"no server running on |error connecting to .* \((?:No such file|Connection refused)")


class TmuxError(Exception):
    """tmux gave no reliable answer."""


class TmuxMissing(TmuxError):
    """The tmux program is not installed or cannot be started."""


class TmuxFailed(TmuxError):
    """tmux rejected a command."""


class TmuxHung(TmuxError):
    """tmux did not answer in time."""


class TmuxGarbage(TmuxError):
    """tmux printed output that cannot be parsed."""


class NoServer(TmuxError):
    """No tmux server runs on this socket. It has no panes, but that does not prove any process dead."""


class TmuxMismatch(TmuxFailed):
    """The running server was started by another version of tmux, which this one cannot talk to."""


class SessionTaken(TmuxFailed):
    """A session of this name has a pane whose process is still alive."""


@dataclass(frozen=True, slots=True)
class Pane:
    """One pane. `pid` is the process it was started with, `dead_status` its exit code, None while unknown.

    tmux may miss the exit code of a process that ends at once, and lose its last output.
    A new server counts ids from 0 again, so a pane is identified by its session and pid as well.
    """

    id: str
    pid: int
    session: str
    dead: bool
    dead_status: int | None


@dataclass(frozen=True, slots=True)
class Tmux:
    """A private tmux server: `tmux -L <name>` with its socket below `folder` (0700). `timeout` is in seconds."""

    name: str
    folder: Path
    binary: str = "tmux"
    timeout: float = 5.0

    def __post_init__(self) -> None:
        _validate(SERVER_NAME, self.name, "tmux server name")

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment of client and server."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "TERM": "xterm-256color",
            "TMUX_TMPDIR": str(self.folder),
        }

    def argv(self, *arguments: str) -> list[str]:
        """Build the command line of one tmux command on this server, to be run with `environment`."""
        return [self._program(), "-L", self.name, "-f", "/dev/null", "-u", *arguments]

    def new_session(
        self,
        name: str,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        size: tuple[int, int] = (200, 50),
    ) -> str:
        """Start `argv` (executed, no shell) in a new session. Returns the id of its only pane, such as `%3`.

        `env` is added to the server's environment. It is visible in `ps` for a moment, so it must contain no
        secrets. Dead panes of an earlier run under this name are removed first, a live one raises
        `SessionTaken`. `size` is (columns, lines). After `TmuxHung` or `TmuxGarbage` the process may have
        been started.
        """
        _validate(SESSION_NAME, name, "session name")
        self._make_folder()
        self._remove_dead_panes(name)
        output = self._run(
            *("start-server", ";", "set-option", "-g", "history-limit", str(HISTORY_LINES)),
            *(";", "set-option", "-g", "remain-on-exit", "on"),
            *(";", "set-option", "-gq", "remain-on-exit-format", "", ";"),
            *("new-session", "-d", "-P", "-F", "#{pane_id}", "-s", name, "-c", str(cwd)),
            *("-x", str(size[0]), "-y", str(size[1])),
            *_build_variables(env),
            *("--", *_build_command(argv)),
        )
        if not PANE_ID.fullmatch(output.strip()):
            raise TmuxGarbage(f"tmux named no pane for {name}: {output[:200]!r}")
        return output.strip()

    def new_window(self, session: str, name: str, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Pane:
        """Start `argv` (executed, no shell) in another window of a session and select that window.

        `env` as for `new_session`. After `TmuxHung` or `TmuxGarbage` the process may have been started.
        """
        target = f"={_validate(SESSION_NAME, session, 'session name')}:"
        output = self._run(
            *("new-window", "-P", "-F", PANE_FORMAT, "-t", target, "-n", _validate(WINDOW_NAME, name, "window name")),
            *("-c", str(cwd), *_build_variables(env), "--", *_build_command(argv)),
        )
        line = PANE_LINE.fullmatch(output.strip())
        if line is None:
            raise TmuxGarbage(f"tmux named no pane for {session}: {output[:200]!r}")
        return _parse_pane(line)

    def title(self, pane: str) -> str:
        """Return the title that the program in a pane has set."""
        return self._run("display-message", "-p", "-t", _validate_pane_id(pane), "#{pane_title}").removesuffix("\n")

    def list_panes(self) -> list[Pane]:
        """List all panes of the server, at least one. `NoServer` or another `TmuxError` instead of an empty list."""
        output = self._run("list-panes", "-a", "-F", PANE_FORMAT)
        lines = [PANE_LINE.fullmatch(line) for line in output.splitlines()]
        panes = [_parse_pane(line) for line in lines if line]
        if not panes or len(panes) < len(lines):
            raise TmuxGarbage(f"tmux listed no readable panes: {output[:200]!r}")
        return panes

    def capture(self, pane: str, lines: int) -> str:
        """Capture the last `lines` lines of the pane, scrollback included, as plain text without trailing blank lines."""
        output = self._run("capture-pane", "-p", "-J", "-t", _validate_pane_id(pane), "-S", f"-{int(lines)}")
        return "\n".join(line.rstrip() for line in output.rstrip().splitlines()[-int(lines) :])

    def send_text(self, pane: str, text: str) -> None:
        """Type `text` literally, newlines as C-j, without submitting it.

        Only for a screen known to wait for input: typed into a permission dialog it would answer that.
        """
        for number, line in enumerate(text.split("\n")):
            if number:
                self.send_keys(pane, "C-j")
            for start in range(0, len(line), CHUNK_CHARACTERS):
                chunk = line[start : start + CHUNK_CHARACTERS]
                self._run("send-keys", "-t", _validate_pane_id(pane), "-l", "--", _escape_semicolon(chunk))
                time.sleep(CHUNK_PAUSE_SECONDS)

        self._await_echo(pane, text)

    def _await_echo(self, pane: str, text: str) -> None:
        """Wait until the screen shows the typed text. A key that a busy program reads together with it counts as pasted."""
        tail, end = "".join(text.split())[-ECHO_CHARACTERS:], time.monotonic() + ECHO_SECONDS
        while tail not in "".join(self.capture(pane, ECHO_LINES).split()) and time.monotonic() < end:
            time.sleep(CHUNK_PAUSE_SECONDS)

    def send_keys(self, pane: str, *keys: str) -> None:
        """Press named keys, such as `Enter`, `Escape` or `C-c`."""
        for key in keys:
            _validate(KEY_NAME, key, "key")
        self._run("send-keys", "-t", _validate_pane_id(pane), "--", *map(_escape_semicolon, keys))

    def paste(self, pane: str, text: str) -> None:
        """Insert `text` as one bracketed paste, for screens that treat fast typing as a paste anyway."""
        buffer = f"mc-{_validate_pane_id(pane)[1:]}"
        self._run("load-buffer", "-b", buffer, "-", stdin=text.encode())
        self._run("paste-buffer", "-d", "-p", "-r", "-b", buffer, "-t", pane)

    def pipe(self, pane: str, log: Path) -> None:
        """Append everything the pane prints from now on to the file `log` (0600)."""
        quoted = shlex.quote(str(log)).replace("%", "%%").replace("#", "##")  # tmux expands dates and formats
        self._run("pipe-pane", "-t", _validate_pane_id(pane), f"umask 077; exec cat >> {quoted}")

    def resize(self, pane: str, columns: int, lines: int) -> None:
        """Resize the pane's window."""
        self._run("resize-window", "-t", _validate_pane_id(pane), "-x", str(int(columns)), "-y", str(int(lines)))

    def kill_pane(self, pane: str) -> None:
        """Remove a pane, and with its last one the session. Its process gets a HUP, which does not prove its death."""
        self._run("kill-pane", "-t", _validate_pane_id(pane))

    def remove_dead_pane(self, pane: str) -> None:
        """Remove a pane if its process has ended. tmux checks that itself, as ids are used again after its restart."""
        target = _validate_pane_id(pane)
        self._run("if-shell", "-F", "-t", target, "#{pane_dead}", f"kill-pane -t {target}")

    def end_outdated_server(self) -> None:
        """End the server without its protocol, which one of another version does not understand. Panes get a HUP."""
        for process in processes.find_by_marker(f"TMUX_TMPDIR={self.folder}"):
            if processes.read_command(process.pid)[1:3] == ["-L", self.name]:
                processes.send_signal(process, signal.SIGTERM)

    def _make_folder(self) -> None:
        try:
            make_private_dir(self.folder)
        except (UnsafeFolder, OSError) as error:
            raise TmuxFailed(f"no folder for tmux's socket: {error}") from error

    def _remove_dead_panes(self, session: str) -> None:
        """Remove the dead panes of a session that is about to be restarted."""
        try:
            panes = [pane for pane in self.list_panes() if pane.session == session]
        except NoServer:
            return
        if any(not pane.dead for pane in panes):
            raise SessionTaken(f"session {session} is still in use")
        for pane in panes:
            self.kill_pane(pane.id)

    def _run(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run one tmux command. Returns its output, raises the matching `TmuxError`."""
        try:
            done = commands.run(
                self.argv(*arguments), timeout=self.timeout, cwd=Path("/"), env=self.environment, stdin=stdin
            )
        except OSError as error:
            raise TmuxMissing(f"tmux cannot be started: {error}") from error
        if done.timed_out:
            raise TmuxHung(f"tmux {arguments[0]} did not answer within {self.timeout:g} seconds")
        if done.code == 0:
            return done.text
        if NO_SERVER.match(done.error_text):
            raise NoServer(done.error_text)
        if MISMATCH in done.error_text:
            raise TmuxMismatch(
                f"the running server was started by another version of tmux ({done.error_text}):"
                " it is replaced once the runs of this board have ended"
            )
        raise TmuxFailed(f"tmux {arguments[0]} failed ({done.code}): {done.error_text}")

    def _program(self) -> str:
        program = shutil.which(self.binary)
        if program is None:
            raise TmuxMissing(f"there is no program {self.binary}")
        return program


def _validate(pattern: re.Pattern[str], value: str, label: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"not a {label}: {value!r}")
    return value


def _validate_pane_id(pane: str) -> str:
    return _validate(PANE_ID, pane, "pane id")


def _parse_pane(line: re.Match[str]) -> Pane:
    identifier, pid, dead, status, session = line.groups()
    return Pane(identifier, int(pid), session, dead == "1", int(status) if status else None)


def _escape_semicolon(argument: str) -> str:
    """Escape a trailing semicolon, at which tmux would end the command."""
    return argument[:-1] + "\\;" if argument.endswith(";") else argument


def _build_command(argv: Sequence[str]) -> list[str]:
    """Build the command for tmux. It would pass a single word to a shell, so that gets `env` before it."""
    if not argv:
        raise ValueError("an empty command cannot be started")
    return [_escape_semicolon(word) for word in (argv if len(argv) > 1 else ["env", *argv])]


def _build_variables(env: Mapping[str, str]) -> list[str]:
    pairs = [f"{_validate(VARIABLE, key, 'variable name')}={value}" for key, value in env.items()]
    return [word for pair in pairs for word in ("-e", _escape_semicolon(pair))]
