"""Health: the liveness probe `/healthz`, open to everyone, and the health report of the API."""

from __future__ import annotations

from flask.sansio.blueprints import BlueprintSetupState
from typing_extensions import TypedDict

import auth
from tickets.lifecycle.schemas import CheckJson
from web.api.resource import Call, Resource
from web.site import verdict

blueprint = Resource("health", __name__)


class CauseJson(TypedDict):
    check: CheckJson
    explains: list[str]


class HealthJson(TypedDict):
    verdict: str
    reasons: list[str]
    causes: list[CauseJson]
    checks: list[CheckJson]


@blueprint.reads("/health")
def read_health(call: Call) -> HealthJson:
    """Read the health report: `working`, `degraded` or `not working`, with the root causes and every check."""
    report = verdict.load_verdict(call.session)
    return {
        "verdict": report.verdict,
        "reasons": report.reasons,
        "causes": [
            {"check": CheckJson.read(cause.check), "explains": [check.name for check in cause.explains]}
            for cause in report.causes
        ],
        "checks": [CheckJson.read(check) for check in report.checks],
    }


@auth.serve_everywhere
def alive() -> tuple[str, int, dict[str, str]]:
    """Report that this process serves requests, without reading the database."""
    return "ok\n", 200, {"Content-Type": "text/plain; charset=utf-8"}


@blueprint.record
def _add_liveness(state: BlueprintSetupState) -> None:
    """Register the liveness probe outside the API's prefix, at the usual path of load balancers."""
    state.app.add_url_rule("/healthz", "healthz", alive)
