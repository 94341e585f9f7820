"""Files: taken within limits under names of our own, and never shown in place."""

from __future__ import annotations

import io
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, update
from werkzeug.test import TestResponse

import auth
from database import reading, writing
from models import Attachment
from settings import Settings
from tickets.conversation import attachments
from tickets.runs import reports
from tickets.shared import lookup
from tickets.workflow import evidence

from .conftest import Api, Worker, start

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40


def upload(caller: Api, content: bytes = PNG, name: str = "shot.png", **fields: Any) -> TestResponse:
    ticket = caller.ticket if isinstance(caller, Worker) else "MC-1"
    headers = fields.pop("headers", {})
    form = {"file": (io.BytesIO(content), name), **fields}
    return caller.post(f"/tickets/{ticket}/attachments", data=form, headers=headers)


@pytest.fixture
def ticket(operator: Api) -> str:
    return str(operator.post("/tickets", {"title": "Look"}).json["identifier"])  # type: ignore[index]


def stored(settings: Settings) -> list[Path]:
    return list(settings.attachments_dir.iterdir())


def test_what_was_uploaded_comes_back_as_a_download(operator: Api, ticket: str, settings: Settings) -> None:
    attachment: Any = upload(operator).json
    assert (attachment["name"], attachment["media_type"], attachment["size"]) == ("shot.png", "image/png", len(PNG))
    answer = operator.call("GET", attachment["href"].removeprefix("/api/v1"))
    assert answer.data == PNG and answer.mimetype == "image/png"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert (
        answer.headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in answer.headers["Content-Security-Policy"]
    )
    [file] = stored(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "shot" not in file.name


def test_the_type_is_what_the_content_shows_not_what_is_claimed(operator: Api, ticket: str) -> None:
    for content, expected in (
        (b"<html><script>alert(1)</script>", "text/plain"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "text/plain"),
        (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
        (b"%PDF-1.7 ...", "application/pdf"),
        ("Grüße\n".encode(), "text/plain"),
    ):
        attachment: Any = upload(operator, content, "page.html").json
        assert attachment["media_type"] == expected, content


def test_other_content_is_refused_and_leaves_no_file(operator: Api, ticket: str, settings: Settings) -> None:
    for content in (b"\x7fELF" + b"\x00" * 60, b"MZ\x90\x00", b"", b"text\x00text", b"\xfe\xff\x00a"):
        assert upload(operator, content).status_code == 422, content
        assert stored(settings) == [], content


def test_text_that_goes_bad_far_in_is_refused(operator: Api, ticket: str, settings: Settings) -> None:
    assert upload(operator, b"a" * 200_000 + b"\xff", "log.txt").status_code == 422
    assert stored(settings) == []


def test_a_letter_across_two_chunks_is_still_text(operator: Api, ticket: str) -> None:
    content = b"a" * (attachments.CHUNK_BYTES - 1) + "ü".encode() + b"b"
    assert upload(operator, content, "log.txt").status_code == 201


def test_a_name_cannot_lead_anywhere_or_deceive(operator: Api, ticket: str, settings: Settings) -> None:
    for file_name, expected in (
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a<b>:c?.png", "abc.png"),
        ("..", "file"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
    ):
        attachment: Any = upload(operator, name=file_name).json
        assert attachment["name"] == expected, file_name
    assert len(stored(settings)) == 6
    assert all(file.parent == settings.attachments_dir for file in stored(settings))


def test_files_past_the_limits_are_refused_and_leave_nothing(app: Flask, operator: Api, ticket: str) -> None:
    instance: auth.Instance = app.extensions["mission_control"]
    tight = instance.settings.model_copy(update={"attachment_limit_bytes": 1000, "attachment_limit_count": 1})
    app.extensions["mission_control"] = replace(instance, settings=tight)
    assert upload(operator, PNG * 100).status_code == 413
    assert upload(operator, b"x" * 200_000, "log.txt").status_code == 413
    assert upload(operator).status_code == 201
    assert upload(operator).status_code == 422
    assert len(stored(tight)) == 1


@pytest.mark.both_databases
def test_no_file_is_left_when_its_row_fails(
    operator: Api, ticket: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: Any) -> None:
        raise RuntimeError("the disk of the store is full")

    monkeypatch.setattr(attachments, "add_attachment", fail)
    assert upload(operator).status_code == 500
    assert stored(settings) == []


@pytest.mark.both_databases
def test_an_upload_repeated_with_its_key_is_stored_once(operator: Api, ticket: str, settings: Settings) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first, again = upload(operator, headers=key), upload(operator, headers=key)
    assert first.json == again.json and again.headers["Idempotency-Replayed"] == "true"
    assert len(stored(settings)) == 1
    assert upload(operator, b"other", headers=key).status_code == 409
    assert len(stored(settings)) == 1


def test_a_row_that_names_another_file_is_never_followed(
    operator: Api, ticket: str, settings: Settings, store: Engine
) -> None:
    attachment: Any = upload(operator).json
    secret = settings.home / "secrets" / "form.key"
    link = settings.attachments_dir / ("a" * 32)
    link.symlink_to(secret)
    for name in ("../secrets/form.key", str(secret), link.name, "b" * 32):
        with writing(store) as session:
            session.execute(update(Attachment).values(stored_as=name))
        assert operator.get(f"/attachments/{attachment['id']}").status_code == 404


def test_a_runs_file_becomes_evidence_for_an_item(worker: Worker, store: Engine) -> None:
    attachment: Any = upload(worker, summary="The page as it looks now", item="0").json
    with reading(store) as session:
        [claim] = evidence.list_evidence(session, lookup.get_ticket(session, worker.ticket).id)
    assert (claim.kind, claim.source, claim.item, claim.summary) == (
        "attachment",
        "claim",
        0,
        "The page as it looks now",
    )
    facts = {name: attachment[name] for name in ("sha256", "media_type")}
    assert claim.data == {"attachment": attachment["id"], **facts}


def test_a_run_neither_reads_nor_adds_files_elsewhere(worker: Worker, operator: Api, settings: Settings) -> None:
    other: Any = operator.post("/tickets", {"title": "Not yours"}).json
    form = {"file": (io.BytesIO(PNG), "a.png")}
    attachment: Any = operator.post(f"/tickets/{other['identifier']}/attachments", data=form).json
    assert worker.get(f"/attachments/{attachment['id']}").status_code == 403
    form = {"file": (io.BytesIO(PNG), "a.png")}
    assert worker.post(f"/tickets/{other['identifier']}/attachments", data=form).status_code == 403
    assert len(stored(settings)) == 1


def test_an_agent_at_work_is_told_of_a_new_file(app: Flask, store: Engine, operator: Api, worker: Worker) -> None:
    def attach(ticket: str) -> list[str]:
        form = {"file": (io.BytesIO(PNG), "shot.png")}
        assert operator.post(f"/tickets/{ticket}/attachments", data=form).status_code == 201
        listed: Any = operator.get(f"/tickets/{ticket}/messages").json
        return [message["body"] for message in listed["items"]]

    assert operator.post("/profiles", {"name": "fast", "program": "claude"}).status_code == 201
    assert operator.post("/agents", {"name": "luci", "runnable": True, "profile": "fast"}).status_code == 201
    reader = start(app, store, assigned_to="luci")
    upload(reader, name="its own.png")
    [message] = attach(reader.ticket)
    assert message.startswith("The file shot.png (image/png, 48 bytes) was attached to this ticket. It is number 2:")
    assert "mc_get_attachment" in message
    assert attach(worker.ticket) == [], "the script agent reads no messages"


def test_an_ended_run_adds_no_file(worker: Worker, store: Engine, settings: Settings) -> None:
    with writing(store) as session:
        reports.apply_report(session, worker.run, reports.RunReport(verdict="failed"), reports.RetryPolicy())
    assert upload(worker).status_code == 409
    assert stored(settings) == []


def test_a_stranger_cannot_upload(app: Flask, ticket: str, settings: Settings) -> None:
    form = {"file": (io.BytesIO(PNG), "a.png")}
    assert app.test_client().post("/api/v1/tickets/MC-1/attachments", data=form).status_code == 403
    assert stored(settings) == []
