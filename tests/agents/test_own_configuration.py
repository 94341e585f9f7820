"""The configuration of the operator and of the repository in conversations with the real programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs import spec_builder
from jobs.run_configuration import ConfigurationChoice, choose_configuration
from models import Profile, Project
from settings import Ambient, Settings
from tests.model_server import ModelServer
from tests.workers.repositories import commit, create_repository, git
from tests.workers.runs import build_spec
from tickets.runs.run_configuration import RunConfiguration
from tickets.team.projects import TrustState
from workers.agents import create_agent, own_configuration
from workers.agents.own_configuration import replace_folders
from workers.contract.spec import RunSpec
from workers.repository import configuration
from workers.repository.workspace import Workspace

from . import ping_server
from .conftest import Start
from .programs import both

SKILL = "---\nname: {name}\ndescription: {name} of a person\n---\nDo it.\n"


@dataclass(frozen=True)
class Scene:
    """A home folder and a project with configuration of each kind. Servers and hooks leave files in `traces`."""

    settings: Settings
    home: Path
    project: Project
    workspace: Workspace
    traces: Path

    def choose(self, program: str, **fields: Any) -> ConfigurationChoice:
        profile = Profile(program=program, **{"own_configuration": True, **fields})
        return choose_configuration(self.settings, profile, self.project, self.workspace)


@pytest.fixture
def scene(folder: Path) -> Scene:
    home, traces, repository = folder / "home", folder / "traces", create_repository(folder / "project")
    traces.mkdir()
    _set_up_home(home, traces)
    _set_up_repository(repository, traces)
    worktree = folder / "worktree"
    git(repository, "worktree", "add", "--quiet", "-b", "mc/MC-3", str(worktree))
    settings = Settings(home=folder / "mc", ambient=Ambient(environment={"HOME": str(home)}))
    workspace = Workspace(worktree, repository, "mc/MC-3", None, "main", reused=False)
    return Scene(settings, home, Project(folder=str(repository), base_branch="main"), workspace, traces)


def _set_up_home(home: Path, traces: Path) -> None:
    for name in (".claude", ".codex"):
        (home / name / "skills" / "polish").mkdir(parents=True)
        (home / name / "skills/polish/SKILL.md").write_text(SKILL.format(name=f"polish-{name[1:]}"))
    settings = {"env": {"OWN_VARIABLE": "canary-variable"}, "permissions": {"allow": ["WebFetch"]}}
    (home / ".claude/settings.json").write_text(json.dumps(settings | {"hooks": _build_hooks(traces, "own-hook")}))
    (home / ".claude.json").write_text(json.dumps({"mcpServers": {"mine": _build_server("mine", traces)}}))
    (home / "secret.md").write_text("canary-secret\n")
    (home / ".claude/CLAUDE.md").write_text("canary-own-instructions\n")
    (home / ".codex/AGENTS.md").write_text("canary-own-instructions\n")
    (home / ".codex/config.toml").write_text('approval_policy = "never"\n' + _format_server("mine", "mine", traces))


def _set_up_repository(folder: Path, traces: Path) -> None:
    for name in (".claude", ".codex"):
        (folder / name).mkdir()
    (folder / ".claude/settings.json").write_text(json.dumps({"hooks": _build_hooks(traces, "claude-hook")}))
    (folder / ".codex/hooks.json").write_text(json.dumps({"hooks": _build_hooks(traces, "codex-hook")}))
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"theirs": _build_server("claude-theirs", traces)}}))
    (folder / ".codex/config.toml").write_text(_format_server("theirs", "codex-theirs", traces))
    for name in ("CLAUDE.md", "AGENTS.md"):
        (folder / name).write_text("canary-repository-instructions\n@~/secret.md\n- *@~/secret.md*\n")
    commit(folder, "Configure the agents")


def _build_hooks(traces: Path, name: str) -> dict[str, Any]:
    return {"SessionStart": [{"hooks": [{"type": "command", "command": f"touch {traces / name}"}]}]}


def _build_server(name: str, traces: Path) -> dict[str, Any]:
    return {"command": sys.executable, "args": [ping_server.__file__, name, str(traces)]}


def _format_server(key: str, name: str, traces: Path) -> str:
    fields = "".join(f"{field} = {json.dumps(value)}\n" for field, value in _build_server(name, traces).items())
    return f"[mcp_servers.{key}]\n{fields}"


def get_record(choice: ConfigurationChoice) -> RunConfiguration:
    assert choice.record
    return choice.record


def list_files(home: Path) -> dict[Path, int]:
    """List the operator's files of both programs, with their times. Claude Code's sandbox makes an empty folder there."""
    paths = [home / ".claude.json", *(home / ".claude").rglob("*"), *(home / ".codex").rglob("*")]
    return {path: path.stat().st_mtime_ns for path in paths if path != home / ".claude/ssh" or any(path.iterdir())}


@pytest.mark.agents
@both
def test_a_run_takes_what_the_operator_has_and_what_a_trusted_repository_brings(
    program: str, scene: Scene, spec: Callable[..., RunSpec], start: Start, model: ModelServer, folder: Path
) -> None:
    """Regression: an untrusted repository's hooks ran in every headless Claude, and its servers in every Codex."""

    def call_server(choice: ConfigurationChoice, server: str) -> tuple[str, str]:
        """Return the output of a call, and the requests that the model got."""
        first, name = len(model.requests), str(uuid4())
        run_spec = spec(
            program,
            mcp_command=None,
            workspace=str(scene.workspace.path),
            repository=str(scene.workspace.repository),
            own_home=str(choice.own_home),
            repository_configuration=choice.repository,
            conversation_id=name,
            config_dir=str(folder / name),
        )
        tool = f"mcp__{server}__ping" if program == "claude" else f"mcp__{server}/ping"
        conversation = start(run_spec, f"[[tool: {tool} {{}}]][[say: Over.]]")
        assert conversation.until("result").payload["ok"] is True, conversation.describe_events()
        [result] = conversation.list_events("tool_result")
        return result.payload["output"], json.dumps([request.body for request in model.requests[first:]])

    files = list_files(scene.home)
    choice = scene.choose(program)
    output, requests = call_server(choice, "mine")

    assert output.strip() == ("pong from mine canary-variable" if program == "claude" else "pong from mine")
    for canary in ("canary-own-instructions", f"polish-{program}", "canary-repository-instructions"):
        assert canary in requests, canary
    assert "canary-secret" not in requests, "a repository's instructions import nothing of the operator's"
    assert [file.name for file in scene.traces.iterdir()] == ["mine"]
    facts, file = dict(get_record(choice).list_facts()), {"claude": "CLAUDE.md", "codex": "AGENTS.md"}[program]
    phrases = f"1 MCP server: mine; 1 skill; instructions from ~/.{program}/{file}"
    assert facts["Yours"] == (f"{phrases}; settings: env" if program == "claude" else phrases)
    rest = {"claude": "1 hook; 1 permission rule", "codex": "settings: approval_policy"}
    assert facts["Not taken"] == rest[program]
    assert "nobody has trusted" in get_record(choice).notice

    scene.project.trusted_digest = configuration.read_branch(Path(scene.project.folder), "main").digest
    choice = scene.choose(program)
    output, _ = call_server(choice, "theirs")

    assert output.startswith(f"pong from {program}-theirs") and get_record(choice).notice == ""
    assert {file.name for file in scene.traces.iterdir()} == {"mine", f"{program}-hook", f"{program}-theirs"}
    assert list_files(scene.home) == files, "a run never writes into the home folder"


def test_a_workspace_is_judged_by_its_own_files(scene: Scene) -> None:
    scene.project.trusted_digest = configuration.read_branch(Path(scene.project.folder), "main").digest
    assert scene.choose("claude").repository == "trusted"
    folder = scene.workspace.path
    for change in (
        lambda: (folder / ".mcp.json").write_text('{"mcpServers": {}}'),
        lambda: (folder / ".claude/unknown.sh").write_text("#!/bin/sh\n"),
        lambda: (folder / ".codex/hooks.json").unlink(),
    ):
        change()
        choice = scene.choose("claude")
        assert (choice.repository, get_record(choice).trust) == ("untrusted", TrustState.CHANGED)
        git(folder, "checkout", "--quiet", ".")
        git(folder, "clean", "--quiet", "--force", "-d")
    config = folder / ".codex/config.toml"
    config.write_bytes(config.read_bytes().replace(b"\n", b"\r\n"))
    (folder / ".claude/settings.local.json").write_text('{"permissions": {"allow": ["Bash"]}}')
    assert scene.choose("claude").repository == "trusted", "no run reads the local settings"
    (folder / ".claude/agents").symlink_to("../agents")
    assert "is a link" in get_record(scene.choose("claude")).notice
    (folder / ".claude/agents").unlink()
    with (folder / ".codex/large").open("wb") as file:
        file.truncate(configuration.MAX_BYTES + 1)
    assert "more than" in get_record(scene.choose("claude")).notice


def test_variables_of_a_provider_and_of_servers_reach_the_run_and_their_values_are_secret(scene: Scene) -> None:
    config = """
    model_provider = "own"
    model_providers = {own = {env_key = "OWN_API_KEY"}, other = {env_key = "UNUSED"}}
    [mcp_servers.far]
    url = "http://127.0.0.1:9"
    bearer_token_env_var = "FAR_TOKEN"
    http_headers = {Authorization = "Bearer s3cret-of-far"}
    [mcp_servers.near]
    command = "near"
    env_vars = ["NEAR", "MC_HOME", "not a name"]
    env = {NEAR_KEY = "s3cret-of-near", LEVEL = "debug-level"}
    """
    (scene.home / ".codex/config.toml").write_text(config)
    choice = scene.choose("codex")
    assert choice.variables == ["OWN_API_KEY", "FAR_TOKEN", "NEAR"]
    assert set(spec_builder.find_secrets(choice.own.values)) == {"s3cret-of-far", "s3cret-of-near"}

    servers = {"near": {"command": "near", "args": ["${NEAR:-none}"], "headers": {"X": "${FAR_TOKEN}"}}}
    project = {"disabledMcpServers": ["off"], "mcpServers": {"here": {"command": "x"}, "off": {"command": "y"}}}
    state = {"mcpServers": servers, "projects": {scene.project.folder: project}}
    (scene.home / ".claude.json").write_text(json.dumps(state))
    choice = scene.choose("claude")
    assert (choice.variables, list(choice.own.servers)) == (["NEAR", "FAR_TOKEN"], ["near", "here"])


def test_a_folder_too_large_to_copy_and_links_that_lead_back_are_left_out(scene: Scene, folder: Path) -> None:
    skills = scene.home / ".claude/skills"
    (skills / "loop").symlink_to(skills)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/SKILL.md").write_text("Do it.\n")
    (skills / "linked").symlink_to(folder / "elsewhere")
    choice = scene.choose("claude")
    assert set(choice.own.skills) == {"linked", "polish"}
    (folder / "copies").mkdir()
    (folder / "copies/skills").symlink_to(skills)
    replace_folders(choice.own.folders, ["skills"], folder / "copies")
    assert (skills / "polish/SKILL.md").exists() and not (folder / "copies/skills").is_symlink()
    copies = sorted(str(path.relative_to(folder / "copies")) for path in (folder / "copies").rglob("SKILL.md"))
    assert copies == ["skills/linked/SKILL.md", "skills/polish/SKILL.md"]
    os.truncate(folder / "elsewhere/SKILL.md", own_configuration.MAX_BYTES + 1)
    choice = scene.choose("claude")
    assert choice.own.skills == () and ".claude/skills: more than" in get_record(choice).left_out[-1]


@pytest.mark.parametrize("program", ["claude", "codex"])
def test_instructions_of_an_untrusted_repository_do_not_lead_out_of_it(
    program: str, scene: Scene, folder: Path
) -> None:
    name = {"claude": "CLAUDE.md", "codex": "AGENTS.md"}[program]
    workspace, config_dir = scene.workspace.path, folder / "config"
    fields = {"workspace": str(workspace), "config_dir": str(config_dir), "repository_configuration": "untrusted"}
    for target, text in ((workspace / "readme.txt", "hello"), (scene.home / "secret.md", "")):
        (workspace / name).unlink()
        (workspace / name).symlink_to(target)
        create_agent(program).prepare(build_spec(folder, program=program, **fields), folder)
        assert (config_dir / name).read_text().strip() == text


def test_a_profile_may_leave_the_operators_configuration_out(scene: Scene) -> None:
    choice = scene.choose("claude", own_configuration=False)
    assert (choice.own_home, get_record(choice).own) == (None, ())
    assert dict(get_record(choice).list_facts())["Yours"] == "not taken, as the profile says"
    assert scene.choose("script") == ConfigurationChoice(), "it reads no configuration"
