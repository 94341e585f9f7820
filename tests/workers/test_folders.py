from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.host import files, private_dirs

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of somebody whom permissions bind; those of pytest are closed to all but their maker."""
    folder = Path(tempfile.mkdtemp())
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def is_possible(work: Callable[[], object]) -> bool:
    """Whether the work can be done by somebody who is not root."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def create_locked_folders(folder: Path) -> None:
    """What a build tool leaves: read-only folders within each other, and a link that leads out."""
    inner = folder / "cache" / "module"
    inner.mkdir(parents=True)
    (inner / "source").write_text("x")
    (inner / "out").symlink_to(folder.parent / "kept")
    for locked in (inner, inner.parent):
        locked.chmod(0o500)


def test_a_folder_goes_with_what_its_maker_has_locked_and_without_what_it_points_to(place: Path) -> None:
    """The first one that resisted ended the clearing of all others, day after day."""
    target = place / "kept"

    def work() -> None:
        target.mkdir(mode=0o500)
        create_locked_folders(place / "run")
        private_dirs.remove_tree(place / "run")

    assert is_possible(work)
    assert not (place / "run").exists()
    assert target.is_dir() and target.stat().st_mode & 0o777 == 0o500


def test_what_stands_in_the_way_is_set_aside_and_kept(tmp_path: Path) -> None:
    assert private_dirs.move_away(tmp_path / "12") is None
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "report.json").write_text("{}")
    replaced_folder = private_dirs.move_away(tmp_path / "12")
    assert replaced_folder is not None and (replaced_folder / "report.json").read_text() == "{}"
    assert not (tmp_path / "12").exists()


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "spec.json"
    files.replace(target, b"old")
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, old_limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.replace(target, b"x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"old", [target])


def test_a_draft_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "spec.json"
    victim.write_bytes(b"precious")
    (tmp_path / "spec.json.new").symlink_to(victim)
    files.replace(target, b"new")
    assert (victim.read_bytes(), target.read_bytes(), target.is_symlink()) == (b"precious", b"new", False)
