"""`mc serve`: everything in one foreground process tree, under supervisord, which restarts a child that dies.

1. Refuse what cannot work: bad settings, a home that is in use, a port that is taken, an unsafe SQLite.
2. Bring the store up to date.
3. Write supervisord's configuration for this home (0600) and start it in a session of its own.
4. Wait until the board answers, then print one line with a one-time login link.
5. Wait for Ctrl-C or TERM and pass it on. Agents live in tmux's own session and go on.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from cli.access import login_link
from cli.common import store
from cli.demo import add_demo
from cli.installation import prepare
from settings import Settings, load
from workers import adoption

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
START_CRASHES = 3
STOP_SECONDS = 30

_CONFIGURATION = """\
[supervisord]
nodaemon=true
silent=true
umask=077
directory={root}
pidfile={run}/supervisord.pid
logfile={logs}/supervisord.log
logfile_maxbytes=2MB
logfile_backups=2
childlogdir={logs}
"""

# A stop must never reach the agents: the scheduler alone is told, and asked for long enough to finish a pass.
_PROGRAM = """
[program:{name}]
command={command}
autorestart=true
startsecs=3
startretries=1000
stopsignal=TERM
stopwaitsecs=15
stopasgroup=false
killasgroup=false
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


@click.command()
@click.option("--host", help="Addresses to listen on, comma-separated.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--no-scheduler", is_flag=True, help="Leave the timers to systemd.")
@click.option("--demo", is_flag=True, help="Add a sample project worked by the script agent.")
def serve(host: str | None, port: int | None, no_browser: bool, no_scheduler: bool, demo: bool) -> None:
    """Serve the board and run its timers until Ctrl-C."""
    environment = _child_environment(host, port, no_scheduler)
    settings = load(environment, serves=True)
    settings.ensure_home()
    with _only_one(settings):
        _refuse_taken_ports(settings)
        settings.remember_address()
        prepare(settings)
        if demo:
            with store(settings) as engine:
                add_demo(settings, engine)
        configuration = _write_configuration(settings)
        code = _supervise(settings, configuration, environment, browser=not no_browser)
        settings.forget_address()
        sys.exit(code)


def _child_environment(host: str | None, port: int | None, no_scheduler: bool) -> dict[str, str]:
    """This process's environment with the options on top, so that every child reads the same settings."""
    options = {"MC_HOST": host, "MC_PORT": port, "MC_SCHEDULER": False if no_scheduler else None}
    return dict(os.environ) | {name: str(value) for name, value in options.items() if value is not None}


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    with (settings.run_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"Mission Control is already running from {settings.home}") from None
        yield


def _refuse_taken_ports(settings: Settings) -> None:
    for host in settings.host:
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise click.ClickException(
                    f"cannot listen on {host} port {settings.port}: {error.strerror}; choose another with --port"
                ) from error


def _write_configuration(settings: Settings) -> Path:
    """Write supervisord's configuration, readable by the owner only, and return its path."""
    places = {"root": ROOT, "run": settings.run_dir, "logs": settings.logs_dir}
    text = _CONFIGURATION.format_map({name: _escape(str(path)) for name, path in places.items()})
    for name, argv in _programs(settings).items():
        text += _PROGRAM.format(name=name, command=_escape(shlex.join(argv)), logs=_escape(str(settings.logs_dir)))
    (settings.logs_dir / "supervisord.log").unlink(missing_ok=True)
    target = settings.run_dir / "supervisord.conf"
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return target


def _programs(settings: Settings) -> dict[str, list[str]]:
    programs = {"web": [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]}
    if settings.scheduler:
        programs["scheduler"] = [sys.executable, "mc_scheduler.py"]
    return programs


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _supervise(settings: Settings, configuration: Path, environment: Mapping[str, str], *, browser: bool) -> int:
    """Run supervisord until it is told to stop; returns the exit code of `mc serve`."""
    argv = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(configuration)]
    with _stop_signals() as stopping:
        supervisor = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=adoption.end_with_parent,  # this process has no threads
        )
        try:
            ready = _wait_until_ready(settings, supervisor, stopping)
            if ready:
                _welcome(settings, browser=browser)
            while ready and not stopping and supervisor.poll() is None:
                time.sleep(0.2)
        finally:
            ended_by_itself = supervisor.poll() is not None
            _end(supervisor)
    if stopping:
        return 0
    reason = "stopped by itself" if ended_by_itself else "did not start"
    click.echo(f"Mission Control {reason}. The end of {settings.logs_dir}/web.log:\n{_tail(settings)}", err=True)
    return 1


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is filled when this process is told to stop."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _wait_until_ready(settings: Settings, supervisor: subprocess.Popen[bytes], stopping: list[int]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not stopping and supervisor.poll() is None:
        if _answers(f"{settings.api_url}/healthz"):
            return True
        if _crashes(settings) >= START_CRASHES:
            return False
        time.sleep(0.1)
    return False


def _crashes(settings: Settings) -> int:
    """How often the web died since supervisord was started."""
    log = settings.logs_dir / "supervisord.log"
    return log.read_text().count("exited: web") if log.exists() else 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own http address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _welcome(settings: Settings, *, browser: bool) -> None:
    link = login_link(settings)
    click.echo(f"Mission Control is ready. Log in (once, within ten minutes): {link}")
    if browser and settings.ambient.display:
        webbrowser.open(link)


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    if supervisor.poll() is None:
        supervisor.terminate()
    try:
        supervisor.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _tail(settings: Settings, lines: int = 15) -> str:
    try:
        text = (settings.logs_dir / "web.log").read_text("utf-8", errors="replace")
    except OSError:
        return "(nothing was logged)"
    return "\n".join(text.splitlines()[-lines:])
