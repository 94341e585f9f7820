"""Domain errors: the docstring is the default message, `code` and `status` go to the client."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails


class DomainError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400

    def __init__(self, message: str | None = None, **detail: Any) -> None:
        self.message = message or inspect.cleandoc(self.__doc__ or "")
        self.detail = detail
        super().__init__(self.message)


class Invalid(DomainError):
    """The input is not valid. The detail names each field and its problem."""

    code, status = "invalid", 422


def convert_validation_error(error: ValidationError) -> Invalid:
    """Convert a Pydantic error to one that names each field: `{"fields": {"wake.at": "Field required"}}`."""
    fields = {".".join(str(part) for part in item["loc"]) or "body": _describe_problem(item) for item in error.errors()}
    text = "; ".join(f"{name}: {words}" for name, words in list(fields.items())[:5])
    return Invalid(f"The input is not valid. {text}", fields=fields)


def _describe_problem(item: ErrorDetails) -> str:
    """Describe the problem of one field, with the usual problems of texts in words that fit a form."""
    kind, limits = item["type"], item.get("ctx", {})
    if kind == "string_too_short" and limits["min_length"] == 1:
        return "must not be empty"
    if kind == "string_too_long":
        return f"must not have more than {limits['max_length']} characters"
    return item["msg"].removeprefix("Value error, ")


class NotFound(DomainError):
    """The object does not exist."""

    code, status = "not_found", 404


class NoSuchTicket(NotFound):
    """There is no ticket with that identifier."""

    code = "no_such_ticket"


class NoSuchRun(NotFound):
    """There is no run with that number."""

    code = "no_such_run"


class Forbidden(DomainError):
    """This account is not allowed to do this."""

    code, status = "forbidden", 403


class ProofRequired(Exception):
    """The last proof of who uses this browser is too old for this act.

    It is no `DomainError`, so that forms do not show it as their own: one page asks for the proof and sends the form again.
    """

    code, status = "proof_required", 403
    message = "Confirm access: you last confirmed it more than 30 minutes ago. Nothing was changed."


class Unauthenticated(DomainError):
    """Log in, or send a valid token."""

    code, status = "unauthenticated", 401


class IllegalMove(DomainError):
    """This action is not available in the ticket's current state."""

    code, status = "illegal_move", 409


class LandingPending(IllegalMove):
    """The ticket is already approved, and its work is being landed."""

    code = "landing_pending"


class CannotLand(DomainError):
    """The work cannot be landed this way."""

    code, status = "cannot_land", 409


class StaleTicket(DomainError):
    """The ticket has changed since you loaded it. Reload it and try again."""

    code, status = "stale_ticket", 409


class StaleProject(DomainError):
    """The project has changed since you loaded it. Reload it and try again."""

    code, status = "stale_project", 409


class ClaimLost(DomainError):
    """This run no longer holds the claim on its ticket. Its report is recorded but not applied. Do not retry."""

    code, status = "claim_lost", 409


class EvidenceMissing(DomainError):
    """The ticket cannot be completed because required evidence is missing or failed. The detail lists it."""

    code, status = "evidence_missing", 409


class RuntimeBusy(DomainError):
    """Ticket runtime is not ready for input. Wait for the current turn to finish, queue the message, or explicitly
    interrupt/restart the runtime."""

    code, status = "runtime_busy", 409


class ConflictError(DomainError):
    """This already exists or conflicts with an existing object."""

    code, status = "conflict", 409


class HistoryPruned(DomainError):
    """That part of the history has been pruned. The detail names the first event that is available."""

    code, status = "gone", 410


class TooLarge(DomainError):
    """The request is larger than this server accepts."""

    code, status = "too_large", 413
