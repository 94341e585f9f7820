"""The files that the report of a reviewer names, read from the repository before the transaction that depends on them."""

from __future__ import annotations

from pathlib import Path

import auth
from database import reading
from tickets.planning.assessments import NewAssessment
from tickets.runs import claims
from tickets.shared import lookup
from tickets.shared.errors import ConflictError
from tickets.workflow import code_reviews
from workers.repository import changes
from workers.repository.git import GitError

from .changes import hold_git_slot


def read_file_lengths(body: NewAssessment, ticket: str) -> dict[str, int] | None:
    """Count the lines of the files that a report names, None where the repository is on another machine."""
    instance = auth.get_instance()
    with reading(instance.engine) as session:
        work = lookup.get_for(session, ticket, auth.get_actor())
        review, run = code_reviews.find_subject(session, work.id), claims.find_last_in_repository(session, work.id)
    if review is None or run is None or not run.repository or run.host != instance.settings.machine_name:
        return None
    paths = dict.fromkeys(finding.path for finding in body.findings)
    try:
        with hold_git_slot():
            return changes.count_lines(Path(run.repository), review.commit_sha, paths)
    except (GitError, OSError) as error:
        raise ConflictError("The repository cannot be read now. Report again in a moment.") from error
