"""What follows a run that ended without a usable verdict: one table from failure class to consequence.

Rate limits and faults of the infrastructure do not consume an attempt, but they are counted, so that nothing loops
for ever. The same failure twice in a row on the same input stops the loop early.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from models import BlockReason, Failure, Ticket, now

LONGEST_BACKOFF_SECONDS = 3600
FAULT_LIMIT = 8
UNKNOWN_RESET = timedelta(hours=1)
COOLDOWN = timedelta(minutes=10)
LONGEST_COOLDOWN = timedelta(days=8)
"""A little more than any allowance is counted for; a reset beyond it is a misunderstanding that may cost one ticket."""
SOONEST_RESET = timedelta(minutes=5)
"""A reset that is said to have passed, though the limit still held, would be tried again each minute for ever."""


class Then(StrEnum):
    RETRY = "retry"  # consumes an attempt
    RETRY_FREE = "retry_free"  # a fault of the surroundings: does not
    PARK = "park"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Consequence:
    then: Then
    reason: BlockReason = BlockReason.EXHAUSTED
    next_action: str = "Read the terminal-state record, correct the cause, then unblock."
    fresh: bool = False
    cools: bool = False
    """Whether the agent's account is meant, so that its other tickets would fare no better."""


CONSEQUENCES: dict[Failure, Consequence] = {
    Failure.AUTHENTICATION: Consequence(
        Then.BLOCK,
        BlockReason.ENVIRONMENT,
        "Log in with the agent's own program (see bin/mc doctor), end its cooldown on the team page, then unblock.",
        cools=True,
    ),
    Failure.RATE_LIMIT: Consequence(Then.RETRY_FREE, cools=True),
    Failure.USAGE_LIMIT: Consequence(Then.PARK, cools=True),
    Failure.SERVER_ERROR: Consequence(Then.RETRY_FREE),
    Failure.NETWORK: Consequence(Then.RETRY_FREE),
    Failure.CONTEXT_OVERFLOW: Consequence(
        Then.RETRY, BlockReason.CAPABILITY, "Split the ticket or choose a larger model, then unblock.", fresh=True
    ),
    Failure.TOOL_DENIED: Consequence(
        Then.BLOCK, BlockReason.NEEDS_HUMAN, "Widen the profile's permissions or change the task, then unblock."
    ),
    Failure.PROTOCOL_VIOLATION: Consequence(Then.RETRY),
    Failure.TIMEOUT: Consequence(Then.RETRY),
    Failure.CRASH: Consequence(Then.RETRY),
    Failure.KILLED: Consequence(Then.RETRY_FREE),
    Failure.ENVIRONMENT: Consequence(
        Then.RETRY_FREE, BlockReason.ENVIRONMENT, "Correct the machine or the project's settings, then unblock."
    ),
    Failure.BUDGET: Consequence(Then.PARK),
    Failure.CHECK_FAILED: Consequence(Then.RETRY),
    Failure.AGENT_FAILED: Consequence(Then.RETRY),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """A move with its facts, and what to remember on the ticket."""

    move: str
    facts: dict[str, Any]
    remember: dict[str, Any]
    attempts_left: int

    def rest(self, failure: Failure) -> datetime | None:
        """Until when the agent is given no other ticket either: what the ticket itself waits for, else a while."""
        if not CONSEQUENCES[failure].cools:
            return None
        until = self.facts.get("not_before") or self.facts.get("wake", {}).get("at") or now() + COOLDOWN
        assert isinstance(until, datetime)
        return min(until, now() + LONGEST_COOLDOWN)


def fingerprint(failure: Failure, message: str, ticket: Ticket) -> str:
    """The same failure on the same input: numbers, times and hashes in the message do not count."""
    plain = re.sub(r"[0-9a-f]{7,}|\d+", "#", message.lower())
    return hashlib.sha256(f"{failure.value}\n{plain}\n{ticket.description}".encode()).hexdigest()[:32]


def decide(
    ticket: Ticket,
    failure: Failure,
    message: str,
    *,
    limit: int,
    backoff_seconds: float,
    retry_at: datetime | None,
    resumable: bool,
) -> Decision:
    """The consequence of one failed run; pure. `limit` counts attempts, the first included."""
    rule = CONSEQUENCES[failure]
    mark = fingerprint(failure, message, ticket)
    attempts = ticket.attempts + (rule.then is Then.RETRY)
    faults = ticket.faults + (rule.then is Then.RETRY_FREE)
    remember = {
        "attempts": attempts,
        "faults": faults,
        "last_failure": mark,
        "failure_reason": f"{failure.value}: {message}"[:2000],
    }
    left = max(0, limit - attempts)
    if rule.then is Then.PARK:
        return Decision("park", {"wake": _wake(failure, retry_at), "note": message}, remember, left)
    looping = mark == ticket.last_failure and (rule.then is Then.RETRY or failure is Failure.ENVIRONMENT)
    if rule.then is Then.BLOCK or looping or left == 0 or faults >= FAULT_LIMIT:
        return Decision("block", _block(rule, ticket, looping, faults >= FAULT_LIMIT), remember, left)
    wait = backoff(backoff_seconds, attempts + faults)
    not_before = max(now() + wait, retry_at) if retry_at else now() + wait
    return Decision("release", {"not_before": not_before}, {**remember, "resume": resumable and not rule.fresh}, left)


def _wake(failure: Failure, retry_at: datetime | None) -> dict[str, Any]:
    """A usage limit ends by itself, at the reported time; a spent budget waits for a person."""
    if failure is Failure.USAGE_LIMIT:
        return {"kind": "usage_reset", "at": max(retry_at or now() + UNKNOWN_RESET, now() + SOONEST_RESET)}
    return {"kind": "manual"}


def backoff(base_seconds: float, count: int) -> timedelta:
    """Doubles with each try, up to an hour."""
    return timedelta(seconds=min(LONGEST_BACKOFF_SECONDS, base_seconds * 2 ** max(0, count - 1)))


def _block(rule: Consequence, ticket: Ticket, looping: bool, faulty: bool) -> dict[str, Any]:
    settled = rule.then is not Then.RETRY
    reason = rule.reason if settled or faulty else BlockReason.EXHAUSTED
    action = rule.next_action
    if looping:
        action = "The same failure came twice on the same input, so it was not tried again. " + action
    return {"reason": reason.value, "owner": "operator", "next_action": action}
