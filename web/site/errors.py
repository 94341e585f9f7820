"""Error handlers of the application: JSON for programs and the API, a page for people.

The JSON is `{"error": code, "message": text, "detail": object}`; codes are those of `tickets/shared/errors.py`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, current_app, g, jsonify, redirect, render_template, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response as AnyResponse

import auth
from database import StoreUnavailable
from tickets.shared.errors import DomainError, Invalid, ProofRequired
from tickets.shared.errors import convert_validation_error as convert_validation_error

from . import layout, proof_form

API = "/api/"
SOCKETS = "/ws/"
ERROR_CODES = {400: "malformed", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_type"}
MESSAGES = {
    404: "There is nothing at this address.",
    405: "This address does not accept this HTTP method.",
    413: "The request is larger than this server accepts.",
    415: "This address does not accept this content type.",
}
TITLES = {
    401: "Log in",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible right now",
    410: "No longer available",
    413: "Too large",
    422: "Invalid request",
    500: "Server error",
    503: "Busy",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is reported to the client, independent of its format.

    `reference` is the id under which the server's log has the details.
    """

    status: int
    code: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None


def install(app: Flask) -> None:
    app.register_error_handler(DomainError, _handle_domain_error)
    app.register_error_handler(auth.PlainAddress, _handle_plain_address)
    app.register_error_handler(ProofRequired, _handle_proof_required)
    app.register_error_handler(
        ValidationError, lambda error: build_response(_build_problem(convert_validation_error(error)))
    )
    app.register_error_handler(
        RecursionError, lambda _error: build_response(_build_problem(Invalid("nested too deeply")))
    )
    app.register_error_handler(HTTPException, _handle_http_error)
    app.register_error_handler(StoreUnavailable, _handle_store_error)
    app.register_error_handler(Exception, _handle_failure)


def wants_json() -> bool:
    """Return whether the request comes from a program: an API or WebSocket path, an `Authorization` header, a signature."""
    return request.path.startswith((API, SOCKETS)) or "Authorization" in request.headers or auth.is_signed()


def build_response(problem: Problem) -> AnyResponse:
    """Build the error response: JSON for programs, else a page, or a redirect to the log-in page for a GET with 401."""
    if wants_json():
        response: AnyResponse = _build_json_response(problem)
    elif problem.status == 401 and request.method == "GET":
        return redirect("/login?next=" + quote(request.full_path.rstrip("?"), safe="/"))
    else:
        response = _build_page_response(problem)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _build_json_response(problem: Problem) -> Response:
    body = {"error": problem.code, "message": problem.message, "detail": problem.detail}
    response = jsonify(body | ({"reference": problem.reference} if problem.reference else {}))
    response.status_code = problem.status
    return response


def _build_page_response(problem: Problem) -> Response:
    """Build an error page with the layout, or plain text for anonymous callers and when rendering the page fails."""
    text = f"{problem.message}\n"
    if g.get("caller") is None:
        return Response(text, problem.status, mimetype="text/plain")
    try:
        return Response(_render_page(problem), problem.status)
    except Exception:  # the client needs the original error even when the layout itself is broken
        current_app.logger.exception("the error page could not be rendered")
        return Response(text, problem.status, mimetype="text/plain")


def _render_page(problem: Problem) -> str:
    title = TITLES.get(problem.status, "Refused")
    context = {"title": title, "text": problem.message, "code": problem.status, "reference": problem.reference}
    return layout.render_page("site/error.html", "", [(title, None)], **context)


def _handle_domain_error(error: DomainError) -> AnyResponse:
    return build_response(_build_problem(error))


def _handle_plain_address(error: auth.PlainAddress) -> AnyResponse:
    """Answer a browser that came to the address of programs, as API or page: it has nothing to log in at there."""
    if wants_json():
        return build_response(_build_problem(error))
    return Response(render_template("site/plain_address.html"), error.status)


def _handle_proof_required(error: ProofRequired) -> AnyResponse:
    """Ask a browser that sent a form to prove who uses it, with all that was entered, and tell a program."""
    if wants_json() or request.method != "POST":
        return build_response(Problem(error.status, error.code, error.message))
    return Response(proof_form.render_proof_form(request.full_path.rstrip("?")), error.status)


def _build_problem(error: DomainError) -> Problem:
    return Problem(error.status, error.code, error.message, error.detail)


def _handle_http_error(error: HTTPException) -> AnyResponse:
    if isinstance(error, SecurityError):
        return Response("This server does not accept requests for this host name.\n", 400, mimetype="text/plain")
    status = error.code or 500
    if status < 400:
        return error.get_response()
    words = MESSAGES.get(status) or error.description or "Malformed request."
    response = build_response(Problem(status, ERROR_CODES.get(status, "refused"), words))
    for name, value in error.get_response().headers:
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _handle_store_error(error: Exception) -> AnyResponse:
    """Report that the database is full, locked or unreachable (503): nothing was written, and a retry is safe."""
    words = "The database cannot be read or written at the moment. Nothing was changed. Try again."
    return _log_and_respond(Problem(503, "store_unavailable", words), error)


def _handle_failure(error: Exception) -> AnyResponse:
    return _log_and_respond(Problem(500, "internal", "Internal server error."), error)


def _log_and_respond(problem: Problem, error: Exception) -> AnyResponse:
    """Log an internal error with its traceback under a random reference, and disclose only the reference."""
    reference = secrets.token_hex(4)
    current_app.logger.error("request failed, reference %s", reference, exc_info=error)
    words = f"{problem.message} See the server log for details, under {reference}."
    return build_response(replace(problem, message=words, reference=reference))
