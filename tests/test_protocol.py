"""What a wrapper and the server say to each other: one set of keys, and room for those of another version."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

from database import reading, writing
from models import Failure, Outcome, Run, RunState
from protocol import (
    AGENT_EVENT_KINDS,
    ClaimMessage,
    EventType,
    HeartbeatMessage,
    MessageKind,
    ReportMessage,
    RunLimits,
    WrapperState,
)
from settings import Limits
from tickets.runs import heartbeat, reports
from tickets.runs.heartbeat import RunHeartbeat
from tickets.runs.reports import ReportedClaim, RetryPolicy, RunReport
from tickets.shared import lookup
from tickets.workflow.evidence import read_observations

from .test_sessions import claimed
from .test_spine import make


@pytest.mark.parametrize(
    ("message", "model"), [(HeartbeatMessage, RunHeartbeat), (ReportMessage, RunReport), (ClaimMessage, ReportedClaim)]
)
def test_the_server_reads_the_keys_that_a_wrapper_writes(message: type[Any], model: type[BaseModel]) -> None:
    assert [field.name for field in fields(message)] == list(model.model_fields)


def test_kinds_and_states_are_the_same_wherever_they_are_listed() -> None:
    agent_types = {kind.removeprefix("agent.") for kind in EventType if kind.startswith("agent.")}
    assert agent_types == AGENT_EVENT_KINDS and set(MessageKind) <= AGENT_EVENT_KINDS
    assert {*get_args(WrapperState), RunState.ENDED} == set(RunState)


def test_the_limits_of_the_settings_are_those_of_a_run() -> None:
    defaults = Limits().model_dump(exclude={"answer_seconds"})
    assert {name: getattr(RunLimits(), name) for name in defaults} == defaults


def a_run(engine: Engine) -> Run:
    return claimed(engine, make(engine, assigned_to="claude"))


def test_a_heartbeat_of_another_version_counts(engine: Engine) -> None:
    run = a_run(engine)
    body = RunHeartbeat.model_validate_json('{"state": "running", "pid": 7, "mood": "calm"}', strict=True)
    with writing(engine) as session:
        heartbeat.record_heartbeat(session, run.id, body)
    with reading(engine) as session:
        values = lookup.get_run(session, run.id)
    assert (values.state, values.pid, values.heartbeat is not None) == (RunState.RUNNING, 7, True)


def test_a_report_of_another_version_ends_the_run(engine: Engine) -> None:
    run = a_run(engine)
    body = RunReport.model_validate_json(
        '{"verdict": "protocol_violation", "failure": {"class": "ghost", "message": "Boo.", "x": 1}, "usage": {"turns": 3, "x": 1},'
        ' "claims": [{"text": "t", "x": 1}], "observations": {"files_changed": 2, "x": 1}, "x": 1}',
        strict=True,
    )
    with writing(engine) as session:
        assert reports.apply_report(session, run.id, body, RetryPolicy()).accepted
    with reading(engine) as session:
        ended = lookup.get_run(session, run.id)
    assert (ended.outcome, ended.failure) == (Outcome.PROTOCOL_VIOLATION, Failure.PROTOCOL_VIOLATION)
    assert (ended.failure_detail, ended.turns) == ("Boo.", 3)
    rest = body.model_dump(mode="json", by_alias=True)
    assert (rest["failure"]["class"], rest["x"]) == ("ghost", 1)


def test_observations_name_a_whole_commit_or_none() -> None:
    assert read_observations({"base_sha": "a" * 40}).base_sha == "a" * 40
    with pytest.raises(ValueError, match="full name of a commit"):
        read_observations({"base_sha": "--upload-pack=x"})
