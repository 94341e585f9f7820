"""The context of a job: settings, store, this machine's tmux server and host name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from settings import Settings
from tickets.dispatch.policy import DispatchLimits
from tickets.runs.reports import RetryPolicy
from workers.contract.spec import format_marker
from workers.host.tmux import Tmux


@dataclass(frozen=True, slots=True)
class JobContext:
    """One machine of one instance. `host` is the name under which its runs are recorded."""

    settings: Settings
    engine: Engine
    tmux: Tmux
    host: str

    @property
    def limits(self) -> DispatchLimits:
        return DispatchLimits.from_settings(self.settings)

    @property
    def retry(self) -> RetryPolicy:
        return RetryPolicy.from_settings(self.settings)

    def run_dir(self, run_id: int) -> Path:
        return self.settings.run_path(run_id)

    def marker(self, run_id: int) -> str:
        return format_marker(self.settings.instance, run_id)


def build_context(settings: Settings, engine: Engine) -> JobContext:
    tmux = Tmux(f"mc-{settings.instance}", settings.sockets_dir)
    return JobContext(settings, engine, tmux, settings.machine_name)
