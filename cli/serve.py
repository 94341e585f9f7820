"""`mc serve`: the whole of Mission Control in one foreground process tree, under supervisord, which restarts dead children.

1. Refuse to start with invalid settings, a home in use, an occupied port or an unsafe SQLite; end the processes that a
   killed supervisord has left.
2. Upgrade the store.
3. Write supervisord's configuration for this home (0600).
4. Replace this process by the small program `cli/serve_parent.py`: it starts supervisord in a session of its own, waits
   until the board answers, prints one line with a one-time login link, and passes Ctrl-C or TERM on. Agents are in
   tmux's own session and stay alive.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from settings import SERVE_VARIABLE, Settings, load
from workers.host import isolated_python, loopback, processes

from .common import open_store
from .demo import add_demo
from .setup import prepare_installation
from .tokens import create_login_link

ROOT = Path(__file__).resolve().parent.parent
LEFTOVER_SECONDS = 5.0
"""How long the processes of an earlier start may take to end before they are killed."""

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
environment={variable}="{instance}"
"""

# A stop must never reach the agents: only the scheduler gets the signal, with enough time to finish a pass.
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
@click.option("--host", help="Comma-separated addresses to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--no-scheduler", is_flag=True, help="Leave the timers to systemd.")
@click.option("--demo", is_flag=True, help="Add a sample project for the script agent.")
def serve(host: str | None, port: int | None, no_browser: bool, no_scheduler: bool, demo: bool) -> None:
    """Serve the board and run its scheduled tasks until Ctrl-C."""
    environment = _child_environment(host, port, no_scheduler)
    settings = load(environment, serves=True)
    settings.ensure_home()
    _lock_home(settings)
    _end_leftovers(settings)
    _refuse_taken_ports(settings)
    prepare_installation(settings)
    if demo:
        with open_store(settings) as engine:
            add_demo(settings, engine)
    settings.remember_address()
    _exec_parent(_build_plan(settings, browser=not no_browser), environment)


def _child_environment(host: str | None, port: int | None, no_scheduler: bool) -> dict[str, str]:
    """Return this process's environment with the options on top, so that every child reads the same settings.

    One memory arena for all threads of a process: with more, programs grow by fragments that are never given back.
    """
    options = {"MC_HOST": host, "MC_PORT": port, "MC_SCHEDULER": False if no_scheduler else None}
    return {"MALLOC_ARENA_MAX": "1", **os.environ} | {
        name: str(value) for name, value in options.items() if value is not None
    }


def _lock_home(settings: Settings) -> None:
    """Lock the home for the lifetime of this process, across exec: the descriptor stays open."""
    descriptor = os.open(settings.run_dir / "serve.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.ClickException(f"Mission Control is already running from {settings.home}.") from None
    os.set_inheritable(descriptor, True)


def _end_leftovers(settings: Settings) -> None:
    """End the processes of an earlier start whose supervisord was killed: with the home locked they belong to nobody."""
    marker = f"{SERVE_VARIABLE}={settings.instance}"
    leftovers = processes.find_by_marker(marker)
    if not leftovers:
        return
    click.echo(f"Ending {len(leftovers)} processes of an earlier start of this board that was killed.", err=True)
    for process in leftovers:
        processes.send_signal(process, signal.SIGTERM)
    survivors = processes.stop(leftovers[0], marker, LEFTOVER_SECONDS)
    if survivors:
        pids = ", ".join(str(process.pid) for process in survivors)
        raise click.ClickException(f"These processes of an earlier start cannot be ended: {pids}. End them first.")


def _refuse_taken_ports(settings: Settings) -> None:
    for host in loopback.list_listen_hosts(settings.host):
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise click.ClickException(
                    f"Cannot listen on {host} port {settings.port}: {error.strerror}. Choose another port with --port."
                ) from error


def _write_configuration(settings: Settings) -> Path:
    """Write supervisord's configuration, readable by the owner only, and return its path."""
    values = {"root": str(ROOT), "run": str(settings.run_dir), "logs": str(settings.logs_dir)}
    values |= {"variable": SERVE_VARIABLE, "instance": settings.instance}
    text = _CONFIGURATION.format_map({name: _escape(value) for name, value in values.items()})
    for name, argv in _build_programs(settings).items():
        text += _PROGRAM.format(name=name, command=_escape(shlex.join(argv)), logs=_escape(str(settings.logs_dir)))
    (settings.logs_dir / "supervisord.log").unlink(missing_ok=True)
    target = settings.run_dir / "supervisord.conf"
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return target


def _build_programs(settings: Settings) -> dict[str, list[str]]:
    programs = {"web": [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]}
    if settings.scheduler:
        programs["scheduler"] = [sys.executable, "mc_scheduler.py"]
    return programs


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _build_plan(settings: Settings, *, browser: bool) -> dict[str, Any]:
    """Build the input of `cli/serve_parent.py`."""
    configuration = str(_write_configuration(settings))
    return {
        "supervisor": [sys.executable, "-m", "supervisor.supervisord", "--configuration", configuration],
        "address": (settings.api_host, settings.port),
        "address_file": str(settings.address_file),
        "logs": str(settings.logs_dir),
        "link": create_login_link(settings),
        "link_file": str(settings.secrets_dir / "login.html"),
        "browser": browser and settings.ambient.display,
    }


def _exec_parent(plan: dict[str, Any], environment: dict[str, str]) -> NoReturn:
    """Replace this process by `cli/serve_parent.py`, with the plan on its standard input and the lock still open."""
    argv = isolated_python.build_argv("cli.serve_parent", site_packages=False)
    output, input_ = os.pipe()
    os.write(input_, json.dumps(plan).encode())
    os.close(input_)
    os.dup2(output, 0)
    sys.stdout.flush()
    os.execve(argv[0], argv, environment)  # noqa: S606 - argv, no shell
