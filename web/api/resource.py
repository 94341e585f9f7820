"""Declaration of JSON API routes, from which their parsing, rights, transaction and schema follow.

    blueprint = Resource("tickets", __name__)

    @blueprint.writes("POST", "/tickets/<ticket>/comments", status=201)
    def add_comment(call: Call, ticket: Ticket, body: NewComment) -> CommentJson: ...

The parameters of the view determine the parsing: `ticket` and `run` are looked up from the path (a run's token has
access to its own only), `query` and `body` are validated by their annotation, and the return annotation becomes the
schema of the response. A view that writes gets the one transaction of the request: an error that it raises rolls the
transaction back, an error that it *returns* is sent after the commit. `Idempotency-Key` is handled in the same
transaction.
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
import failpoints
from auth import Right
from database import Session, reading, writing
from failpoints import Failpoint
from models import Run
from settings import Settings
from tickets.runs.notify_run import notify_run
from tickets.shared import idempotency, lookup, responses, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost, DomainError, Invalid
from tickets.shared.inputs import Body
from tickets.workflow import quarantine

from . import request_body

PREFIX = "/api/v1"
MAX_KEY_LENGTH = 200
FILE = ("application/octet-stream",)

View = Callable[..., Any]
Declaration = Callable[[View], View]

ANYBODY = auth.PROGRAMS | auth.READERS
WRITERS = frozenset({Right.OPERATOR, Right.ORCHESTRATOR, Right.SERVICE})
OPERATORS = frozenset({Right.OPERATOR})
RUNS = frozenset({Right.RUN})


@dataclass(slots=True)
class Call:
    """Context of a request for a view: the transaction, the caller, and functions to call after the commit.

    `examination` is the result of the route's `examine`.
    """

    session: Session
    caller: auth.Caller
    settings: Settings
    after: list[Callable[[], None]] = field(default_factory=list)
    examination: Any = None

    @property
    def actor(self) -> Actor:
        return self.caller.actor

    def notify_run(self, run_id: int | None) -> None:
        """Notify a live run after the commit."""
        self.after.append(lambda: notify_run(self.settings, run_id))


@dataclass(frozen=True, slots=True)
class Route:
    """Declaration of one route, from which the OpenAPI document is generated."""

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
    """Media types of a response that is not JSON."""


ROUTES: list[Route] = []
"""Every route of the API, in the order of declaration."""


class Resource(Blueprint):
    """A blueprint whose routes are declared with `reads` and `writes`, below `/api/v1`."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name, module, url_prefix=PREFIX)

    def reads(self, rule: str, *, rights: frozenset[Right] = ANYBODY, errors: tuple[int, ...] = ()) -> Declaration:
        """Declare a GET, whose view reads one snapshot of the database."""

        def declare(view: View) -> View:
            route = _build_route(self, view, "GET", rule, rights, errors=errors)
            self._add(route, lambda args: _serve_read(view, route, args))
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
        examine: Callable[..., Any] | None = None,
    ) -> Declaration:
        """Declare a write.

        With `batch` the body is one object, an array or NDJSON. With `secret` the response is not stored for
        `Idempotency-Key`. With `late` the view itself handles a request from a run that has ended, which is refused and
        quarantined otherwise. `examine` is called with the body and the arguments of the path before the transaction, for
        what takes longer than one may, and its result is the call's `examination`.
        """

        def declare(view: View) -> View:
            options = {"errors": errors, "batch": batch, "repeatable": not secret}
            route = _build_route(self, view, method, rule, rights, status, **options)
            self._add(route, lambda args: _serve_write(view, route, args, late, examine))
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
        """Declare a route whose view handles request and transaction itself, for uploads (`form`), files and streams.

        `query` describes the query parameters that the view reads, `media` the media types of its response.
        """

        def declare(view: View) -> View:
            description: dict[str, Any] = {"form": form, "media": media, "errors": errors}
            route = _build_route(self, view, method, rule, rights, status, **description, repeatable=form is not None)
            self._add(replace(route, answer=answer, query=query), lambda args: view(**args))
            return view

        return declare

    def _add(self, route: Route, respond: Callable[[dict[str, Any]], Response]) -> None:
        def endpoint(**args: Any) -> Response:
            return respond(args)

        ROUTES.append(route)
        protected_view = auth.allow(*route.rights)(endpoint)
        self.add_url_rule(
            route.rule,
            route.name,
            auth.accept_uploads(protected_view) if route.form else protected_view,
            methods=[route.method],
        )


def _build_route(
    resource: Resource,
    view: View,
    method: str,
    rule: str,
    rights: frozenset[Right],
    status: int = 200,
    **options: Any,
) -> Route:
    hints = get_type_hints(view, include_extras=True)
    answer = _remove_errors(hints["return"])
    path = tuple(name for name in hints if name not in ("call", "body", "query", "return"))
    summary = (view.__doc__ or "").split("\n\n")[0].strip()
    status = 204 if answer is type(None) else status
    types = {"body": hints.get("body"), "query": hints.get("query"), "answer": answer}
    return Route(
        view.__name__, method, rule, summary, rights, path, **types, status=status, tag=resource.name, **options
    )


def _remove_errors(hint: Any) -> Any:
    """Remove the errors that a view may return from its return annotation."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    parts = [part for part in get_args(hint) if not (isinstance(part, type) and issubclass(part, DomainError))]
    return Union[tuple(parts)]  # noqa: UP007 - the members are known at run time only


# ------------------------------------------------------------------------------------------------------------ serving


def _serve_read(view: View, route: Route, args: dict[str, Any]) -> Response:
    inputs = _parse_request(route)
    with reading(auth.get_instance().engine) as session:
        call = _build_call(session)
        return respond(view(call, **_load_path_arguments(call, args), **inputs), route.status)


def _serve_write(
    view: View, route: Route, args: dict[str, Any], late: bool, examine: Callable[..., Any] | None
) -> Response:
    inputs = _parse_request(route)
    examination = examine(inputs["body"], **args) if examine else None

    def work(call: Call) -> Any:
        call.examination = examination
        refusal = None if late else refuse_late(call, route.name, request_body.read_text())
        return refusal or view(call, **_load_path_arguments(call, args), **inputs)

    return perform(work, route.status, parse_idempotency_key(request.get_data()) if route.repeatable else None)


def refuse_late(call: Call, kind: str, content: str) -> ClaimLost | None:
    """Quarantine a write from a run that has ended, and return the error to send after the commit, or None."""
    run_id = call.actor.run_id
    return quarantine.refuse_late(call.session, run_id, kind, content) if run_id is not None else None


def perform(work: Callable[[Call], Any], status: int, key: idempotency.KeyedRequest | None) -> Response:
    """Execute a write in one transaction, or repeat the stored response of an earlier request with the same `key`.

    An error that `work` returns is raised after the commit.
    """
    with writing(auth.get_instance().engine) as session:
        call = _build_call(session)
        previous = idempotency.find_response(session, key) if key else None
        if previous is not None:
            return _build_response(previous.text, previous.status, repeated=True)
        data = work(call)
        refusal = data if isinstance(data, DomainError) else None
        text = "" if refusal or data is None else _dump_json(data)
        if key and refusal is None:
            idempotency.store_response(session, key, idempotency.StoredResponse(status, text))
    failpoints.kill_at(Failpoint.COMMITTED)
    for follow in call.after:
        follow()
    if refusal is not None:
        raise refusal
    return _build_response(text, status)


def _build_call(session: Session) -> Call:
    return Call(session, auth.get_caller(), auth.get_instance().settings)


def _parse_request(route: Route) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    if route.query is not None:
        inputs["query"] = route.query.model_validate(request.args.to_dict())
    elif request.args:
        raise Invalid("This address has no query parameters.", fields=dict.fromkeys(request.args, "is unknown"))
    if route.body is not None:
        inputs["body"] = request_body.read_body(route.body, batch=route.batch)
    return inputs


def parse_idempotency_key(content: bytes) -> idempotency.KeyedRequest | None:
    """Build the idempotency record of a request with an `Idempotency-Key`, or return None without one.

    `content` is the part of the request that has to be equal in a repetition.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise Invalid(f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} printable characters.")
    caller = auth.get_caller()
    fingerprint = b"\n".join((request.method.encode(), request.full_path.encode(), content))
    return idempotency.KeyedRequest(caller.identity, key, hashlib.sha256(fingerprint).hexdigest())


def _load_path_arguments(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Replace the ticket and the run in the arguments of a path by their rows. Raises `Forbidden` for those of others."""
    arguments = dict(args)
    if "ticket" in args:
        arguments["ticket"] = lookup.get_for(call.session, args["ticket"], call.actor)
    if "run" in args:
        arguments["run"] = _find_run(call, args["run"])
    return arguments


def _find_run(call: Call, number: int) -> Run:
    rights.require_own_run(call.actor, number)
    return lookup.get_run(call.session, number)


# ---------------------------------------------------------------------------------------------------------- responses


def respond(data: Any, status: int = 200) -> Response:
    return _build_response("" if data is None else _dump_json(data), status)


def _dump_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=responses.Response.as_json)


def _build_response(text: str, status: int, repeated: bool = False) -> Response:
    response = Response(text, status, mimetype="application/json")
    if status == 204:
        del response.headers["Content-Type"]
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
