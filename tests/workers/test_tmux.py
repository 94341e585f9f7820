"""A private tmux server is driven and watched, and an error is never taken for "no panes"."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import wait_until
from workers.host import processes
from workers.host.tmux import (
    NoServer,
    Pane,
    SessionTaken,
    Tmux,
    TmuxError,
    TmuxFailed,
    TmuxGarbage,
    TmuxHung,
    TmuxMissing,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short private folder: the path of a socket may have 107 bytes only."""
    with tempfile.TemporaryDirectory(prefix="mc-") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[Tmux]:
    server = Tmux("mc-test", folder)
    yield server
    with suppress(TmuxError):
        for pane in server.list_panes():
            server.kill_pane(pane.id)


@pytest.fixture
def fake(folder: Path, tmp_path: Path) -> Callable[[str], Tmux]:
    """A server whose tmux is a shell script."""

    def write(script: str) -> Tmux:
        program = tmp_path / "tmux"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return Tmux("mc-test", folder, binary=str(program), timeout=0.3)

    return write


def start(server: Tmux, script: str, name: str = "mc-MC-12", **env: str) -> str:
    return server.new_session(name, ["sh", "-c", script], Path("/"), env)


def find_pane(server: Tmux, pane_id: str) -> Pane:
    return next(pane for pane in server.list_panes() if pane.id == pane_id)


def wait_for_text(server: Tmux, pane: str, text: str, lines: int = 50) -> str:
    def look() -> str | None:
        content = server.capture(pane, lines)
        return content if text in content else None

    return wait_until(look, description=f"{text!r} in the pane") or ""


def test_a_pane_runs_its_command_in_its_folder_with_its_environment(server: Tmux, tmp_path: Path) -> None:
    odd = ["sh", "-c", 'printf "<%s>" "$@" "$PWD" "$WORD"; sleep 300', "sh", "a b", "$HOME", "end;", ";"]
    pane = server.new_session("mc-MC-1", odd, tmp_path, {"WORD": "two words;"})
    assert f"<a b><$HOME><end;><;><{tmp_path}><two words;>" in wait_for_text(server, pane, "words").replace("\n", "")
    state = find_pane(server, pane)
    assert (state.session, state.dead, state.dead_status) == ("mc-MC-1", False, None)


def test_the_server_does_not_inherit_what_started_it(server: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_API_TOKEN", "canary-token")
    pane = start(server, "env; echo printed; sleep 300", SHOWN="yes")
    content = wait_for_text(server, pane, "printed")
    assert "SHOWN=yes" in content
    assert "canary" not in content


def test_a_dead_pane_stays_with_its_exit_code_and_its_text(server: Tmux) -> None:
    pane = start(server, "echo last words; read line; exit 3")
    wait_for_text(server, pane, "last words")
    server.send_keys(pane, "Enter")
    wait_until(lambda: find_pane(server, pane).dead, description="the end of the program")
    # tmux 3.3a may miss the exit code of a process for good; it never says another one.
    assert find_pane(server, pane).dead_status in (3, None)
    assert server.capture(pane, 10).strip() == "last words"


def test_a_single_word_is_executed_and_not_given_to_a_shell(server: Tmux, tmp_path: Path) -> None:
    program = tmp_path / "a $(touch owned) program"
    program.write_text("#!/bin/sh\necho started\nsleep 300\n")
    program.chmod(0o755)
    pane = server.new_session("mc-MC-2", [str(program)], tmp_path, {})
    wait_for_text(server, pane, "started")
    assert not (tmp_path / "owned").exists()


def test_a_second_session_of_the_same_name_waits_for_the_first_to_die(server: Tmux) -> None:
    other = start(server, "sleep 300", name="mc-MC-13")
    first = start(server, "read line; exit 0")
    with pytest.raises(SessionTaken):
        start(server, "sleep 300")
    server.send_keys(first, "Enter")
    wait_until(lambda: find_pane(server, first).dead, description="the first pane to die")
    second = start(server, "sleep 300")
    assert {pane.id for pane in server.list_panes()} == {other, second}


def test_text_of_any_kind_and_length_is_typed_exactly(server: Tmux, tmp_path: Path) -> None:
    text = '-l semi; "quoted" $HOME;\n' + "x" * 1700 + "\nsecond;\n" + "y" * 600
    pane = start(server, f"stty -icanon -echo; printf ready; head -c {len(text)} > {tmp_path}/typed; sleep 300")
    wait_for_text(server, pane, "ready")
    server.send_text(pane, text)
    wait_until(lambda: (tmp_path / "typed").stat().st_size == len(text), description="the text")
    assert (tmp_path / "typed").read_text() == text


def test_pasted_text_arrives_whole(server: Tmux, tmp_path: Path) -> None:
    text = "first\n" + "z" * 20_000
    pane = start(server, f"stty -icanon -echo; printf ready; head -c {len(text)} > {tmp_path}/typed; sleep 300")
    wait_for_text(server, pane, "ready")
    server.paste(pane, text)
    wait_until(lambda: (tmp_path / "typed").stat().st_size >= len(text) - 2, description="the text")
    assert (tmp_path / "typed").read_text().endswith("z" * 20_000)


def test_what_a_pane_prints_is_piped_to_a_private_file_of_any_name(server: Tmux, tmp_path: Path) -> None:
    log = tmp_path / "it's 100%s #{pane_id} log.txt"
    pane = start(server, "read line; echo answer $line; sleep 300")
    server.pipe(pane, log)
    server.send_text(pane, "42")
    server.send_keys(pane, "Enter")
    wait_until(lambda: log.exists() and "answer 42" in log.read_text(), description="the log")
    assert log.stat().st_mode & 0o777 == 0o600


def test_scrolled_lines_are_captured_up_to_the_number_asked_for(server: Tmux) -> None:
    pane = start(server, "seq 1 500; echo end; sleep 300")
    wait_for_text(server, pane, "end")
    assert server.capture(pane, 101).splitlines() == [*map(str, range(401, 501)), "end"]


def test_a_pane_is_resized(server: Tmux) -> None:
    pane = start(server, "read line; stty size; sleep 300")
    server.resize(pane, 123, 45)
    server.send_keys(pane, "Enter")
    wait_for_text(server, pane, "45 123")


def test_no_server_is_an_answer_of_its_own(server: Tmux) -> None:
    with pytest.raises(NoServer):
        server.list_panes()
    server.kill_pane(start(server, "sleep 300"))
    with pytest.raises(NoServer):
        server.list_panes()


def test_an_unknown_pane_is_a_failure(server: Tmux) -> None:
    start(server, "sleep 300")
    with pytest.raises(TmuxFailed):
        server.capture("%999", 10)


def test_a_missing_tmux_is_named(folder: Path) -> None:
    with pytest.raises(TmuxMissing):
        Tmux("mc-test", folder, binary="no-such-tmux").list_panes()


def test_a_failing_tmux_is_a_failure_and_not_an_empty_list(fake: Callable[[str], Tmux]) -> None:
    with pytest.raises(TmuxFailed, match="lost server"):
        fake("echo 'lost server' >&2; exit 1").list_panes()


def test_a_hanging_tmux_is_given_up_with_its_children(fake: Callable[[str], Tmux], tmp_path: Path) -> None:
    hung_server = fake(f"sleep 300 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(TmuxHung):
        hung_server.list_panes()
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: processes.identify(child) is None, description="the child to be gone")


@pytest.mark.parametrize("output", ["", "%0|12", "garbage", "%0|12|0||mc-MC-1\\nrubbish", "%x|1|0||a", "%0|1|0||"])
def test_garbage_is_an_error_and_not_an_empty_list(fake: Callable[[str], Tmux], output: str) -> None:
    with pytest.raises(TmuxGarbage):
        fake(f"printf '{output.replace('%', '%%')}'").list_panes()


def test_garbage_in_place_of_a_pane_id_is_an_error(fake: Callable[[str], Tmux]) -> None:
    with pytest.raises(TmuxGarbage):
        start(
            fake("case $* in *list-panes*) echo 'no server running on x' >&2; exit 1;; esac; echo hello"),
            "true",
        )


@pytest.mark.parametrize("name", ["MC-1", "mc-", "mc-a:b", "mc-a.b", "mc-=x", "mc-a b", "-t", "mc-a\n", ""])
def test_a_strange_session_name_is_refused(server: Tmux, name: str) -> None:
    with pytest.raises(ValueError, match="not a session name"):
        start(server, "sleep 300", name=name)


@pytest.mark.parametrize("pane", ["0", "%", "%1;kill-server", "mc-MC-1", "-t", "%1\n"])
def test_a_strange_pane_id_is_refused(server: Tmux, pane: str) -> None:
    with pytest.raises(ValueError, match="not a pane id"):
        server.kill_pane(pane)


def test_a_folder_open_to_others_is_refused(server: Tmux, folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(TmuxFailed, match="open to others"):
        start(server, "sleep 300")
    with pytest.raises(NoServer):
        server.list_panes()
