"""State of a run's spool, read from its run directory: events on disk, acknowledged events, and the final report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models import Run
from settings import Settings
from web.stream.log_tail import open_regular_file
from workers.run.report import REPORTED_FILE
from workers.run.spool import ACKED_FILE
from workers.run.verdict import REPORT_FILE

MAX_WORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class SpoolState:
    """State of a run's spool.

    `segments` and `size` (bytes) are those of the event files on disk. `taken` is the last sequence number that the server
    has ingested, `acknowledged` the last one that the wrapper knows to be ingested. `report` is the state of the final
    report. `problem` is the reason why there is nothing to show.
    """

    taken: int
    segments: int = 0
    size: int = 0
    acknowledged: int = 0
    report: str = ""
    problem: str | None = None


def read_state(settings: Settings, run: Run) -> SpoolState:
    """Read the spool of a run. Those of runs on other machines are not readable and have a `problem`."""
    if run.host != settings.machine_name:
        return SpoolState(run.last_run_seq, problem=f"It is on {run.host}.")
    folder = settings.run_path(run.id)
    segments = sorted(folder.glob("events*.jsonl")) if folder.is_dir() else []
    if not segments:
        return SpoolState(run.last_run_seq, problem="Its directory is gone, or has no events.")
    sizes = [segment.lstat().st_size for segment in segments]
    acknowledged = _read_word(folder / ACKED_FILE)
    return SpoolState(
        run.last_run_seq,
        len(segments),
        sum(sizes),
        int(acknowledged) if acknowledged.isascii() and acknowledged.isdecimal() else 0,
        _read_report_state(folder),
    )


def _read_report_state(folder: Path) -> str:
    status = _read_word(folder / REPORTED_FILE)
    if status:
        return "delivered" if status == "200" else f"refused ({status[:3]})"
    return "waiting to be delivered" if (folder / REPORT_FILE).is_file() else "none"


def _read_word(path: Path) -> str:
    """Read the single word of a small file, or "" if it is not a regular file, since the agent can write there."""
    file = open_regular_file(path)
    if file is None:
        return ""
    with file:
        return file.read(MAX_WORD_BYTES).decode("ascii", "replace").strip()
