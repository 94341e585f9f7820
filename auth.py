"""Authentication and authorization of requests from browsers, programs with a token, and runs.

Every request passes `guard()` before its view. The order is: the host it is addressed to, its origin, its caller, the
CSRF token of its form, and the right of the caller to use this view. By default, reading is allowed to operators and
viewers, everything else to operators. `allow` and `public` change that per view.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import SecurityError

from database import Engine, Session, StoreUnavailable, reading, writing
from models import ActorKind, ApiToken, RunState, Scope
from settings import Settings
from tickets.operations import tokens
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, Forbidden, Unauthenticated

KEY_BYTES = 32
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
RUN_PREFIX = "mcr_"
UPLOAD_OVERHEAD_BYTES = 64 << 10
ANONYMOUS_BODY_BYTES = 16 << 10

View = TypeVar("View", bound=Callable[..., Any])


class Right(StrEnum):
    """Right of a caller. A run may access only its own ticket."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"
    SERVICE = "service"
    RUN = "run"


READERS = frozenset({Right.VIEWER, Right.OPERATOR})
ACTOR_KINDS = {
    Scope.VIEWER: ActorKind.SERVICE,
    Scope.OPERATOR: ActorKind.HUMAN,
    Scope.ORCHESTRATOR: ActorKind.ORCHESTRATOR,
    Scope.SERVICE: ActorKind.SERVICE,
}


class CrossSite(DomainError):
    """The request was refused because it does not come from a page of this server."""

    code, status = "cross_site", 403


class FormExpired(DomainError):
    """The form is too old or from another login. Load the page again and repeat."""

    code, status = "form_expired", 403


@dataclass(frozen=True, slots=True)
class Instance:
    """State of a running server: its settings, its store, and the key of its form tokens."""

    settings: Settings
    engine: Engine
    key: bytes


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


# -------------------------------------------------------------------------------------------------- rights of views


def public(view: View) -> View:
    """Allow everyone to use this view, without authentication."""
    view.rights = None  # type: ignore[attr-defined]
    return view


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


def _find_required_rights() -> frozenset[Right] | None:
    view = current_app.view_functions.get(request.endpoint or "")
    fallback = READERS if request.method in SAFE_METHODS else frozenset({Right.OPERATOR})
    rights: frozenset[Right] | None = getattr(view, "rights", fallback)
    return rights


# --------------------------------------------------------------------------------------------------------- the guard


def install(app: Flask) -> None:
    app.before_request(guard)
    app.after_request(_forget_stale_cookie)
    app.context_processor(lambda: {"instance": get_instance().settings.instance})
    # A global, so that macros can use it without the page's context: a macro file is then loaded once, not per page.
    app.jinja_env.globals["csrf_token"] = make_csrf_token


def guard() -> None:
    """Authenticate and authorize a request before its view. Raises a DomainError or an HTTPException."""
    g.caller = None
    unroutable = request.routing_exception
    if isinstance(unroutable, SecurityError) or not _is_known_host():
        raise SecurityError("This server does not accept requests for this host name.")
    if request.endpoint == "static":
        return
    by_browser = "Authorization" not in request.headers
    upgrade = "websocket" in request.headers.get("Upgrade", "").lower()
    unsafe = request.method not in SAFE_METHODS
    if by_browser and (unsafe or upgrade):
        _require_same_origin()
    g.caller = identify()
    if unroutable is not None:
        raise unroutable
    _require_right(_find_required_rights())
    _set_size_limit()
    if by_browser and unsafe:
        _require_form_token()


def _is_known_host() -> bool:
    """Return whether the request is addressed to this server, as another site can resolve a name of its own to it."""
    return urlsplit(f"//{request.host}").hostname in get_instance().settings.allowed_hosts


def _require_same_origin() -> None:
    """Require that all origin headers of the browser, at least one, name this origin (`same-site` is not enough)."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if (site is None and origin is None) or site not in (None, "same-origin"):
        raise CrossSite
    if origin is not None and origin not in _list_own_origins():
        raise CrossSite


def _list_own_origins() -> set[str]:
    settings = get_instance().settings
    scheme = "https" if settings.behind_tls else "http"
    return {f"{scheme}://{request.host}", *([settings.public_url] if settings.public_url else [])}


def _set_size_limit() -> None:
    """Lower the size limit before log-in, and raise it for a view that accepts uploads of an authenticated caller."""
    if g.caller is None:
        request.max_content_length = ANONYMOUS_BODY_BYTES
        return
    view = current_app.view_functions.get(request.endpoint or "")
    if getattr(view, "uploads", False):
        request.max_content_length = get_instance().settings.attachment_limit_bytes + UPLOAD_OVERHEAD_BYTES


def _require_form_token() -> None:
    token = request.headers.get("X-CSRF-Token") or request.form.get("csrf") or ""
    if not hmac.compare_digest(token.encode(), make_csrf_token().encode()):
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
    if not secret:
        return None
    with reading(get_instance().engine) as session:
        login = tokens.find_login(session, secret)
    g.stale_cookie = login is None
    if login is None:
        return None
    actor = _actor(login.scope, login.name)
    return Caller(actor, Right(login.scope.value), "login", login.login_id, secret)


def forget_browser(response: Response) -> Response:
    """Make the browser delete its cookie and stored data of this server, without effect on other instances of the host."""
    response.delete_cookie(get_cookie_name(get_instance().settings))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _forget_stale_cookie(response: Response) -> Response:
    """Delete the cookie of a revoked or expired login from the browser."""
    sets_cookie = "Set-Cookie" in response.headers
    return forget_browser(response) if g.get("stale_cookie") and not sets_cookie else response


def _identify_bearer(secret: str) -> Caller | None:
    with reading(get_instance().engine) as session:
        if secret.startswith(RUN_PREFIX):
            return _identify_run(session, secret)
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


def _identify_program(token: ApiToken) -> Caller:
    return Caller(_actor(token.scope, token.name), Right(token.scope.value), "token", token.id)


def _actor(scope: Scope, name: str) -> Actor:
    return Actor(ACTOR_KINDS[scope], name, writes=scope is not Scope.VIEWER)


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


# ------------------------------------------------------------------------------------------------------- first start


def ensure_key(settings: Settings) -> bytes:
    """Load the key of the form tokens, or create it, readable by this user only. Concurrent processes agree on one."""
    file = settings.secrets_dir / "form.key"
    if not file.exists():
        _write_once(file, secrets.token_bytes(KEY_BYTES))
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise RuntimeError(f"{file} is damaged. Remove it and start again. Open forms must then be reloaded")
    return key


def _write_once(file: Path, content: bytes) -> None:
    """Write a private file completely, then link it to its name unless another process was faster."""
    new_file = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    new_file.touch(mode=0o600, exist_ok=False)
    try:
        new_file.write_bytes(content)
        file.hardlink_to(new_file)
    except FileExistsError:
        pass
    finally:
        new_file.unlink()
