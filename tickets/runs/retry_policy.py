"""Retry policy: consequences of a run that ended without a usable verdict, by failure class.

Rate limits and infrastructure faults do not consume an attempt, but they are counted, so that nothing is retried for
ever. The same failure twice in a row on the same input ends the retries early.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from models import BlockReason, Failure, Ticket, now

MAX_BACKOFF_SECONDS = 3600
MAX_FAULTS = 8
DEFAULT_RESET = timedelta(hours=1)
COOLDOWN = timedelta(minutes=10)
MAX_COOLDOWN = timedelta(days=8)
"""Slightly more than the longest usage window. A later reset time is a parsing error and should cost one ticket at most."""
MIN_RESET = timedelta(minutes=5)
"""Minimum wait, because a reported reset time in the past would cause a retry each minute for ever."""


class RetryAction(StrEnum):
    RETRY = "retry"  # consumes an attempt
    RETRY_FREE = "retry_free"  # infrastructure fault, consumes no attempt
    PARK = "park"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Consequence:
    then: RetryAction
    reason: BlockReason = BlockReason.EXHAUSTED
    next_action: str = "Read the terminal-state record, fix the cause, then unblock."
    fresh: bool = False
    cools: bool = False
    """True for failures of the agent's account, which would affect its other tickets too."""


CONSEQUENCES: dict[Failure, Consequence] = {
    Failure.AUTHENTICATION: Consequence(
        RetryAction.BLOCK,
        BlockReason.ENVIRONMENT,
        "Log in with the agent's own program (see bin/mc doctor), end its cooldown on the team page, then unblock.",
        cools=True,
    ),
    Failure.RATE_LIMIT: Consequence(RetryAction.RETRY_FREE),
    Failure.USAGE_LIMIT: Consequence(RetryAction.PARK, cools=True),
    Failure.SERVER_ERROR: Consequence(RetryAction.RETRY_FREE),
    Failure.NETWORK: Consequence(RetryAction.RETRY_FREE),
    Failure.CONTEXT_OVERFLOW: Consequence(
        RetryAction.RETRY,
        BlockReason.CAPABILITY,
        "Split the ticket or choose a larger model, then unblock.",
        fresh=True,
    ),
    Failure.TOOL_DENIED: Consequence(
        RetryAction.BLOCK, BlockReason.NEEDS_HUMAN, "Widen the profile's permissions or change the task, then unblock."
    ),
    Failure.PROTOCOL_VIOLATION: Consequence(RetryAction.RETRY),
    Failure.TIMEOUT: Consequence(RetryAction.RETRY),
    Failure.CRASH: Consequence(RetryAction.RETRY),
    Failure.KILLED: Consequence(RetryAction.RETRY_FREE),
    Failure.ENVIRONMENT: Consequence(
        RetryAction.RETRY_FREE, BlockReason.ENVIRONMENT, "Fix the machine or the project's settings, then unblock."
    ),
    Failure.BUDGET: Consequence(RetryAction.PARK),
    Failure.CHECK_FAILED: Consequence(RetryAction.RETRY),
    Failure.AGENT_FAILED: Consequence(RetryAction.RETRY),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """A move with its input, and the values to store on the ticket."""

    move: str
    facts: dict[str, Any]
    remember: dict[str, Any]
    attempts_left: int

    def rest(self, failure: Failure) -> datetime | None:
        """Return the end of the agent's cooldown, which is the ticket's own wait or a default, or None without cooldown."""
        if not CONSEQUENCES[failure].cools:
            return None
        until = self.facts.get("not_before") or self.facts.get("wake", {}).get("at") or now() + COOLDOWN
        assert isinstance(until, datetime)
        return min(until, now() + MAX_COOLDOWN)


def compute_fingerprint(failure: Failure, message: str, ticket: Ticket) -> str:
    """Hash a failure and its input, ignoring numbers, times and hashes in the message."""
    plain = re.sub(r"[0-9a-f]{7,}|\d+", "#", message.lower())
    return hashlib.sha256(f"{failure.value}\n{plain}\n{ticket.description}".encode()).hexdigest()[:32]


def decide_retry(
    ticket: Ticket,
    failure: Failure,
    message: str,
    *,
    limit: int,
    backoff_seconds: float,
    retry_at: datetime | None,
    resumable: bool,
) -> Decision:
    """Decide the consequence of one failed run, without side effects. `limit` counts attempts including the first."""
    rule = CONSEQUENCES[failure]
    mark = compute_fingerprint(failure, message, ticket)
    attempts = ticket.attempts + (rule.then is RetryAction.RETRY)
    faults = ticket.faults + (rule.then is RetryAction.RETRY_FREE)
    remember = {
        "attempts": attempts,
        "faults": faults,
        "last_failure": mark,
        "failure_reason": f"{failure.value}: {message}"[:2000],
    }
    left = max(0, limit - attempts)
    if rule.then is RetryAction.PARK:
        return Decision("park", {"wake": _build_wake(failure, retry_at), "note": message}, remember, left)
    looping = mark == ticket.last_failure and (rule.then is RetryAction.RETRY or failure is Failure.ENVIRONMENT)
    if rule.then is RetryAction.BLOCK or looping or left == 0 or faults >= MAX_FAULTS:
        return Decision("block", _build_block(rule, ticket, looping, faults >= MAX_FAULTS), remember, left)
    wait = compute_backoff(backoff_seconds, attempts + faults)
    not_before = max(now() + wait, retry_at) if retry_at else now() + wait
    return Decision("release", {"not_before": not_before}, {**remember, "resume": resumable and not rule.fresh}, left)


def _build_wake(failure: Failure, retry_at: datetime | None) -> dict[str, Any]:
    """Build the wake condition: a usage limit ends at the reported time, an exhausted budget waits for a person."""
    if failure is Failure.USAGE_LIMIT:
        return {"kind": "usage_reset", "at": max(retry_at or now() + DEFAULT_RESET, now() + MIN_RESET)}
    return {"kind": "manual"}


def compute_backoff(base_seconds: float, count: int) -> timedelta:
    """Return the delay before the next try, doubled with each try up to an hour."""
    return timedelta(seconds=min(MAX_BACKOFF_SECONDS, base_seconds * 2 ** max(0, count - 1)))


def _build_block(rule: Consequence, ticket: Ticket, looping: bool, has_many_faults: bool) -> dict[str, Any]:
    is_final = rule.then is not RetryAction.RETRY
    reason = rule.reason if is_final or has_many_faults else BlockReason.EXHAUSTED
    action = rule.next_action
    if looping:
        action = "The same failure came twice on the same input, so it was not tried again. " + action
    return {"reason": reason.value, "owner": "operator", "next_action": action}
