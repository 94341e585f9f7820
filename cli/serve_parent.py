"""The parent of the process tree of `mc serve`: starts supervisord, reports readiness, and passes signals on.

`mc serve` replaces itself by this program, which inherits its open lock. It imports the standard library only
and so takes 7 MB instead of 50. On its standard input it reads, as JSON:

    supervisor  argv of supervisord
    address     host and port of the board
    address_file  file that names them for other programs, removed at the end
    logs        the folder of the logs
    link        the login link to print
    link_file   private page that leads a browser to the link, removed at the end
    browser     whether to open the link
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from workers.host import isolated_python, subreaper

START_TIMEOUT_SECONDS = 600
"""A busy machine may take minutes; a board that fails is noticed by its crashes long before."""
REPORT_SECONDS = 15
ANSWER_SECONDS = 10
"""How long one answer of the board may take: a busy machine needs more than a moment for the first."""
MAX_START_CRASHES = 3
STOP_SECONDS = 30
POLL_SECONDS = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_LOG_LINES = 15


class Supervisor:
    """The supervisord process, which is stopped together with this one."""

    def __init__(self) -> None:
        self.stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop_by_signal)
        signal.signal(signal.SIGALRM, self._kill)

    def start(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=subreaper.end_with_parent,  # this process has no threads
        )
        if self.stopping:
            self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Terminate supervisord, and kill it when it does not exit in time."""
        if self._process is not None:
            self._process.terminate()
            signal.alarm(STOP_SECONDS)

    def _stop_by_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        self.stop()

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            self._process.kill()


def main() -> int:
    """Serve until stopped. Returns the exit code of `mc serve`."""
    supervisor = Supervisor()
    plan = json.load(sys.stdin)
    logs = Path(plan["logs"])
    if not supervisor.stopping:
        supervisor.start(plan["supervisor"])
    ready = _wait_until_ready(supervisor, plan["address"], logs)
    if ready:
        print(f"Mission Control is ready. Log in (once, within ten minutes): {plan['link']}", flush=True)
        if plan["browser"]:
            _open_browser(plan["link"], Path(plan["link_file"]))
        supervisor.wait()
    ended_by_itself = not supervisor.running
    supervisor.stop()
    supervisor.wait()
    for name in ("address_file", "link_file"):
        Path(plan[name]).unlink(missing_ok=True)
    if supervisor.stopping:
        return 0
    reason = "stopped by itself" if ended_by_itself else "did not start"
    print(f"Mission Control {reason}. The end of {logs}/web.log:\n{_read_tail(logs / 'web.log')}", file=sys.stderr)
    return 1


def _wait_until_ready(supervisor: Supervisor, address: list[str | int], logs: Path) -> bool:
    start = last_report = time.monotonic()
    while (now := time.monotonic()) < start + START_TIMEOUT_SECONDS and not supervisor.stopping and supervisor.running:
        if now > last_report + REPORT_SECONDS:
            last_report = now
            _report_slow_start(now - start, logs)
        if _is_answering(str(address[0]), int(address[1])):
            return True
        if _count_crashes(logs / "supervisord.log") >= MAX_START_CRASHES:
            return False
        time.sleep(POLL_SECONDS)
    return False


def _report_slow_start(seconds: float, logs: Path) -> None:
    last_line = _read_tail(logs / "web.log").splitlines()[-1:]
    print(
        f"Still starting after {seconds:.0f} s; waiting for the board to answer. Last line of {logs}/web.log:"
        f" {last_line[0] if last_line else '(nothing was logged)'}",
        file=sys.stderr,
        flush=True,
    )


def _is_answering(host: str, port: int) -> bool:
    """Return True when the board answers its liveness request (`http.client` would double this process's memory)."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False


def _count_crashes(log: Path) -> int:
    """Count the crashes of the web process since supervisord was started."""
    return log.read_text().count("exited: web") if log.exists() else 0


def _open_browser(link: str, file: Path) -> None:
    """Open the link by a private page that leads there, since every user can read the arguments of a command."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600, exist_ok=False)
    file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={link}">')
    argv = isolated_python.build_argv("webbrowser", file.as_uri(), site_packages=False)
    subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _read_tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-MAX_LOG_LINES:])
    except OSError:
        return "(nothing was logged)"


if __name__ == "__main__":
    sys.exit(main())
