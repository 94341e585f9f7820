"""API tokens, browser logins and one-time login links, stored as hashes only."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field
from sqlalchemy import ColumnElement, Select, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from models import ApiToken, Login, LoginLink, Scope, ago, now
from tickets.runs.claims import hash_token
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, NotFound, Unauthenticated
from tickets.shared.inputs import Body, Name
from tickets.shared.rights import Act

PREFIX = "mc_"
PREFIX_CHARACTERS = 10
LINK_LIFETIME = timedelta(minutes=10)
USE_INTERVAL = timedelta(minutes=5)
PROOF_LIFETIME = timedelta(minutes=30)
LINK_ENDED = "This link was used before or is older than ten minutes. Run bin/mc login for a new one."
BROWSER_SCOPES = frozenset({Scope.OPERATOR, Scope.VIEWER})
VALID_LOGINS = (
    select(Login, ApiToken.scope)
    .outerjoin(ApiToken, (ApiToken.id == Login.token_id) & ApiToken.revoked.is_(None))
    .where(
        Login.revoked.is_(None),
        Login.expires > ago(),
        or_(Login.token_id.is_(None), ApiToken.id.is_not(None)),
    )
)
BY_COOKIE = VALID_LOGINS.where(Login.secret_hash == bindparam("hash"))
VALID_TOKEN = ApiToken.revoked.is_(None), or_(ApiToken.expires.is_(None), ApiToken.expires > ago())
BY_SECRET = select(ApiToken).where(ApiToken.token_hash == bindparam("hash"), *VALID_TOKEN)
"""Prebuilt statements, as every request needs one of them and building a statement costs more than running it."""


class NewToken(Body):
    """A token for a program, which expires after `days`, or must be revoked when `days` is null."""

    name: Name
    scope: Scope
    days: int | None = Field(365, ge=1, le=3650)


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A logged-in browser with its user, scope and expiry, and whether its user has proved lately who it is."""

    login_id: int
    name: str
    scope: Scope
    expires: datetime
    has_proof: bool


# ------------------------------------------------------------------------------------------------------------- tokens


def issue_token(session: Session, body: NewToken, actor: Actor) -> tuple[ApiToken, str]:
    """Issue a token, and return it with its secret, which is available only here. Raises `ConflictError` for a name in use."""
    rights.require(actor, Act.GIVE_ACCESS)
    if session.scalar(select(ApiToken.id).where(ApiToken.name == body.name)) is not None:
        raise ConflictError(f"There is already a token named {body.name}.", name=body.name)
    secret = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        name=body.name,
        prefix=secret[:PREFIX_CHARACTERS],
        token_hash=hash_token(secret),
        scope=body.scope,
        expires=now() + timedelta(days=body.days) if body.days else None,
    )
    session.add(row)
    session.flush()
    events.append(session, None, "token_issued", {"token": row.name, "scope": row.scope.value}, actor)
    return row, secret


def find_by_secret(session: Session, secret: str) -> ApiToken | None:
    """Find the valid token with this secret."""
    return session.scalar(BY_SECRET, {"hash": hash_token(secret)})


def is_token_valid(session: Session, token_id: int) -> bool:
    return session.scalar(select(ApiToken.id).where(ApiToken.id == token_id, *VALID_TOKEN)) is not None


def is_use_outdated(token: ApiToken) -> bool:
    """Return whether the last recorded use is old enough to record this one."""
    return token.last_used is None or token.last_used < now() - USE_INTERVAL


def record_use(session: Session, token_id: int) -> None:
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used=now()))


def list_tokens(session: Session) -> list[ApiToken]:
    return list(session.scalars(select(ApiToken).order_by(ApiToken.id)))


def get_token(session: Session, name: str) -> ApiToken:
    token = session.scalar(select(ApiToken).where(ApiToken.name == name))
    if token is None:
        raise NotFound(f"There is no token named {name!r}.")
    return token


def revoke_token(session: Session, token_id: int, actor: Actor) -> ApiToken:
    """Revoke a token and every login made with it (idempotent)."""
    rights.require(actor, Act.ADMINISTER)
    token = session.get(ApiToken, token_id)
    if token is None:
        raise NotFound("There is no token with this number.", token=token_id)
    if token.revoked is None:
        token.revoked = now()
        events.append(session, None, "token_revoked", {"token": token.name}, actor)
    return token


# -------------------------------------------------------------------------------------------------------------- links


def issue_login_link(session: Session, name: str = "operator") -> str:
    """Issue a link that logs in one browser as this person, once, within ten minutes. See `format_link_path`."""
    session.execute(delete(LoginLink).where(LoginLink.expires < now() - LINK_LIFETIME))
    secret = secrets.token_urlsafe(32)
    session.add(LoginLink(secret_hash=hash_token(secret), name=name, expires=now() + LINK_LIFETIME))
    return secret


def format_link_path(secret: str) -> str:
    """Return the path of a login link, relative to the server's address."""
    return f"/login/{secret}"


def find_link_name(session: Session, secret: str) -> str | None:
    """Return the person of a valid login link without consuming it, or None when it is unknown, used or expired."""
    return session.scalar(
        select(LoginLink.name).where(LoginLink.secret_hash == hash_token(secret), *_build_link_conditions())
    )


def _build_link_conditions() -> tuple[ColumnElement[bool], ...]:
    return LoginLink.consumed.is_(None), LoginLink.expires > now()


def require_link(session: Session, secret: str) -> None:
    """Raise `Unauthenticated` for a used or expired link."""
    if find_link_name(session, secret) is None:
        raise Unauthenticated(LINK_ENDED)


def log_in_by_link(session: Session, secret: str, browser: str, days: int) -> str:
    """Consume a login link and return the new login's secret. Raises `Unauthenticated` for a used or expired link."""
    return _open_login(session, _consume_link(session, secret), browser, now() + timedelta(days=days))


def _consume_link(session: Session, secret: str) -> str:
    name: str | None = session.scalar(
        update(LoginLink)
        .where(LoginLink.secret_hash == hash_token(secret), *_build_link_conditions())
        .values(consumed=now())
        .returning(LoginLink.name)
    )
    if name is None:
        raise Unauthenticated(LINK_ENDED)
    return name


def require_browser_token(session: Session, secret: str) -> ApiToken:
    """Find the token for a log-in. Raises `Unauthenticated`, and `Forbidden` for a token of programs."""
    token = find_by_secret(session, secret)
    if token is None:
        raise Unauthenticated("The token is not valid.")
    if token.scope not in BROWSER_SCOPES:
        raise Forbidden(f"A token of scope {token.scope.value} is for programs, not for a browser.")
    return token


def log_in_by_token(session: Session, secret: str, browser: str, days: int) -> str:
    """Log in a browser with an API token, whose scope and validity the login inherits."""
    token = require_browser_token(session, secret)
    limit = now() + timedelta(days=days)
    return _open_login(session, token.name, browser, min(limit, token.expires or limit), token.id)


# ------------------------------------------------------------------------------------------------------------ log-ins


def _open_login(session: Session, name: str, browser: str, expires: datetime, token_id: int | None = None) -> str:
    secret = secrets.token_urlsafe(32)
    login = Login(secret_hash=hash_token(secret), name=name, agent=browser[:200], expires=expires, token_id=token_id)
    session.add(login)
    session.flush()
    events.append(session, None, "logged_in", {"login": login.id, "browser": login.agent}, Actor.human(name))
    return secret


def find_login(session: Session, secret: str) -> LoginSession | None:
    """Find the valid login with this cookie."""
    return _find_login(session, BY_COOKIE, hash=hash_token(secret))


def is_login_valid(session: Session, login_id: int) -> bool:
    return _find_login(session, VALID_LOGINS.where(Login.id == login_id)) is not None


def _find_login(session: Session, query: Select[Login, Scope], **values: str) -> LoginSession | None:
    row = session.execute(query, values).first()
    if row is None:
        return None
    login, scope = row
    has_proof = (login.proof_at or login.created) > now() - PROOF_LIFETIME
    return LoginSession(login.id, login.name, scope or Scope.OPERATOR, login.expires, has_proof)


def require_proof(session: Session, secret: str) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless the secret is that of a login link or of an operator's token."""
    if find_link_name(session, secret) is not None:
        return
    token = find_by_secret(session, secret)
    if token is None:
        raise Unauthenticated("This is neither a valid token nor an unused link of the last ten minutes.")
    if token.scope is not Scope.OPERATOR:
        raise Forbidden("This is no operator's token. Paste another, or a link of bin/mc login.")


def record_proof(session: Session, login_id: int, secret: str, actor: Actor) -> None:
    """Record that the user of a login has given a login link, which is consumed, or an operator's token."""
    require_proof(session, secret)
    if find_link_name(session, secret) is not None:
        _consume_link(session, secret)
    session.execute(update(Login).where(Login.id == login_id).values(proof_at=now()))
    events.append(session, None, "login_confirmed", {"login": login_id}, actor)


def log_out(session: Session, login_id: int, actor: Actor) -> None:
    session.execute(update(Login).where(Login.id == login_id, Login.revoked.is_(None)).values(revoked=now()))
    events.append(session, None, "logged_out", {"login": login_id}, actor)


def list_logins(session: Session) -> list[Login]:
    """List the valid logins of browsers, newest first."""
    valid = (Login.revoked.is_(None), Login.expires > now())
    return list(session.scalars(select(Login).where(*valid).order_by(Login.id.desc()).limit(200)))
