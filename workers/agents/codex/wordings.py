"""How Codex and its service word a failure, beside the general wordings of `error_classifier`."""

from functools import partial

from workers.agents import error_classifier

WORDINGS = {
    "usage_limit": r"hit your .{0,20}limit",
    "context_overflow": r"ran out of room",
    "environment": r"insufficient.quota|no rollout found|thread not found|untrusted|not inside a trusted",
}

diagnose = partial(error_classifier.classify_error, wordings=WORDINGS)
explain_exit = partial(error_classifier.explain_exit, wordings=WORDINGS)
