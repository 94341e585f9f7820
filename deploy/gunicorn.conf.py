"""How gunicorn serves Mission Control; read by `bin/mc serve` and by deploy/systemd/mission-control.service.

Every stream and WebSocket holds a thread, so a worker that is told to stop first raises the stop flag of the streams:
they end within a second and the worker with them. gunicorn's own handlers would wait for them instead.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import settings as mc_settings

_settings = mc_settings.load(serves=True)
_settings.ensure_home()

wsgi_app = "app:create_app()"
bind = [f"{f'[{host}]' if ':' in host else host}:{_settings.port}" for host in _settings.host]
proc_name = f"mission-control-{_settings.instance}"

worker_class = "gthread"
workers = _settings.web_workers
threads = _settings.threads
timeout = 60
graceful_timeout = 5
keepalive = 5
limit_request_line = 8190
forwarded_allow_ips = "127.0.0.1,::1" if _settings.behind_tls else ""

# Read when a worker first measures something; whichever worker is asked then answers for all.
raw_env = [f"PROMETHEUS_MULTIPROC_DIR={_settings.vitals_dir}"]

accesslog = None
errorlog = "-"
loglevel = _settings.log_level

# Heartbeat files on memory: on a busy disk a worker would be taken for dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes the name
# One control socket for all instances of a user would break "two homes never touch each other".
control_socket_disable = True


def on_starting(_arbiter: Any) -> None:
    """Forget what the workers of an earlier start have measured."""
    for file in _settings.vitals_dir.glob("*.db"):
        file.unlink(missing_ok=True)


def when_ready(_arbiter: Any) -> None:
    """It listens: the timers of this home find it, whatever port it was given."""
    _settings.remember_address()


def on_reload(_arbiter: Any) -> None:
    """It may listen elsewhere now, as this file has been read anew."""
    _settings.remember_address()


def on_exit(_arbiter: Any) -> None:
    """Whoever listens there from now on is not the board."""
    _settings.forget_address()


def child_exit(_arbiter: Any, worker: Any) -> None:
    """A worker that is gone has no threads that are busy."""
    from prometheus_client import multiprocess  # it looks at the environment that `raw_env` makes

    multiprocess.mark_process_dead(worker.pid, str(_settings.vitals_dir))  # type: ignore[no-untyped-call]


def _end_streams() -> None:
    for name in ("web.streams", "web.sockets"):
        if name in sys.modules:
            sys.modules[name].stop()


def post_worker_init(worker: Any) -> None:
    """In each new worker: spare the garbage collector, and end the streams before gunicorn handles TERM, INT or QUIT."""
    # What was imported stays: it is not looked through again and again, nor is a page interrupted several times.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        _precede(number, signal.getsignal(number))


def _precede(number: signal.Signals, gunicorns: Any) -> None:
    def handle(received: int, frame: FrameType | None) -> None:
        _end_streams()
        gunicorns(received, frame)

    signal.signal(number, handle)
    signal.siginterrupt(number, False)
