from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until
from workers.run import spool
from workers.run.spool import Spool, SpoolPosition

PLENTY = 1_000_000


def fill(writer: Spool, count: int, event_type: str = "agent.text") -> None:
    for number in range(count):
        writer.append(event_type, {"n": number, "text": "x" * 100})


def list_seqs(run_dir: Path, after: int = 0) -> list[int]:
    return [event["run_seq"] for event in spool.replay_events(run_dir, after)]


def read_all(writer: Spool) -> list[int]:
    position = SpoolPosition()
    numbers: list[int] = []
    while True:
        lines, position = writer.batch(position, 7, 100_000)
        if not lines:
            return numbers
        numbers += [json.loads(line)["run_seq"] for line in lines]


def test_events_are_numbered_without_a_gap_and_replayed_in_order_over_all_segments(tmp_path: Path) -> None:
    writer = Spool(tmp_path, 80_000)
    fill(writer, 200)
    assert len(list(tmp_path.glob("events*.jsonl"))) > 2
    assert list_seqs(tmp_path) == list(range(1, 201))
    assert list_seqs(tmp_path, after=150) == list(range(151, 201))
    assert read_all(writer) == list(range(1, 201))


def test_a_reader_at_the_end_of_the_spool_sees_what_comes_later(tmp_path: Path) -> None:
    writer = Spool(tmp_path, 20_000)
    fill(writer, 1)
    lines, position = writer.batch(SpoolPosition(), 10, PLENTY)
    assert len(lines) == 1
    assert writer.batch(position, 10, PLENTY) == ([], position)
    fill(writer, 60)
    lines, _ = writer.batch(position, 1000, PLENTY)
    assert json.loads(lines[0])["run_seq"] == 2


def test_numbering_goes_on_after_a_crash_that_tore_the_last_line(tmp_path: Path) -> None:
    fill(Spool(tmp_path, PLENTY), 3)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"run_seq":4,"ts":"20')
    fill(Spool(tmp_path, PLENTY), 2)
    assert list_seqs(tmp_path) == [1, 2, 3, 4, 5]


def test_what_the_server_has_makes_room_first(tmp_path: Path) -> None:
    writer = Spool(tmp_path, 40_000)
    for _ in range(100):
        fill(writer, 10)
        writer.acknowledge(writer.last_seq)
    assert writer.lost == 0
    assert writer.last_seq == 1000
    assert sum(path.stat().st_size for path in tmp_path.glob("events*")) <= 40_000


def test_a_full_spool_keeps_only_essential_events_and_says_so_once(tmp_path: Path) -> None:
    writer = Spool(tmp_path, 40_000)
    fill(writer, 500)
    assert writer.append("agent.result", {"ok": True})
    types = [event["event_type"] for event in spool.replay_events(tmp_path)]
    assert types.count("agent.notice") == 1
    assert types[-1] == "agent.result"
    assert sum(path.stat().st_size for path in tmp_path.glob("events*")) <= 45_000


def test_a_spool_with_room_again_tells_how_many_events_were_not_kept(tmp_path: Path) -> None:
    writer = Spool(tmp_path, 40_000)
    fill(writer, 500)
    kept_count = writer.last_seq - 1
    writer.acknowledge(writer.last_seq)
    fill(writer, 1)
    notice, text = list(spool.replay_events(tmp_path))[-2:]
    assert notice["payload"]["text"] == f"{500 - kept_count} events were not kept while the spool was full."
    assert text["event_type"] == "agent.text"
    assert list_seqs(tmp_path)[-1] == writer.last_seq


def test_a_disk_that_refuses_a_line_gets_no_half_of_it(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from workers.run.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spool = Spool(Path(sys.argv[1]), 1_000_000)
kept = [spool.append("agent.text", {"text": "x" * 100}) for _ in range(20)]
print(sum(kept), spool.lost)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    kept_count, lost = map(int, done.stdout.split())
    assert kept_count + lost == 20
    assert (tmp_path / "events.jsonl").read_bytes().endswith(b"\n")
    assert list_seqs(tmp_path) == list(range(1, kept_count + 1))


def test_everything_written_before_a_kill_is_replayed(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from workers.run.spool import Spool
spool = Spool(Path(sys.argv[1]), 10_000_000)
while True:
    spool.append("agent.text", {"text": "x" * 1000})
    print(spool.last_seq, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout
    wait_until(lambda: (tmp_path / "events.jsonl").exists(), description="the spool")
    printed_seqs = [int(child.stdout.readline()) for _ in range(50)]
    child.kill()
    printed_seqs += [int(line) for line in child.stdout.read().split(b"\n")[:-1]]
    child.wait()
    numbers = list_seqs(tmp_path)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= printed_seqs[-1]


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from workers.run.spool import Spool

folder = Path(sys.argv[1])
writer = Spool(folder, 80_000)
def fill(count):
    return [writer.append("agent.text", {"text": "x" * 1000}) for _ in range(count)]
print(all(fill(8)))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no further file can be opened, as on a disk without inodes
print(all(fill(4)))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "events.jsonl").stat().st_size + 500, resource.RLIM_INFINITY))
print(any(fill(1)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(all(fill(20)))
"""


def test_a_spool_survives_a_full_disk_where_a_segment_begins(tmp_path: Path) -> None:
    """Regression: the next segment could not be opened, which ended the wrapper."""
    argv = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["True", "True", "False", "True"], done.stderr
    seqs = list_seqs(tmp_path)
    assert seqs == list(range(1, len(seqs) + 1)) and len(list(tmp_path.glob("events.*.jsonl"))) > 1
    assert not list(tmp_path.glob("*.new"))
