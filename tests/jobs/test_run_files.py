"""The copies of a ticket's files that a run is given."""

from __future__ import annotations

import stat
import struct
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jobs import run_files
from models import Attachment, now
from protocol import AttachedFile
from tests.workers.runs import build_spec
from tickets.runs import prompt_attachments
from workers.contract import attached_files

FOLDER_NAME = "stored"


def build_png(width: int, height: int, size: int = 60) -> bytes:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return head + bytes(size - len(head))


def store(folder: Path, number: int, name: str, content: bytes, **changes: object) -> Attachment:
    """Store a file of a ticket, without a database."""
    (folder / FOLDER_NAME).mkdir(exist_ok=True)
    (folder / FOLDER_NAME / f"{number:032x}").write_bytes(content)
    media_type = "image/png" if content.startswith(b"\x89PNG") else "text/plain"
    facts = {"name": name, "media_type": media_type, "size": len(content), "created": now(), "run_id": None}
    return Attachment(id=number, stored_as=f"{number:032x}", **facts | changes)


def copy_files(folder: Path, *rows: Attachment, since: datetime | None = run_files.BEGINNING) -> list[AttachedFile]:
    return run_files.copy_files(folder / FOLDER_NAME, folder / "run", list(rows), since)


def test_copies_are_read_only_and_stay_in_their_folder(tmp_path: Path) -> None:
    names = ["../../x.txt", "Ansicht ü 1.png", "-rf", "..", "a" * 200 + ".txt"]
    files = copy_files(tmp_path, *(store(tmp_path, index, name, b"x") for index, name in enumerate(names, 1)))
    folder = tmp_path / "run/attachments"
    assert [Path(file.path).name for file in files] == [
        "1-_.._x.txt",
        "2-Ansicht_1.png",
        "3-rf",
        "4-file",
        "5-" + "a" * 76 + ".txt",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o400}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert attached_files.read_list(tmp_path / "run") == files


def test_images_that_a_service_takes_are_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "MAX_SHOWN_BYTES", 150)
    earlier = now() - timedelta(hours=1)
    rows = [
        store(tmp_path, 1, "old.png", build_png(9, 9), created=earlier),
        store(tmp_path, 2, "new.png", build_png(8000, 1)),
        store(tmp_path, 3, "wide.png", build_png(8001, 1)),
        store(tmp_path, 4, "evidence.png", build_png(9, 9), run_id=1),
        store(tmp_path, 5, "text.txt", b"text"),
        store(tmp_path, 6, "second.png", build_png(9, 9)),
        store(tmp_path, 7, "too-much.png", build_png(9, 9)),
    ]
    assert [file.id for file in copy_files(tmp_path, *rows, since=earlier) if file.is_shown] == [2, 6]
    assert [file.id for file in copy_files(tmp_path, *rows) if file.is_shown] == [1, 2]
    assert [file.id for file in copy_files(tmp_path, *rows, since=None) if file.is_shown] == []


def test_a_resumed_conversation_is_shown_only_what_is_new_and_a_screen_nothing(tmp_path: Path) -> None:
    start = now()
    specs = [
        build_spec(tmp_path, resume=resume, mode=mode)
        for resume, mode in ((False, "headless"), (True, "headless"), (True, "tui"))
    ]
    assert [run_files.choose_first_moment(spec, start) for spec in specs] == [run_files.BEGINNING, start, None]


def test_what_is_not_copied_is_named_and_left_to_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "MAX_COPIED_BYTES", 100)
    rows = [
        store(tmp_path, 1, "big.txt", bytes(101)),
        store(tmp_path, 2, "gone.txt", b"x"),
        store(tmp_path, 3, "a.txt", b"x"),
    ]
    (tmp_path / FOLDER_NAME / rows[1].stored_as).unlink()
    files = copy_files(tmp_path, *rows)
    assert [bool(file.path) for file in files] == [False, False, True]
    assert prompt_attachments.describe_attachments(files).splitlines()[4:] == [
        "- 1: big.txt (text/plain, 101 bytes)",
        "- 2: gone.txt (text/plain, 1 bytes)",
        f"- 3: {tmp_path}/run/attachments/3-a.txt (text/plain, 1 bytes)",
    ]
    assert prompt_attachments.describe_attachments([]) == ""
