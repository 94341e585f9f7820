"""How Claude Code and its service word a failure, beside the general wordings of `error_classifier`."""

from functools import partial

from workers.agents import error_classifier

WORDINGS = {
    "usage_limit": r"(session|weekly|hour|opus|sonnet) limit|hit your .{0,20}limit",
    "context_overflow": r"prompt is too long",
    "environment": r"credit balance|privileges|already in use|no conversation found",
}

diagnose = partial(error_classifier.classify_error, wordings=WORDINGS)
explain_exit = partial(error_classifier.explain_exit, wordings=WORDINGS)
