"""Leftovers of a soak after its board was stopped: processes, panes, sockets, worktrees, drafts of files."""

from __future__ import annotations

from collections.abc import Iterator

from workers.host.tmux import NoServer, Tmux, TmuxError
from workers.repository import git

from .board import MAX_RUNS, PROJECT, Board, ProcessKind

RUN_KINDS = frozenset({ProcessKind.WRAPPER, ProcessKind.AGENT, ProcessKind.TOOLS, ProcessKind.OTHER})


def find_run_leftovers(board: Board) -> list[str]:
    """Return the processes and panes of runs."""
    return [*(process.command for process in board.list_processes(*RUN_KINDS)), *_find_panes(board)]


def find_leftovers(board: Board) -> list[str]:
    """Return a sentence for everything that nothing needs once the board was stopped and all runs have ended."""
    return [
        *_find_processes(board),
        *_find_panes(board),
        *(f"socket {path.name}" for path in board.settings.sockets_dir.glob("run-*.sock")),
        *_find_worktrees(board),
        *(f"port reservation {path.name} of {path.read_text()}" for path in board.settings.ports_dir.glob("[0-9]*")),
        *(f"draft of a file {path}" for path in board.settings.home.rglob("*.new")),
    ]


def _find_processes(board: Board) -> Iterator[str]:
    for process in board.list_processes():
        if process.kind is not ProcessKind.TMUX:
            yield f"{process.kind} process {process.identity.pid}: {process.command[:120]}"


def _find_panes(board: Board) -> Iterator[str]:
    tmux = Tmux(f"mc-{board.settings.instance}", board.settings.sockets_dir)
    try:
        yield from (f"pane {pane.session} (dead: {pane.dead})" for pane in tmux.list_panes())
    except NoServer:
        return
    except TmuxError as error:
        yield f"tmux cannot be read: {error}"


def _find_worktrees(board: Board) -> Iterator[str]:
    """Find worktrees of landings, and those beyond the slots of the project."""
    landings = board.settings.landings_dir
    yield from (f"worktree of landing {path.name}" for path in (landings.iterdir() if landings.is_dir() else ()))
    lines = git.check_output(board.repository, "worktree", "list", "--porcelain").splitlines()
    paths = [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")][1:]
    slots = str(board.settings.worktrees_dir / PROJECT)
    yield from (f"worktree {path}" for path in paths if not path.startswith(slots))
    if len(paths) > MAX_RUNS:
        yield f"{len(paths)} worktrees for {MAX_RUNS} slots"
