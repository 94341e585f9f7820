"""What a run is given, and what it is never given."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

import pytest

from jobs import spec_builder
from models import AgentSession, Profile, Run, RunMode
from protocol import RunLimits
from settings import Ambient, Settings
from workers.agents import credentials, transcripts

AMBIENT_VARIABLES = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/alice",
    "ANTHROPIC_API_KEY": "canary-key",
    "DEBUG": "1",
    "SHORT_KEY": "abc",
}
with_transcripts = pytest.mark.parametrize(
    ("program", "path"),
    [("claude", "projects/-srv-web/c-1.jsonl"), ("codex", "sessions/2026/11/21/rollout-2026-11-21T12-00-00-c-1.jsonl")],
)
"""Where each program writes conversation c-1 down, below its configuration folder."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", ambient=Ambient(environment=AMBIENT_VARIABLES))


def build_profile(**changes: object) -> Profile:
    values = {"name": "p", "program": "claude", "mode": RunMode.HEADLESS, "permissions": "ask", "limits": {}}
    return Profile(**values | {"argv": [], "env_allow": []} | changes)


def test_an_agent_gets_what_its_profile_allows_and_nothing_else(settings: Settings) -> None:
    environment = spec_builder.build_environment(
        settings, build_profile(env_allow=["ANTHROPIC_API_KEY", "MC_API_TOKEN", "ABSENT"]), 7
    )

    assert environment["ANTHROPIC_API_KEY"] == "canary-key" and environment["HOME"] == "/home/alice"
    assert not {"DEBUG", "MC_API_TOKEN", "ABSENT"} & environment.keys()
    assert environment["MC_RUN_ID"] == f"{settings.instance}-7"
    assert environment["LANG"] and environment["TERM"]


def test_values_that_look_like_secrets_are_redacted_unless_they_are_everywhere(settings: Settings) -> None:
    environment = spec_builder.build_environment(
        settings, build_profile(env_allow=["ANTHROPIC_API_KEY", "DEBUG", "SHORT_KEY"]), 7
    )

    assert spec_builder.find_secrets(environment) == ("canary-key",)


def test_every_value_that_a_person_has_listed_is_a_secret_and_so_is_the_password_of_a_url() -> None:
    """Regression: only values whose names looked secret were redacted, so `DATABASE_URL` was shown whole."""
    environment = {
        "DATABASE_URL": "postgres://me:hunter22@db/x",
        "SETTING": "12345678",
        "MODE": "1234567",
        "PYTHONPATH": "/srv/python/lib",
        "EDITOR": "/usr/bin/vim",
        "LANG": "de_DE.UTF-8",
        "HTTPS_PROXY": "http://user:pr0xy-pw@proxy:8080",
        "UNLISTED": "a value of nobody",
    }
    listed_names = environment.keys() - {"UNLISTED", "HTTPS_PROXY"}
    secrets = spec_builder.find_secrets(environment, listed_names)
    assert secrets == ("postgres://me:hunter22@db/x", "12345678", "hunter22", "pr0xy-pw")


def test_a_profile_sets_its_own_limits_in_the_types_that_the_wrapper_reads(settings: Settings, tmp_path: Path) -> None:
    own = {"run_seconds": 60.5, "turns": 5.0, "tokens": 1e6, "cost_usd": 2.5, "memory_mb": 512.0}

    limits = spec_builder.build_limits(settings, build_profile(limits=own))

    assert (limits.run_seconds, limits.turns, limits.tokens, limits.cost_usd) == (60.5, 5, 1_000_000, 2.5)
    assert isinstance(limits.turns, int) and limits.silence_seconds == settings.limits.silence_seconds
    assert (
        spec_builder.format_memory_limit(build_profile(limits=own)) == "512M"
        and spec_builder.format_memory_limit(build_profile()) is None
    )
    assert RunLimits(**{name: getattr(limits, name) for name in limits.__slots__}) == limits


@with_transcripts
def test_a_conversation_is_resumed_only_where_its_program_has_kept_it(
    program: str, path: str, settings: Settings, tmp_path: Path
) -> None:
    """Regression: one whose program was killed before it wrote anything down was resumed in vain, twice, then blocked."""
    run = Run(id=9, resumes=True, program=program, conversation_id="c-1", config_dir=str(tmp_path))

    new_conversation = spec_builder.choose_conversation(settings, run, None)

    assert str(uuid.UUID(new_conversation.id)) == new_conversation.id != "c-1" and not new_conversation.resume
    assert new_conversation.config_dir == settings.run_path(9) / "config"
    transcript = tmp_path / path
    transcript.parent.mkdir(parents=True)
    transcript.write_text('{"type":"queue-operation"}\n{"type":"user"}\n')
    assert spec_builder.choose_conversation(settings, run, None) == spec_builder.RunConversation(
        "c-1", True, None, tmp_path
    )


def test_a_conversation_of_which_only_the_beginning_was_queued_is_begun_anew(
    settings: Settings, tmp_path: Path
) -> None:
    run = Run(id=9, resumes=True, program="claude", conversation_id="c-1", config_dir=str(tmp_path))
    (tmp_path / "projects/-srv-web").mkdir(parents=True)
    (tmp_path / "projects/-srv-web/c-1.jsonl").write_text('{"type":"queue-operation"}\n')
    assert not spec_builder.choose_conversation(settings, run, None).resume


@with_transcripts
def test_a_fork_has_a_copy_of_what_was_written_in_a_folder_of_its_own(
    program: str, path: str, settings: Settings, tmp_path: Path
) -> None:
    run = Run(id=9, resumes=False, program=program)
    source = AgentSession(id="c-1", program=program, config_dir=str(tmp_path))
    assert spec_builder.choose_conversation(settings, run, source).forks is None
    transcript = tmp_path / path
    transcript.parent.mkdir(parents=True)
    transcript.write_text('{"type":"user"}\n{"type":"assis')

    fork = spec_builder.choose_conversation(settings, run, source)

    assert (fork.resume, fork.forks, fork.config_dir) == (False, "c-1", settings.run_path(9) / "config")
    assert str(uuid.UUID(fork.id)) == fork.id and (fork.config_dir / path).read_text() == '{"type":"user"}\n'
    assert stat.S_IMODE(fork.config_dir.stat().st_mode) == 0o700 and transcript.exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "unended", "hole"])
def test_what_is_no_conversation_is_not_copied_and_keeps_nobody_waiting(
    kind: str, settings: Settings, tmp_path: Path
) -> None:
    """Regression: a pipe in the place of a transcript held the dispatcher for ever, and a link had any file copied."""
    transcript = tmp_path / "projects/-srv-web/c-1.jsonl"
    transcript.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text('{"type":"user"}\n')
    match kind:
        case "pipe":
            os.mkfifo(transcript)
        case "link":
            transcript.symlink_to(tmp_path / "elsewhere")
        case "folder":
            transcript.mkdir()
        case "hole":
            transcript.touch()
            os.truncate(transcript, transcripts.MAX_FILE_BYTES)
        case _:
            transcript.write_text('{"type":"user"}')
    source = AgentSession(id="c-1", program="claude", config_dir=str(tmp_path))
    assert spec_builder.choose_conversation(settings, Run(id=9, resumes=False, program="claude"), source).forks is None


def test_a_program_that_is_not_there_is_named(settings: Settings) -> None:
    assert spec_builder.find_binary(settings, "script") is None
    with pytest.raises(spec_builder.ProgramMissing, match="no-such-claude"):
        spec_builder.find_binary(settings.model_copy(update={"claude_binary": Path("no-such-claude")}), "claude")
    with pytest.raises(spec_builder.ProgramMissing, match="cannot run the program sh: choose another in the profile"):
        spec_builder.find_binary(settings, "sh")


def test_a_log_in_is_lent_as_a_link_and_never_copied(tmp_path: Path) -> None:
    home, config = tmp_path / "alice", tmp_path / "config"
    assert not credentials.link_credentials("claude", home, config)
    (home / ".claude").mkdir(parents=True)
    secret = home / ".claude" / ".credentials.json"
    secret.write_text("{}")

    assert credentials.link_credentials("claude", home, config) and credentials.link_credentials("claude", home, config)

    assert (config / ".credentials.json").readlink() == secret
    assert config.stat().st_mode & 0o777 == 0o700
    assert not credentials.link_credentials("script", home, config)


def test_a_log_in_that_the_program_renewed_is_kept_until_the_operator_logs_in_again(tmp_path: Path) -> None:
    home, config = tmp_path / "alice", tmp_path / "config"
    (home / ".codex").mkdir(parents=True)
    secret = home / ".codex" / "auth.json"
    secret.write_text("old")
    os.utime(secret, (1000, 1000))
    config.mkdir(mode=0o700)
    (config / "auth.json").write_text("renewed")

    assert credentials.link_credentials("codex", home, config)
    assert (config / "auth.json").read_text() == "renewed"

    os.utime(config / "auth.json", (500, 500))
    assert credentials.link_credentials("codex", home, config)
    assert (config / "auth.json").read_text() == "old"


def test_a_confined_agent_reads_no_keys_of_its_user_or_of_this_instance(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "alice/.ssh").mkdir(parents=True)
    settings.ensure_home()
    folders = spec_builder.find_hidden_folders(settings, {"HOME": str(tmp_path / "alice")})
    assert folders == (str(tmp_path / "alice/.ssh"), str(settings.secrets_dir), str(settings.backups_dir))
