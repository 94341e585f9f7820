"""Permissions of a run: the rules that hold for every agent program, before each adapter translates them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from protocol import COMMAND_PATTERN, DENIED_COMMANDS, Permissions
from workers.contract.spec import RunSpec
from workers.repository.runners import find_runners

Decision = Literal["allow", "ask", "deny"]
PLAIN_COMMAND = re.compile(r"""[\w./@%+=:,~ '"-]+""")
"""A command line in which a shell finds nothing to expand, to redirect or to chain."""
GIT_COMMANDS = ("git add", "git commit", "git checkout", "git switch", "git restore", "git stash", "git rm", "git mv")
"""Commands on the run's own branch and index."""


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """The answer of a run's permissions to a tool for which its program asks."""

    policy: Permissions = "workspace"
    allowed_commands: tuple[str, ...] = ()
    denied_commands: tuple[str, ...] = ()

    def decide(self, command: str) -> Decision:
        """Decide on a shell command, or with an empty one on any other tool."""
        if is_covered(command, self.denied_commands):
            return "deny"
        if self.policy == "unrestricted":
            return "allow"
        if self.policy != "read_only" and is_covered(command, self.allowed_commands):
            return "allow"
        return "ask" if self.policy == "ask" else "deny"


def build_request_policy(spec: RunSpec) -> RequestPolicy:
    """Build the policy of a run, in which a person at the screen is asked instead of being refused."""
    policy = RequestPolicy(spec.permissions, spec.allowed_commands, tuple(list_denied_commands(spec)))
    return replace(policy, policy="ask") if spec.attended else policy


def is_covered(command: str, prefixes: Iterable[str]) -> bool:
    """Return whether a command line is a single command that begins with the words of one of these."""
    if not PLAIN_COMMAND.fullmatch(command):
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return any(words[: len(prefix)] == prefix for prefix in map(str.split, prefixes))


def list_denied_commands(spec: RunSpec) -> list[str]:
    """List the commands that no run of the project may use, and without `unrestricted` those that leave its branch."""
    general = () if spec.permissions == "unrestricted" else DENIED_COMMANDS
    return [*general, *spec.denied_commands]


def list_usual_commands(spec: RunSpec) -> list[str]:
    """List what an agent may run without a sandbox: work on its branch, check, set-up and the repository's runners."""
    own = [shlex.join(argv) for argv in (spec.check, spec.setup) if argv]
    plain = [command for command in own if re.fullmatch(COMMAND_PATTERN, command)]
    return [*GIT_COMMANDS, *plain, *find_runners(Path(spec.workspace)), *spec.allowed_commands]
