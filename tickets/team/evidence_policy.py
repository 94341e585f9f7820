"""Evidence policy of a project: the kinds of evidence that its tickets need before they are submitted, completed or approved."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, TypeAdapter

from models import Project
from tickets.shared.inputs import Body, TagName, explain_pattern

MAX_RULES = 32


class EvidenceKind(StrEnum):
    """The kind of evidence that a rule requires."""

    COMMIT = "commit"
    DIFF = "diff"
    CHECK = "check"
    TESTS = "tests"
    SCREENSHOT = "screenshot"
    ARTIFACT = "artifact"
    LIVE_ROUTE = "live_route"
    SIGN_OFF = "sign_off"


class Stage(StrEnum):
    """The move before which evidence is required, in their order."""

    SUBMIT = "submit"
    COMPLETE = "complete"
    APPROVE = "approve"


KIND_LABELS = {
    EvidenceKind.COMMIT: "Commit",
    EvidenceKind.DIFF: "Changed files",
    EvidenceKind.CHECK: "Check command",
    EvidenceKind.TESTS: "Tests",
    EvidenceKind.SCREENSHOT: "Screenshot",
    EvidenceKind.ARTIFACT: "File",
    EvidenceKind.LIVE_ROUTE: "Live route",
    EvidenceKind.SIGN_OFF: "Sign-off",
}
STAGE_LABELS = {
    Stage.SUBMIT: "Before review",
    Stage.COMPLETE: "Before completion",
    Stage.APPROVE: "Before approval",
}
STAGES = tuple(Stage)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST_PATTERN = rf"^(?:(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::(?:[1-9]\d{{0,4}}|\*))?$"
"""A host as `workers/host/fetcher.py` matches it: `example.com`, `*.example.com`, `localhost:*`, `[::1]:8080`."""
HostPattern = Annotated[
    str,
    StringConstraints(max_length=253, pattern=HOST_PATTERN),
    explain_pattern(
        HOST_PATTERN, "must be a host without https://, as in example.com, *.example.com:8080 or localhost:*"
    ),
]
Runbook = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s\x00-\x1f\x7f]+$")]


class EvidenceRule(Body):
    """One kind of evidence that is required before a move, of tickets with one of these tags or, without tags, of all.

    Evidence before `submit` is also required for completion and approval, that before `complete` for approval.
    `runbook` is the address of a page that says how to provide it.
    """

    kind: EvidenceKind
    before: Stage = Stage.APPROVE
    tags: list[TagName] = Field(default=[], max_length=12)
    runbook: Runbook | None = None

    def applies_to(self, tags: Collection[str]) -> bool:
        return not self.tags or not set(self.tags).isdisjoint(tags)


EvidencePolicy = Annotated[list[EvidenceRule], Field(max_length=MAX_RULES)]
LiveHosts = Annotated[list[HostPattern], Field(max_length=MAX_RULES)]
_POLICY: TypeAdapter[list[EvidenceRule]] = TypeAdapter(EvidencePolicy)


def list_rules(project: Project, tags: Collection[str]) -> list[EvidenceRule]:
    """List the rules of a project for a ticket with these tags: of each kind the one that applies first."""
    rules = [rule for rule in _POLICY.validate_python(project.evidence_policy) if rule.applies_to(tags)]
    earliest: dict[EvidenceKind, EvidenceRule] = {}
    for rule in sorted(rules, key=lambda rule: STAGES.index(rule.before)):
        earliest.setdefault(rule.kind, rule)
    return list(earliest.values())
