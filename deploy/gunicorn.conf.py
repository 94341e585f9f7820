"""The gunicorn configuration of Mission Control, used by `bin/mc serve` and deploy/systemd/mission-control.service.

Every stream and WebSocket holds a thread, so a worker that is told to stop first raises the stop flag of the streams:
they end within a second and the worker with them. gunicorn's own handlers would wait for them instead.
"""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import app
import settings as mc_settings
from web.site import metrics
from web.site.request_worker import RequestWorker
from web.site.shared_values import MAX_SLOTS
from web.stream import sockets, stream_routes
from workers.host import loopback, subreaper

_settings = mc_settings.load(serves=True)
_settings.ensure_home()
if _settings.ambient.is_served:
    subreaper.end_with_parent()

# The application is built once and shared by the workers, which bind it to settings and store. Code is loaded at
# start only: after an upgrade the server is restarted.
wsgi_app = "app:preload()"
preload_app = True
bind = [
    f"{f'[{host}]' if ':' in host else host}:{_settings.port}" for host in loopback.list_listen_hosts(_settings.host)
]
proc_name = f"mission-control-{_settings.instance}"

worker_class = RequestWorker
RequestWorker.read_seconds = _settings.request_read_seconds
workers = _settings.web_workers
threads = _settings.threads
timeout = 60
graceful_timeout = 5
keepalive = 5
limit_request_line = 8190
forwarded_allow_ips = "127.0.0.1,::1" if _settings.behind_tls else ""

accesslog = None
errorlog = "-"
loglevel = _settings.log_level

# Heartbeat files in memory: on a busy disk a worker would be taken for dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes the name
# A control socket shared by all instances of a user would let two homes interfere with each other.
control_socket_disable = True


def when_ready(arbiter: Any) -> None:
    """Record the address for the scheduled programs of this home, and freeze the memory that the workers share.

    The garbage collector would write to those pages and so copy them.
    """
    _settings.remember_address()
    if _settings.serves_loopback and not loopback.has_ipv6():
        arbiter.log.warning(loopback.NO_IPV6)
    gc.collect()
    gc.freeze()


def pre_fork(arbiter: Any, worker: Any) -> None:
    """Choose the worker's slot in the shared memory of the metrics."""
    used_slots = {sibling.slot for sibling in arbiter.WORKERS.values()}
    worker.slot = next((slot for slot in range(MAX_SLOTS) if slot not in used_slots), MAX_SLOTS - 1)


def on_reload(_arbiter: Any) -> None:
    """Record the address again, as the reloaded configuration may have another one."""
    _settings.remember_address()


def on_exit(_arbiter: Any) -> None:
    """Forget the address, since another program may listen there later."""
    _settings.forget_address()


def child_exit(_arbiter: Any, worker: Any) -> None:
    """Reset the metrics of an exited worker, which has no busy threads any more."""
    metrics.VALUES.end(worker.slot)


def _end_streams() -> None:
    stream_routes.stop()
    sockets.stop()


def post_worker_init(worker: Any) -> None:
    """Bind the application in each new worker, and end the streams before gunicorn handles TERM, INT or QUIT."""
    app.bind_app(worker.wsgi, _settings)
    metrics.VALUES.begin(worker.slot)
    gc.set_threshold(10_000, 20, 20)  # fewer collections during one page
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        _precede(number, signal.getsignal(number))


def _precede(number: signal.Signals, default_handler: Any) -> None:
    def handle(signal_number: int, frame: FrameType | None) -> None:
        _end_streams()
        default_handler(signal_number, frame)

    signal.signal(number, handle)
    signal.siginterrupt(number, False)
