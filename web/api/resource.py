"""The JSON API's one mechanism: a route is declared once, and its parsing, rights, transaction and schema follow.

    blueprint = Resource("tickets", __name__)

    @blueprint.writes("POST", "/tickets/<ticket>/comments", status=201)
    def add_comment(call: Call, ticket: Ticket, body: NewComment) -> CommentJson: ...

The parameters say what is parsed: `ticket` and `run` are looked up from the path (a run's token reaches only its own),
`query` and `body` are validated by their annotation, and the annotation of the answer becomes its schema. A view that
writes is given the one transaction of the request; an error that it raises rolls that back, an error that it *returns*
is answered after the commit. `Idempotency-Key` is honoured in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from flask import Blueprint, Response, request

import auth
from auth import Right
from database import Session, reading, writing
from models import Run, Ticket
from settings import Settings
from tickets.shared import idempotency, lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost, DomainError, Forbidden, Invalid
from tickets.shared.inputs import Body
from tickets.workflow import quarantine

from . import request_body

PREFIX = "/api/v1"
KEY_LENGTH = 200
FILE = ("application/octet-stream",)

View = Callable[..., Any]
Declaration = Callable[[View], View]

ANYBODY = frozenset({Right.VIEWER, Right.OPERATOR, Right.ORCHESTRATOR, Right.SERVICE})
WRITERS = frozenset({Right.OPERATOR, Right.ORCHESTRATOR, Right.SERVICE})
OPERATORS = frozenset({Right.OPERATOR})
RUNS = frozenset({Right.RUN})


@dataclass(slots=True)
class Call:
    """One request on its way through a view: the transaction, who asks, and what is to follow the commit."""

    session: Session
    caller: auth.Caller
    settings: Settings
    after: list[Callable[[], None]] = field(default_factory=list)

    @property
    def actor(self) -> Actor:
        return self.caller.actor


@dataclass(frozen=True, slots=True)
class Route:
    """What is declared of one route; the OpenAPI document is made of these."""

    name: str
    method: str
    rule: str
    summary: str
    rights: frozenset[Right]
    path: tuple[str, ...]
    body: Any
    query: Any
    answer: Any
    status: int
    tag: str
    errors: tuple[int, ...] = ()
    batch: bool = False
    repeatable: bool = False
    form: dict[str, Any] | None = None
    media: tuple[str, ...] = FILE
    """Types of an answer that is no JSON."""


ROUTES: list[Route] = []
"""Every route of the API, in the order of declaration."""


class Resource(Blueprint):
    """A blueprint whose routes are declared with `reads` and `writes`, below `/api/v1`."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name, module, url_prefix=PREFIX)

    def reads(self, rule: str, *, rights: frozenset[Right] = ANYBODY, errors: tuple[int, ...] = ()) -> Declaration:
        """Declare a GET; the view reads one snapshot."""

        def declare(view: View) -> View:
            route = _route(self, view, "GET", rule, rights, errors=errors)
            self._add(route, lambda args: _read(view, route, args))
            return view

        return declare

    def writes(
        self,
        method: str,
        rule: str,
        *,
        rights: frozenset[Right] = WRITERS,
        status: int = 200,
        errors: tuple[int, ...] = (),
        batch: bool = False,
        secret: bool = False,
        late: bool = False,
    ) -> Declaration:
        """Declare a write.

        `batch` takes one object, an array or NDJSON; a `secret` answer is never kept for repetition; with `late` the
        view itself judges what a run sends after its end, which is otherwise refused and quarantined.
        """

        def declare(view: View) -> View:
            shown = {"errors": errors, "batch": batch, "repeatable": not secret}
            route = _route(self, view, method, rule, rights, status, **shown)
            self._add(route, lambda args: _write(view, route, args, late=late))
            return view

        return declare

    def handles(
        self,
        method: str,
        rule: str,
        *,
        rights: frozenset[Right],
        status: int = 200,
        form: dict[str, Any] | None = None,
        answer: Any = None,
        query: type[Body] | None = None,
        media: tuple[str, ...] = FILE,
        errors: tuple[int, ...] = (),
    ) -> Declaration:
        """Declare a route whose view does everything itself: one that is sent a file (`form`), or sends one (no `answer`).

        `query` describes what the view reads from the address, `media` the types of its answer.
        """

        def declare(view: View) -> View:
            shown: dict[str, Any] = {"form": form, "media": media, "errors": errors}
            route = _route(self, view, method, rule, rights, status, **shown, repeatable=form is not None)
            self._add(replace(route, answer=answer, query=query), lambda args: view(**args))
            return view

        return declare

    def _add(self, route: Route, respond: Callable[[dict[str, Any]], Response]) -> None:
        def endpoint(**args: Any) -> Response:
            return respond(args)

        ROUTES.append(route)
        guarded = auth.allow(*route.rights)(endpoint)
        self.add_url_rule(
            route.rule, route.name, auth.uploads(guarded) if route.form else guarded, methods=[route.method]
        )


def _route(
    resource: Resource,
    view: View,
    method: str,
    rule: str,
    rights: frozenset[Right],
    status: int = 200,
    **shown: Any,
) -> Route:
    hints = get_type_hints(view, include_extras=True)
    answer = _shown(hints["return"])
    path = tuple(name for name in hints if name not in ("call", "body", "query", "return"))
    summary = (view.__doc__ or "").split("\n\n")[0].strip()
    status = 204 if answer is type(None) else status
    parsed = {"body": hints.get("body"), "query": hints.get("query"), "answer": answer}
    return Route(
        view.__name__, method, rule, summary, rights, path, **parsed, status=status, tag=resource.name, **shown
    )


def _shown(hint: Any) -> Any:
    """The annotation of an answer without the errors that a view may return."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    kept = [part for part in get_args(hint) if not (isinstance(part, type) and issubclass(part, DomainError))]
    return Union[tuple(kept)]  # noqa: UP007 - made of values, not written


# ------------------------------------------------------------------------------------------------------------ serving


def _read(view: View, route: Route, args: dict[str, Any]) -> Response:
    given = _parse(route)
    with reading(auth.instance().engine) as session:
        call = _call(session)
        return respond(view(call, **_found(call, args), **given), route.status)


def _write(view: View, route: Route, args: dict[str, Any], *, late: bool) -> Response:
    given = _parse(route)

    def work(call: Call) -> Any:
        refused = None if late else too_late(call, route.name, request.get_data(as_text=True))
        return refused or view(call, **_found(call, args), **given)

    return perform(work, route.status, asked_for(request.get_data()) if route.repeatable else None)


def too_late(call: Call, what: str, sent: str) -> ClaimLost | None:
    """What a run sends after its end is kept apart, and refused after that is committed."""
    run_id = call.actor.run_id
    return quarantine.refuse_late(call.session, run_id, what, sent) if run_id is not None else None


def perform(work: Callable[[Call], Any], status: int, asked: idempotency.Request | None) -> Response:
    """Do one write in one transaction, unless its answer is known already; an error that `work` returns is committed."""
    with writing(auth.instance().engine) as session:
        call = _call(session)
        known = idempotency.recall(session, asked) if asked else None
        if known is not None:
            return _text(known.text, known.status, repeated=True)
        data = work(call)
        refused = data if isinstance(data, DomainError) else None
        text = "" if refused or data is None else _dumped(data)
        if asked and refused is None:
            idempotency.remember(session, asked, idempotency.Answer(status, text))
    for follow in call.after:
        follow()
    if refused is not None:
        raise refused
    return _text(text, status)


def _call(session: Session) -> Call:
    return Call(session, auth.caller(), auth.instance().settings)


def _parse(route: Route) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if route.query is not None:
        given["query"] = route.query.model_validate(request.args.to_dict())
    elif request.args:
        raise Invalid("this address takes no query", fields=dict.fromkeys(request.args, "is not known here"))
    if route.body is not None:
        given["body"] = request_body.read(route.body, batch=route.batch)
    return given


def asked_for(content: bytes) -> idempotency.Request | None:
    """What is remembered of a request that carries an `Idempotency-Key`; `content` tells it from others."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 0 < len(key) <= KEY_LENGTH or not key.isprintable():
        raise Invalid(f"an Idempotency-Key has 1 to {KEY_LENGTH} printable characters")
    caller = auth.caller()
    said = b"\n".join((request.method.encode(), request.full_path.encode(), content))
    return idempotency.Request(caller.identity, key, hashlib.sha256(said).hexdigest())


def _found(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """The path's arguments with its ticket and run looked up; a run's token opens only its own."""
    found = dict(args)
    if "ticket" in args:
        found["ticket"] = find_ticket(call, args["ticket"])
    if "run" in args:
        found["run"] = _find_run(call, args["run"])
    return found


def find_ticket(call: Call, reference: str) -> Ticket:
    """The ticket that a path names. A run may name its own by number too, and no other."""
    own = call.actor.ticket_id
    if own is None:
        return lookup.get(call.session, reference)
    ticket = lookup.get(call.session, own)
    if reference not in (ticket.identifier, ticket.identifier.removeprefix("MC-"), str(own)):
        raise Forbidden("A run reaches only its own ticket.", ticket=ticket.identifier)
    return ticket


def _find_run(call: Call, number: int) -> Run:
    if call.actor.run_id is not None and call.actor.run_id != number:
        raise Forbidden("A run speaks only for itself.", run=call.actor.run_id)
    return lookup.get_run(call.session, number)


# ---------------------------------------------------------------------------------------------------------- answering


def respond(data: Any, status: int = 200) -> Response:
    return _text("" if data is None else _dumped(data), status)


def _dumped(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _text(text: str, status: int, repeated: bool = False) -> Response:
    response = Response(text, status, mimetype="application/json")
    if status == 204:
        del response.headers["Content-Type"]
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
