"""How Codex and its service word a failure, beside the general wordings of `error_classifier`."""

from functools import partial

from workers.agents import error_classifier

WORDINGS = {
    "usage_limit": r"(?:hit|reached) your .{0,30}(?:limit|spend cap)|hit your spend cap",
    "context_overflow": r"ran out of room",
    "environment": r"no rollout found|thread not found|untrusted|not inside a trusted",
}

diagnose = partial(error_classifier.classify_error, wordings=WORDINGS)
explain_exit = partial(error_classifier.explain_exit, wordings=WORDINGS)
