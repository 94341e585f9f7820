"""Authentication and authorization of requests from browsers, programs with a token, and runs.

Every request passes `guard()` before its view. The order is: the host it is addressed to, its origin, its caller, the
CSRF token of its form, and the right of the caller to use this view. A browser is a caller only at a name that no other
server of the machine shares; at a plain address such as 127.0.0.1 only requests with a token get beyond the guard.
By default, reading is allowed to operators and viewers, everything else to operators. `allow` and `public` change that per
view.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import SecurityError

from database import Engine, Session, StoreUnavailable, open_engine, reading, writing
from models import ActorKind, ApiToken, RunState, Scope
from secret_files import ensure_browser_host, ensure_key
from settings import Settings
from tickets.operations import tokens
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, Forbidden, Unauthenticated

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
RUN_PREFIX = "mcr_"
UPLOAD_OVERHEAD_BYTES = 64 << 10
ANONYMOUS_BODY_BYTES = 16 << 10
SIGNED_BODY_BYTES = 64 << 10
SIGNATURE_HEADER = "webhook-signature"
HANDOVER_SECONDS = 600
CSRF_TOKEN_BYTES = 32
MASKED_CSRF_TOKEN = re.compile(r"[0-9a-f]{128}")
HANDOVER_END = re.compile(r"[0-9]{1,12}")

View = TypeVar("View", bound=Callable[..., Any])


class Right(StrEnum):
    """Right of a caller. A run may access only its own ticket."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"
    TRIAGE = "triage"
    REVIEWER = "reviewer"
    SERVICE = "service"
    RUN = "run"


READERS = frozenset({Right.VIEWER, Right.OPERATOR})
PROGRAMS = frozenset({Right.ORCHESTRATOR, Right.TRIAGE, Right.REVIEWER, Right.SERVICE})
"""Callers that are programs with a token of their own, unlike the wrapper of a run."""
ACTOR_KINDS = {
    Scope.VIEWER: ActorKind.SERVICE,
    Scope.OPERATOR: ActorKind.HUMAN,
    Scope.ORCHESTRATOR: ActorKind.ORCHESTRATOR,
    Scope.TRIAGE: ActorKind.TRIAGE,
    Scope.REVIEWER: ActorKind.REVIEWER,
    Scope.SERVICE: ActorKind.SERVICE,
}


class CrossSite(DomainError):
    """The request was refused because it does not come from a page of this server."""

    code, status = "cross_site", 403


class PlainAddress(Unauthenticated):
    """At this address only programs with a token are served. Open the board with bin/mc login."""


class FormExpired(DomainError):
    """The form is too old or from another login. Load the page again and repeat."""

    code, status = "form_expired", 403


@dataclass(frozen=True, slots=True)
class Instance:
    """State of a running server: its settings, its store, the key of its form tokens, and its secret name."""

    settings: Settings
    engine: Engine
    key: bytes
    secret_host: str

    @property
    def browser_hosts(self) -> frozenset[str]:
        """Names at which a browser may log in: those that the operator has set, or the secret one."""
        return self.settings.public_hosts | (frozenset() if self.settings.public_url else {self.secret_host})


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. `cookie` is empty for a bearer token. `source` and `number` name what can be revoked."""

    actor: Actor
    right: Right
    source: str
    number: int
    cookie: str = ""

    @property
    def identity(self) -> str:
        """The name of the token, login or run, the same in all its requests."""
        return f"{self.source}:{self.number}"


def get_instance() -> Instance:
    """Return the server state of the current application."""
    server: Instance = current_app.extensions["mission_control"]
    return server


def open_instance(settings: Settings) -> Instance:
    """Open the store and the secrets of a home, whose folders exist."""
    return Instance(settings, open_engine(settings.database_url), ensure_key(settings), ensure_browser_host(settings))


# -------------------------------------------------------------------------------------------------- rights of views


def public(view: View) -> View:
    """Allow everyone to use this view, without authentication."""
    view.rights = None  # type: ignore[attr-defined]
    return view


def serve_everywhere(view: View) -> View:
    """Serve this public view to browsers at a plain address too."""
    view.everywhere = True  # type: ignore[attr-defined]
    return public(view)


def accept_handover(view: View) -> View:
    """Accept posts to this public view from a plain address of this board, with a token of `make_handover_token`."""
    view.handover = True  # type: ignore[attr-defined]
    return public(view)


def accept_signed(view: View) -> View:
    """Accept requests to this public view from programs that sign them, which the view itself verifies.

    They need neither a log-in nor an origin, and a log-in that they bring is not used. Without a signature, or from a page of
    a browser, a request is one of a browser as at any other address.
    """
    view.signed = True  # type: ignore[attr-defined]
    return public(view)


def accept_uploads(view: View) -> View:
    """Allow uploads of files to this view."""
    view.uploads = True  # type: ignore[attr-defined]
    return view


def allow(*rights: Right) -> Callable[[View], View]:
    """Restrict this view to callers with one of these rights."""

    def mark(view: View) -> View:
        view.rights = frozenset(rights)  # type: ignore[attr-defined]
        return view

    return mark


def _find_view() -> Callable[..., Any] | None:
    return current_app.view_functions.get(request.endpoint or "")


def _find_required_rights() -> frozenset[Right] | None:
    view = _find_view()
    fallback = READERS if request.method in SAFE_METHODS else frozenset({Right.OPERATOR})
    rights: frozenset[Right] | None = getattr(view, "rights", fallback)
    return rights


# --------------------------------------------------------------------------------------------------------- the guard


def install(app: Flask) -> None:
    app.before_request(guard)
    app.after_request(_forget_stale_cookie)
    app.context_processor(lambda: {"instance": get_instance().settings.instance})
    # A global, so that macros can use it without the page's context: a macro file is then loaded once, not per page.
    app.jinja_env.globals["csrf_token"] = mask_csrf_token


def guard() -> None:
    """Authenticate and authorize a request before its view. Raises a DomainError or an HTTPException."""
    g.caller = None
    unroutable = request.routing_exception
    if isinstance(unroutable, SecurityError) or not _is_known_host():
        raise SecurityError("This server does not accept requests for this host name.")
    if request.endpoint == "static":
        return
    by_browser = "Authorization" not in request.headers and not is_signed()
    upgrade = "websocket" in request.headers.get("Upgrade", "").lower()
    unsafe = request.method not in SAFE_METHODS
    handover = by_browser and unsafe and _is_handover()
    if by_browser:
        _require_browser_address()
    if by_browser and not handover and (unsafe or upgrade):
        _require_same_origin()
    g.caller = None if is_signed() else identify()
    if unroutable is not None:
        raise unroutable
    _require_right(_find_required_rights())
    if not handover:
        _set_size_limit()
    if by_browser and not handover and unsafe:
        _require_form_token()


def is_signed() -> bool:
    """Return whether a program has signed the request, to a view that verifies signatures. No browser sends such a one."""
    from_page = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    return SIGNATURE_HEADER in request.headers and not from_page and getattr(_find_view(), "signed", False)


def _is_known_host() -> bool:
    """Return whether the request is addressed to this server, as another site can resolve a name of its own to it."""
    return _find_host() in get_instance().settings.plain_hosts or is_browser_address()


def is_browser_address() -> bool:
    """Return whether the request is addressed to a name at which a browser may log in."""
    return _find_host() in get_instance().browser_hosts


def _find_host() -> str | None:
    return urlsplit(f"//{request.host}").hostname


def _require_browser_address() -> None:
    """Require a name at which a browser may log in, and note a cookie that an earlier version has set elsewhere."""
    if is_browser_address():
        return
    g.plain_cookie = get_cookie_name(get_instance().settings) in request.cookies
    if not getattr(_find_view(), "everywhere", False):
        raise PlainAddress


def uses_tls() -> bool:
    """Return whether the browser of this request sees HTTPS. At the secret name it reaches the server without a proxy."""
    return get_instance().settings.behind_tls and _find_host() != get_instance().secret_host


def _require_same_origin() -> None:
    """Require that all origin headers of the browser, at least one, name this origin (`same-site` is not enough)."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if (site is None and origin is None) or site not in (None, "same-origin"):
        raise CrossSite
    if origin is not None and origin not in _list_own_origins():
        raise CrossSite


def _list_own_origins() -> set[str]:
    public_url = get_instance().settings.public_url
    scheme = "https" if uses_tls() else "http"
    return {f"{scheme}://{request.host}", *([public_url] if public_url else [])}


def _is_handover() -> bool:
    """Return whether a page at a plain address of this board posts what a logged-in page has asked it for."""
    if not getattr(_find_view(), "handover", False):
        return False
    instance = get_instance()
    port = request.host.removeprefix(instance.secret_host)
    hosts = (f"[{host}]" if ":" in host else host for host in instance.settings.plain_hosts)
    is_own = request.headers.get("Origin") in {f"http://{host}{port}" for host in hosts}
    return is_own and _is_handover_token((request.view_args or {}).get("token", ""))


def make_handover_token() -> str:
    """Make a token with which a page at a plain address may post to this board within ten minutes."""
    return _sign_handover(int(time.time()) + HANDOVER_SECONDS)


def _is_handover_token(token: str) -> bool:
    end, _, _ = token.partition(".")
    is_current = bool(HANDOVER_END.fullmatch(end)) and time.time() < int(end)
    return is_current and hmac.compare_digest(token.encode(), _sign_handover(int(end)).encode())


def _sign_handover(end: int) -> str:
    return f"{end}." + hmac.digest(get_instance().key, f"handover:{end}".encode(), "sha256").hex()


def _set_size_limit() -> None:
    """Lower the size limit before log-in, and raise it for a view that accepts uploads of an authenticated caller."""
    if is_signed():
        request.max_content_length = SIGNED_BODY_BYTES
        return
    if g.caller is None:
        request.max_content_length = ANONYMOUS_BODY_BYTES
        return
    if getattr(_find_view(), "uploads", False):
        request.max_content_length = get_instance().settings.attachment_limit_bytes + UPLOAD_OVERHEAD_BYTES


def _require_form_token() -> None:
    token = request.headers.get("X-CSRF-Token") or request.form.get("csrf") or ""
    if not hmac.compare_digest(unmask_csrf_token(token).encode(), make_csrf_token().encode()):
        raise FormExpired


def _require_right(rights: frozenset[Right] | None) -> None:
    if rights is None:
        return
    if g.caller is None:
        raise Unauthenticated
    if g.caller.right not in rights:
        raise Forbidden(
            f"This requires the right {' or '.join(sorted(rights))}, and yours is {g.caller.right}. Log in with another token."
        )


# --------------------------------------------------------------------------------------------- the current request


def find_caller() -> Caller | None:
    """Return the caller of this request, or None for an anonymous request to a public view."""
    identified: Caller | None = g.get("caller")
    return identified


def find_login() -> Caller | None:
    """Return the caller of this request if it is a browser that is logged in."""
    caller = find_caller()
    return caller if caller and caller.source == "login" else None


def get_caller() -> Caller:
    """Return the caller of this request. Raises `Unauthenticated` for an anonymous request to a public view."""
    identified = find_caller()
    if identified is None:
        raise Unauthenticated
    return identified


def get_actor() -> Actor:
    """Return the actor under whose name this request writes."""
    return get_caller().actor


def make_csrf_token() -> str:
    """Compute the CSRF token of this browser's forms, derived from its login without storage."""
    identified = find_caller()
    subject = identified.cookie if identified else ""
    return hmac.digest(get_instance().key, b"form:" + subject.encode(), "sha256").hex()


def mask_csrf_token() -> str:
    """Mask the CSRF token for the forms of this answer: a random mask, then the token combined with it, both in hex.

    All forms of one answer have the same mask, and every answer has another, so that the length of a compressed page
    says nothing about the token.
    """
    mask: bytes = g.setdefault("csrf_mask", secrets.token_bytes(CSRF_TOKEN_BYTES))
    return (mask + _combine(mask, bytes.fromhex(make_csrf_token()))).hex()


def unmask_csrf_token(token: str) -> str:
    """Return the CSRF token of a masked one. A tab from before the masks sends the token itself."""
    if not MASKED_CSRF_TOKEN.fullmatch(token):
        return token
    masked = bytes.fromhex(token)
    return _combine(masked[:CSRF_TOKEN_BYTES], masked[CSRF_TOKEN_BYTES:]).hex()


def _combine(mask: bytes, token: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(mask, token, strict=True))


def get_cookie_name(settings: Settings) -> str:
    """Return the name of the session cookie, unique per instance because cookies ignore ports."""
    return f"mc_session_{settings.instance}"


def identify() -> Caller | None:
    """Identify the caller by bearer token, or by cookie without an Authorization header. Raises for a bad bearer token."""
    header = request.headers.get("Authorization")
    if header is None:
        return _identify_browser()
    scheme, _, secret = header.partition(" ")
    identified = _identify_bearer(secret.strip()) if scheme.lower() == "bearer" else None
    if identified is None:
        raise Unauthenticated("The token is not valid.")
    return identified


def _identify_browser() -> Caller | None:
    secret = request.cookies.get(get_cookie_name(get_instance().settings), "")
    if not secret or not is_browser_address():
        return None
    with reading(get_instance().engine) as session:
        login = tokens.find_login(session, secret)
    g.stale_cookie = login is None
    if login is None:
        return None
    actor = _actor(login.scope, login.name, login.has_proof)
    return Caller(actor, Right(login.scope.value), "login", login.login_id, secret)


def forget_browser(response: Response) -> Response:
    """Make the browser delete its cookie and stored data of this server, without effect on other instances of the host."""
    response.delete_cookie(get_cookie_name(get_instance().settings))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _forget_stale_cookie(response: Response) -> Response:
    """Delete the cookie of a revoked or expired login from the browser, and one that was set at a plain address."""
    if g.get("plain_cookie"):
        response.delete_cookie(get_cookie_name(get_instance().settings))
    sets_cookie = "Set-Cookie" in response.headers
    return forget_browser(response) if g.get("stale_cookie") and not sets_cookie else response


def _identify_bearer(secret: str) -> Caller | None:
    with reading(get_instance().engine) as session:
        if secret.startswith(RUN_PREFIX):
            return _identify_run(session, secret)
        if secret.startswith(claims.BOARD_PREFIX):
            return _identify_orchestrator(session, secret)
        token = tokens.find_by_secret(session, secret)
    if token is None:
        return None
    if tokens.is_use_outdated(token):
        _record_use(token)
    return _identify_program(token)


def _record_use(token: ApiToken) -> None:
    """Record the use of a token, ignoring failures: reading must remain possible while the store is full or locked."""
    try:
        with writing(get_instance().engine, patient=False) as session:
            tokens.record_use(session, token.id)
    except StoreUnavailable as error:
        current_app.logger.warning("the use of token %s could not be recorded: %s", token.name, error.orig)


def _identify_run(session: Session, secret: str) -> Caller | None:
    """Identify a run by its token. After the run's end only writes are accepted, which are then refused as late."""
    run = claims.find_by_token(session, secret)
    if run is None or (run.state is RunState.ENDED and request.method in SAFE_METHODS):
        return None
    return Caller(Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id), Right.RUN, "run", run.id)


def _identify_orchestrator(session: Session, secret: str) -> Caller | None:
    """Identify a run of an orchestrator by its token of the board, which is valid while the run is live."""
    run = claims.find_by_board_token(session, secret)
    if run is None:
        return None
    return Caller(Actor(ActorKind.ORCHESTRATOR, run.agent, run.id), Right.ORCHESTRATOR, "run", run.id)


def _identify_program(token: ApiToken) -> Caller:
    return Caller(_actor(token.scope, token.name), Right(token.scope.value), "token", token.id)


def _actor(scope: Scope, name: str, has_proof: bool = True) -> Actor:
    return Actor(ACTOR_KINDS[scope], name, writes=scope is not Scope.VIEWER, has_proof=has_proof)


def is_still_valid(engine: Engine, identified: Caller) -> bool:
    """Return whether a caller's login, run or token is still valid, which long streams check every few seconds."""
    with reading(engine) as session:
        match identified.source:
            case "login":
                return tokens.is_login_valid(session, identified.number)
            case "run":
                return claims.is_live(session, identified.number)
            case _:
                return tokens.is_token_valid(session, identified.number)
