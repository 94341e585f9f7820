"""Who is asking: a browser that is logged in, a program with a token, or a run; and whether the request is its own idea.

Every request passes `guard()` before its view. The order is: the name it was addressed to, where it comes from, who
sends it, the token of its form, and whether that sender may use this view. A view is closed unless it says otherwise:
reading is for operators and viewers, everything else for operators (`allow`, `public`).
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

View = TypeVar("View", bound=Callable[..., Any])


class Right(StrEnum):
    """What a caller may be let do; a run reaches only its own ticket."""

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
    """This request does not come from a page of this server, so it was refused."""

    code, status = "cross_site", 403


class FormExpired(DomainError):
    """The form is too old or not from this log-in. Load the page again and repeat."""

    code, status = "form_expired", 403


@dataclass(frozen=True, slots=True)
class Instance:
    """What a running server holds: its settings, its store, and the key of its form tokens."""

    settings: Settings
    engine: Engine
    key: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends this request. `cookie` is empty for a bearer; `source` and `number` name what can be revoked."""

    actor: Actor
    right: Right
    source: str
    number: int
    cookie: str = ""

    @property
    def identity(self) -> str:
        """The name of the token, log-in or run, the same in all its requests."""
        return f"{self.source}:{self.number}"


def get_instance() -> Instance:
    """The server that answers this request."""
    server: Instance = current_app.extensions["mission_control"]
    return server


# ------------------------------------------------------------------------------------------------ who may use a view


def public(view: View) -> View:
    """Let anybody use this view, known or not."""
    view.rights = None  # type: ignore[attr-defined]
    return view


def accept_uploads(view: View) -> View:
    """Let this view be sent a file."""
    view.uploads = True  # type: ignore[attr-defined]
    return view


def allow(*rights: Right) -> Callable[[View], View]:
    """Let only callers with one of these rights use this view."""

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
    # A global, so that macros see it without the context of a page: such a file is run once, not anew for every page.
    app.jinja_env.globals["csrf_token"] = make_csrf_token


def guard() -> None:
    """Refuse what must not reach a view; raises a DomainError or an HTTPException, changes nothing."""
    g.caller = None
    unroutable = request.routing_exception
    if isinstance(unroutable, SecurityError) or not _is_known_host():
        raise SecurityError("This server does not answer to that name.")
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
    _allow_size()
    if by_browser and unsafe:
        _require_form_token()


def _is_known_host() -> bool:
    """Whether the request is addressed to this server: a page elsewhere can point a name of its own at it."""
    return urlsplit(f"//{request.host}").hostname in get_instance().settings.allowed_hosts


def _require_same_origin() -> None:
    """Each sign that the browser gives must say same origin, and it must give one; `same-site` is not enough."""
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


def _allow_size() -> None:
    """A view that takes a file may be sent a larger body than the others, once its caller is known."""
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
            f"This takes the right of {' or '.join(sorted(rights))}, and you have that of {g.caller.right}. Log in with another token."
        )


# -------------------------------------------------------------------------------------------------- who is it, then


def get_caller() -> Caller:
    """Who sends this request; raises `Unauthenticated` on a public view that nobody known uses."""
    identified: Caller | None = g.get("caller")
    if identified is None:
        raise Unauthenticated
    return identified


def get_actor() -> Actor:
    """Under whose name this request writes."""
    return get_caller().actor


def make_csrf_token() -> str:
    """The token that this browser's forms must carry: bound to its log-in, nothing to store."""
    identified: Caller | None = g.get("caller")
    subject = identified.cookie if identified else ""
    return hmac.digest(get_instance().key, b"form:" + subject.encode(), "sha256").hex()


def get_cookie_name(settings: Settings) -> str:
    """Cookies ignore ports, so each instance has a name of its own."""
    return f"mc_session_{settings.instance}"


def identify() -> Caller | None:
    """The caller by bearer token or, only where none was sent, by cookie. A bad bearer token is refused outright."""
    header = request.headers.get("Authorization")
    if header is None:
        return _identify_browser()
    scheme, _, secret = header.partition(" ")
    identified = _identify_bearer(secret.strip()) if scheme.lower() == "bearer" else None
    if identified is None:
        raise Unauthenticated("That token is not valid.")
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
    """Have the browser drop its cookie and what it keeps of this server; other instances on this host keep theirs."""
    response.delete_cookie(get_cookie_name(get_instance().settings))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _forget_stale_cookie(response: Response) -> Response:
    """A log-in that was revoked or has run out leaves nothing behind in the browser."""
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
    """Worth a write, but no reason to refuse: reading must go on while the disk is full."""
    try:
        with writing(get_instance().engine) as session:
            tokens.record_use(session, token.id)
    except StoreUnavailable:
        current_app.logger.warning("the use of token %s could not be recorded", token.name, exc_info=True)


def _identify_run(session: Session, secret: str) -> Caller | None:
    """A run's token reads nothing once the run is over; what it still sends is told that it came too late."""
    run = claims.find_by_token(session, secret)
    if run is None or (run.state is RunState.ENDED and request.method in SAFE_METHODS):
        return None
    return Caller(Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id), Right.RUN, "run", run.id)


def _identify_program(token: ApiToken) -> Caller:
    return Caller(_actor(token.scope, token.name), Right(token.scope.value), "token", token.id)


def _actor(scope: Scope, name: str) -> Actor:
    return Actor(ACTOR_KINDS[scope], name, writes=scope is not Scope.VIEWER)


def is_still_valid(engine: Engine, identified: Caller) -> bool:
    """Whether a caller who was let in is still welcome; long streams ask this every few seconds."""
    with reading(engine) as session:
        match identified.source:
            case "login":
                return tokens.is_login_valid(session, identified.number)
            case "run":
                return claims.is_live(session, identified.number)
            case _:
                return tokens.is_token_valid(session, identified.number)


# -------------------------------------------------------------------------------------------------------- first start


def ensure_key(settings: Settings) -> bytes:
    """The key of the form tokens, made on first start and readable by nobody else; processes that race agree on one."""
    file = settings.secrets_dir / "form.key"
    if not file.exists():
        _write_once(file, secrets.token_bytes(KEY_BYTES))
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise RuntimeError(f"{file} is damaged: remove it and start again; open forms will have to be reloaded")
    return key


def _write_once(file: Path, content: bytes) -> None:
    """Write a private file whole, then give it its name unless another process was faster."""
    new_file = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    new_file.touch(mode=0o600, exist_ok=False)
    try:
        new_file.write_bytes(content)
        file.hardlink_to(new_file)
    except FileExistsError:
        pass
    finally:
        new_file.unlink()
