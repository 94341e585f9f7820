"""Opening a pull request with the program of its forge, in which the operator is logged in: gh (GitHub) or glab (GitLab)."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress

from workers.host import commands

from . import git, landing
from .landing import Job, LandingError

SECONDS = 120.0
ADDRESS = re.compile(r"https?://\S+")
QUIET = ("GH_PROMPT_DISABLED=1", "GH_NO_UPDATE_NOTIFIER=1", "NO_PROMPT=1", "NO_COLOR=1", "GLAB_CHECK_UPDATE=false")
LISTED = {
    "gh": ("gh", "pr", "list", "--head={branch}", "--base={base}", "--state=open", "--json=url"),
    "glab": ("glab", "mr", "list", "--source-branch={branch}", "--target-branch={base}", "--output=json"),
}
OPENED = {
    "gh": ("gh", "pr", "create", "--head={branch}", "--base={base}", "--title={title}", "--body={body}"),
    "glab": (
        *("glab", "mr", "create", "--source-branch={branch}", "--target-branch={base}", "--yes"),
        *("--title={title}", "--description={body}"),
    ),
}
HOSTS = {"gh": "github", "glab": "gitlab"}
"""What the remote's address says of its forge; where it says nothing, the only program that is there is asked."""


def open_request(job: Job, remote: str) -> str | None:
    """Open a pull request from the ticket's branch, unless one is open; its address. Raises `LandingError`."""
    program = _fitting(git.ask(job.repository, "remote", "get-url", "--", remote))
    facts = {"branch": job.branch, "base": job.base, "title": job.subject}
    facts["body"] = "\n".join(f"- {subject}" for subject in landing.subjects(job))
    if address := _known(_ask(job, [word.format(**facts) for word in LISTED[program]])):
        return address
    return _last_address(_ask(job, [word.format(**facts) for word in OPENED[program]]))


def _fitting(remote: str) -> str:
    present = [program for program in HOSTS if shutil.which(program)]
    if not present:
        raise LandingError("Neither gh nor glab is installed here. Install one and log in, or approve another way.")
    host = re.split(r"[/:]", landing.without_credentials(remote).split("://")[-1].split("@")[-1])[0].lower()
    named = [program for program, word in HOSTS.items() if word in host]
    fitting = [program for program in named or present if program in present]
    if len(fitting) == 1:
        return fitting[0]
    why = (
        f"needs {named[0]}, which is not installed here" if named else "does not tell whether it is for gh or for glab"
    )
    raise LandingError(f"The remote {landing.without_credentials(remote)} {why}. Settle that, or approve another way.")


def _ask(job: Job, argv: list[str]) -> str:
    """What the program prints. It uses the operator's own log-in and asks nothing."""
    unset = [word for name in git.UNSET for word in ("-u", name)]
    done = commands.run(["env", *unset, *QUIET, *argv], timeout=SECONDS, cwd=job.repository)
    if done.timed_out:
        raise LandingError(
            f"The program {argv[0]} did not answer within {SECONDS:g} seconds. Approve again when it does."
        )
    if done.code != 0:
        said = landing.complaint(done)
        raise LandingError(
            f"The program {argv[0]} did not open a pull request: {said} Settle that with {argv[0]}, then approve again."
        )
    return done.text


def _known(listed: str) -> str | None:
    """The address of the first request of a JSON list."""
    with suppress(ValueError):
        found = json.loads(listed)
        first = found[0] if isinstance(found, list) and found else {}
        return first.get("url") or first.get("web_url")
    return None


def _last_address(said: str) -> str | None:
    found = ADDRESS.findall(said)
    return str(found[-1]) if found else None
