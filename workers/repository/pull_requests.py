"""Open a pull request with the command line program of its forge, gh (GitHub) or glab (GitLab), as the operator."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress

from workers.host import commands

from . import isolation, landing
from .landing import LandingError, LandingJob

TIMEOUT_SECONDS = 120.0
URL_PATTERN = re.compile(r"https?://\S+")
QUIET_VARIABLES = {
    "GH_PROMPT_DISABLED": "1",
    "GH_NO_UPDATE_NOTIFIER": "1",
    "NO_PROMPT": "1",
    "NO_COLOR": "1",
    "GLAB_CHECK_UPDATE": "false",
}
LOGIN_VARIABLES = (
    *("GH_TOKEN", "GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GH_HOST", "GH_CONFIG_DIR"),
    *("GITLAB_TOKEN", "GITLAB_HOST", "GLAB_CONFIG_DIR", "XDG_DATA_HOME", "XDG_STATE_HOME"),
)
LIST_COMMANDS = {
    "gh": ("gh", "pr", "list", "--head={branch}", "--base={base}", "--state=open", "--json=url"),
    "glab": ("glab", "mr", "list", "--source-branch={branch}", "--target-branch={base}", "--output=json"),
}
CREATE_COMMANDS = {
    "gh": ("gh", "pr", "create", "--head={branch}", "--base={base}", "--title={title}", "--body={body}"),
    "glab": (
        *("glab", "mr", "create", "--source-branch={branch}", "--target-branch={base}", "--yes"),
        *("--title={title}", "--description={body}"),
    ),
}
HOSTS = {"gh": "github", "glab": "gitlab"}
"""The forge by a word in the remote's host name. Without a match, the only installed program is used."""


def open_pull_request(job: LandingJob) -> str | None:
    """Open a pull request from the ticket's branch, unless one is open. Returns its URL. Raises `LandingError`."""
    program = _choose_program(landing.require_address(job))
    facts = {"branch": job.branch, "base": job.base, "title": job.subject}
    facts["body"] = "\n".join(f"- {subject}" for subject in landing.list_subjects(job))
    if address := _parse_first_url(_run_program(job, [word.format(**facts) for word in LIST_COMMANDS[program]])):
        return address
    return _find_last_url(_run_program(job, [word.format(**facts) for word in CREATE_COMMANDS[program]]))


def _choose_program(remote: str) -> str:
    present = [program for program in HOSTS if shutil.which(program)]
    if not present:
        raise LandingError("Neither gh nor glab is installed here. Install one and log in, or approve another way.")
    host = re.split(r"[/:]", landing.strip_credentials(remote).split("://")[-1].split("@")[-1])[0].lower()
    candidates = [program for program, word in HOSTS.items() if word in host]
    usable = [program for program in candidates or present if program in present]
    if len(usable) == 1:
        return usable[0]
    why = (
        f"needs {candidates[0]}, which is not installed here"
        if candidates
        else "does not tell whether it is for gh or for glab"
    )
    raise LandingError(f"The remote {landing.strip_credentials(remote)} {why}. Resolve that, or approve another way.")


def _run_program(job: LandingJob, argv: list[str]) -> str:
    """Run the program and return its output. It uses the operator's own log-in, without prompts.

    The git that it calls is isolated like Mission Control's own, with the recorded address as its only remote.
    """
    env = isolation.build_program_environment(job.repository, landing.require_address(job), LOGIN_VARIABLES)
    done = commands.run(argv, timeout=TIMEOUT_SECONDS, cwd=job.repository, env=env | QUIET_VARIABLES)
    if done.timed_out:
        raise LandingError(
            f"The program {argv[0]} did not answer within {TIMEOUT_SECONDS:g} seconds. Approve again when it does."
        )
    if done.code != 0:
        message = landing.format_error(done)
        raise LandingError(
            f"The program {argv[0]} did not open a pull request: {message} Resolve that with {argv[0]}, then approve again."
        )
    return done.text


def _parse_first_url(output: str) -> str | None:
    """Parse the URL of the first pull request in a JSON list."""
    with suppress(ValueError):
        requests = json.loads(output)
        first = requests[0] if isinstance(requests, list) and requests else {}
        return first.get("url") or first.get("web_url")
    return None


def _find_last_url(output: str) -> str | None:
    urls = URL_PATTERN.findall(output)
    return str(urls[-1]) if urls else None
