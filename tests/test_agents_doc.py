"""The commands of docs/agents.md, each run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from mc_cli import main

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```sh\n(bin/mc .*?)^```$", re.MULTILINE | re.DOTALL)


def list_commands() -> list[list[str]]:
    """The command lines of the document, without comments; a quoted text may have several lines."""
    blocks = BLOCK.findall((ROOT / "docs/agents.md").read_text("utf-8"))
    texts = [text for block in blocks for text in re.split(r"^bin/mc ", block, flags=re.MULTILINE) if text]
    return [shlex.split(text, comments=True) for text in texts]


def test_each_command_of_the_document_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    run = CliRunner()
    assert run.invoke(main, ["db", "upgrade"]).exit_code == 0

    results = {" ".join(argv): run.invoke(main, argv) for argv in list_commands()}

    assert len(results) == 5
    assert {name: result.output for name, result in results.items() if result.exit_code} == {}
    assert "Rework the export" in results["ticket show MC-2"].output
