"""How Claude Code and its service word a failure, beside the general wordings of `error_classifier`."""

from functools import partial

from workers.agents import error_classifier

WORDINGS = {
    "usage_limit": r"(session|weekly|hour|opus|sonnet|haiku|fable|mythos) limit|you've (hit|reached) your (?!fast)"
    r"|requires usage credits|usage credits (are|is) required|extra usage is required|doesn't include (extra )?usage"
    r"|usage allocation has been disabled|usage is paused|service is disabled for your org",
    "context_overflow": r"prompt is too long",
    "environment": r"privileges|already in use|no conversation found",
}
"""Limits: the texts with which Claude Code 2.1.332 begins the message of an exhausted allowance, read from its program."""

diagnose = partial(error_classifier.classify_error, wordings=WORDINGS)
explain_exit = partial(error_classifier.explain_exit, wordings=WORDINGS)
