"""Assessments of reviewers: what one of them reports, strictly checked, and how those of a council become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy.orm import Session

from models import ActorKind, ReviewAssessment, ReviewVerdict, Severity, Ticket
from redaction import SHAPES
from tickets.shared import rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid
from tickets.shared.inputs import Body, FilePath, Prose, TagName, Title, Words
from tickets.workflow import code_reviews

MAX_FINDINGS = 50
MAX_DETAIL_CHARACTERS = 3000
MAX_SUMMARY_CHARACTERS = 8000
MAX_LINE = 10_000_000
VERDICTS = list(ReviewVerdict)
"""From the mildest to the strictest."""
SEVERITIES = list(Severity)
"""From the gravest to the mildest."""


def require_relative(path: str) -> str:
    """Return a path within a repository. Raises ValueError for any other."""
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("must be a path within the repository, as in src/a.py")
    return path


RepositoryPath = Annotated[FilePath, AfterValidator(require_relative)]


class NewFinding(Body):
    """One defect at one line of a file, counted from 1 in the commit that is reviewed."""

    severity: Severity
    category: TagName
    path: RepositoryPath
    line: int = Field(ge=1, le=MAX_LINE)
    title: Title
    detail: Annotated[Prose, Field(max_length=MAX_DETAIL_CHARACTERS)] = ""


class NewAssessment(Body):
    """The report of one reviewer. It approves nothing that has a critical finding."""

    verdict: ReviewVerdict
    summary: Annotated[Words, Field(max_length=MAX_SUMMARY_CHARACTERS)]
    findings: list[NewFinding] = Field(default=[], max_length=MAX_FINDINGS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_critical = any(finding.severity is Severity.CRITICAL for finding in self.findings)
        if is_critical and self.verdict is ReviewVerdict.APPROVE:
            raise ValueError("a review with a CRITICAL finding cannot approve: request changes, or lower the severity")
        return self


FileLengths = Mapping[str, int]
"""The number of lines of each file that a report names and that exists in the reviewed commit."""


def report_assessment(
    session: Session, ticket: Ticket, body: NewAssessment, lengths: FileLengths | None, actor: Actor
) -> ReviewAssessment:
    """Store what a reviewer's run reports. It counts when the run ends with DONE, and a later report replaces it.

    `lengths` is None where the repository is on another machine. Raises `Forbidden`, `ConflictError`, `Invalid`.
    """
    rights.require_own_ticket(actor, ticket.id)
    if actor.kind is not ActorKind.RUN:
        raise Forbidden(f"Only the run of a reviewer reports a review, and {actor.name} is of kind {actor.kind}.")
    assessment = code_reviews.find_assessment(session, ticket.id)
    if assessment is None or assessment.settled is not None:
        state = "is not a review" if assessment is None else "is a review that has ended"
        raise ConflictError(f"{ticket.identifier} {state}. Report with mc_report_done instead.")
    if actor.name != assessment.agent:
        raise Forbidden(f"Only {assessment.agent} reports this review, and this is a run of {actor.name}.")
    _require_places(body.findings, lengths, code_reviews.get_review(session, assessment.review_id).folder)
    cleaned = SHAPES.clean_fields(body.model_dump(mode="json"))
    assessment.verdict, assessment.summary = body.verdict, cleaned["summary"]
    assessment.findings = cleaned["findings"]
    session.flush()
    return assessment


def _require_places(findings: Sequence[NewFinding], lengths: FileLengths | None, folder: str | None) -> None:
    """Raise `Invalid` for a finding outside the reviewed folder, in a file that does not exist, or after its last line."""
    for finding in findings:
        if folder and not finding.path.startswith(f"{folder}/"):
            raise Invalid(f"{finding.path} is not in {folder}, which is all that you review.", field="findings")
        if lengths is None:
            continue
        if finding.path not in lengths:
            raise Invalid(f"{finding.path} is no text file of the reviewed commit.", field="findings")
        if finding.line > max(1, lengths[finding.path]):
            message = f"{finding.path} has {lengths[finding.path]} lines, and no line {finding.line}."
            raise Invalid(message, field="findings")


@dataclass(frozen=True, slots=True)
class MergedFinding:
    """A finding with the agents that reported it. Those of one category at one line are the same finding."""

    severity: Severity
    category: str
    path: str
    line: int
    title: str
    detail: str
    found_by: tuple[str, ...]


def choose_verdict(verdicts: Iterable[ReviewVerdict | None]) -> ReviewVerdict:
    """Return the strictest verdict. A missing one, and none at all, need a person."""
    strictness = [VERDICTS.index(verdict or ReviewVerdict.NEEDS_PERSON) for verdict in verdicts]
    return VERDICTS[max(strictness)] if strictness else ReviewVerdict.NEEDS_PERSON


def merge_findings(findings_by_agent: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[MergedFinding]:
    """Merge the findings of several agents: the gravest severity and its text, all names. The gravest come first."""
    groups: dict[tuple[str, int, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for agent, findings in findings_by_agent.items():
        for finding in findings:
            place = finding["path"], finding["line"], finding["category"]
            groups.setdefault(place, []).append((agent, finding))
    merged = [_merge_group(*place, group) for place, group in groups.items()]
    return sorted(merged, key=lambda finding: (_rank(finding.severity), finding.path, finding.line))


def _merge_group(path: str, line: int, category: str, group: Sequence[tuple[str, Mapping[str, Any]]]) -> MergedFinding:
    findings = sorted((finding for _, finding in group), key=lambda finding: _rank(finding["severity"]))
    gravest, names = findings[0], tuple(dict.fromkeys(agent for agent, _ in group))
    others = [f"{other['title']}\n\n{other['detail']}" for other in findings[1:] if other["title"] != gravest["title"]]
    detail = "\n\n".join(filter(str.strip, [gravest["detail"], *others]))
    return MergedFinding(Severity(gravest["severity"]), category, path, line, gravest["title"], detail, names)


def _rank(severity: str) -> int:
    return SEVERITIES.index(Severity(severity))
