"""Programs are found with their version, and a log-in is seen without reading it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.agents import probe
from workers.agents.probe import ProbeResult


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def write_program(folder: Path, name: str, script: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def find_program(home: Path, name: str, *variables: str, **binaries: str) -> ProbeResult:
    return next(program for program in probe.probe_programs(home, variables, binaries) if program.name == name)


def test_the_real_tools_tell_their_versions(home: Path) -> None:
    for name in ("git", "tmux"):
        tool = find_program(home, name)
        assert tool.found
        assert tool.version
        assert tool.version[0].isdigit()
        assert (tool.logged_in, tool.advice) == (None, "")


def test_a_missing_program_comes_with_advice(home: Path) -> None:
    assert find_program(home, "claude", claude="no-such-program") == ProbeResult(
        "claude", None, None, False, None, "Install Claude Code, or work with another agent."
    )


@pytest.mark.parametrize(
    ("name", "credentials", "variable"),
    [("claude", ".claude/.credentials.json", "ANTHROPIC_API_KEY"), ("codex", ".codex/auth.json", "OPENAI_API_KEY")],
)
def test_a_log_in_is_seen_by_its_file_or_variable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, credentials: str, variable: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    binary = {name: write_program(tmp_path, name, "echo '2.1.329 (An agent)'")}
    out = find_program(home, name, **binary)
    assert (out.version, out.logged_in) == ("2.1.329", False)
    assert "log" in out.advice
    assert find_program(home, name, variable, **binary).logged_in
    (home / credentials).parent.mkdir()
    (home / credentials).write_text("unreadable, and never read")
    (home / credentials).chmod(0)
    logged_in = find_program(home, name, **binary)
    assert (logged_in.logged_in, logged_in.advice) == (True, "")


@pytest.mark.parametrize(
    ("name", "file", "text", "works"),
    [
        ("claude", ".claude/settings.json", '{"apiKeyHelper": "pass show key"}', True),
        ("claude", ".claude/settings.json", '{"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}', True),
        ("claude", ".claude/settings.json", '{"env": {"ANTHROPIC_BASE_URL": "http://localhost"}}', False),
        ("codex", ".codex/config.toml", 'model_provider = "a"\n[model_providers.a]\nenv_key = "A_KEY"', True),
        ("codex", ".codex/config.toml", 'model_provider = "a"\n[model_providers.a]\nenv_key = "B_KEY"', False),
        ("codex", ".codex/config.toml", 'model_provider = "ollama"', True),
        ("codex", ".codex/config.toml", '[model_providers.a]\nname = "A"', False),
        ("codex", ".codex/config.toml", "model_provider = ", False),
    ],
)
def test_a_key_or_provider_in_the_programs_settings_is_a_log_in(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, text: str, works: bool
) -> None:
    """Regression: whoever had set up a provider was called not logged in."""
    monkeypatch.setattr("sys.platform", "linux")
    (home / file).parent.mkdir()
    (home / file).write_text(text)
    program = write_program(tmp_path, name, "echo 2.1.0")
    assert find_program(home, name, "A_KEY", **{name: program}).logged_in is works


def test_a_keychain_leaves_the_log_in_unknown(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert find_program(home, "claude", claude=write_program(tmp_path, "claude", "echo 2.1.0")).logged_in is None


@pytest.mark.parametrize("script", ["exit 1", "echo no version here", "sleep 300"])
def test_a_broken_program_is_found_but_said_to_be_broken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(probe, "VERSION_SECONDS", 0.3)
    program = find_program(home, "node", node=write_program(tmp_path, "node", script))
    assert (program.found, program.version) == (True, None)
    assert "may be broken" in program.advice


def test_a_machine_without_bubblewrap_says_what_holds_instead(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    result = find_program(home, "sandbox")
    assert not result.found and result.advice.startswith(
        "Bwrap is not installed. Until then Claude Code runs an allow-list"
    )
