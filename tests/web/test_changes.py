"""The tab of changes, and the same for programs: a real branch of a real repository."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import ActorKind, ReviewedCommit, Run, TicketStatus
from redaction import SHAPES
from settings import Settings
from tests.workers.repositories import commit, create_repository, git
from tests.workers.runs import build_spec
from tickets.conversation import reviews
from tickets.conversation.reviews import AnswerComment
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden
from web.runs import changes
from workers.contract.spec import write_spec
from workers.repository import changes as looked_at
from workers.repository.git import DiffText

from .conftest import OWN_PAGE, Api, Worker, csrf_token, start


@pytest.fixture
def finished_run(app: Flask, store: Engine, tmp_path: Path) -> Worker:
    """A run whose branch changes one file, adds one and renames one."""
    repo = create_repository(
        tmp_path / "repo", same="Same\n", greet="echo Hello\n", moved="".join(f"line {n}\n" for n in range(30))
    )
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "switch", "--quiet", "--create", "mc/MC-1-greet")
    (repo / "greet.txt").write_text("echo <b>Hi</b>\n")
    (repo / "new.txt").write_text("new\n")
    git(repo, "mv", "moved.txt", "arrived.txt")
    commit(repo, "Greet better")
    worker = start(app, store)
    place = {"repository": str(repo), "branch": "mc/MC-1-greet", "base_sha": base, "host": socket.gethostname()}
    with writing(store) as session:
        session.execute(update(Run).where(Run.id == worker.run).values(**place))
    return worker


def hand_in(store: Engine, worker: Worker) -> None:
    with writing(store) as session:
        reports.apply_report(
            session, worker.run, reports.RunReport(verdict="review", summary="Look."), reports.RetryPolicy()
        )


def tab(browser: FlaskClient, query: str = "") -> str:
    return browser.get(f"/ticket/MC-1?tab=changes{query}").get_data(as_text=True)


def test_the_tab_shows_each_file_with_its_lines_escaped(browser: FlaskClient, finished_run: Worker) -> None:
    markup = tab(browser)
    assert "3 files" in markup and "moved.txt → arrived.txt" in markup
    assert "echo &lt;b&gt;Hi&lt;/b&gt;" in markup and "<b>Hi</b>" not in markup
    assert 'data-remark="-1"' in markup and "No lines changed." in markup


@pytest.mark.parametrize("path", ["/ticket/MC-1?tab=changes", "/ticket/MC-1/part/changes", "/api/v1/runs/1/changes"])
def test_no_transaction_is_open_while_git_looks(
    browser: FlaskClient, store: Engine, finished_run: Worker, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A snapshot that is held for as long as git takes keeps the log of the store from being written back."""
    checked_out: list[int] = []
    look = looked_at.list_changes

    def watch(*given: Any) -> Any:
        checked_out.append(store.pool.checkedout())  # type: ignore[attr-defined]
        return look(*given)

    monkeypatch.setattr(looked_at, "list_changes", watch)
    assert browser.get(path).status_code == 200
    assert checked_out and set(checked_out) == {0}


def test_both_sides_are_shown_beside_each_other(browser: FlaskClient, finished_run: Worker) -> None:
    markup = tab(browser, "&view=split")
    before, after = markup.index("echo Hello"), markup.index("echo &lt;b&gt;")
    assert "</tr>" not in markup[before:after]


def expand(browser: FlaskClient, head: str, **fields: Any) -> tuple[int, list[str]]:
    """The numbers of the lines that are shown when a gap is expanded."""
    query = {"head": head, "path": "long.txt", "start": 1, **fields}
    answer = browser.get("/ticket/MC-1/changes/lines", query_string=query)
    return answer.status_code, re.findall(r'data-remark="(\d+)"', answer.get_data(as_text=True))


def test_a_gap_is_expanded_by_twenty_lines(
    browser: FlaskClient, finished_run: Worker, store: Engine, settings: Settings
) -> None:
    with reading(store) as session:
        repo = Path(session.scalars(select(Run.repository)).one() or "")
    (repo / "long.txt").write_text("".join(f"line <{n}>\n" for n in range(1, 101)))
    commit(repo, "Add a long file")
    head = git(repo, "rev-parse", "HEAD")
    assert f"changes/lines?head={head}" in tab(browser)
    assert expand(browser, head, end=50, shift=3) == (200, [str(n) for n in range(31, 51)])
    assert expand(browser, head, start=45, end=50) == (200, [str(n) for n in range(45, 51)])
    assert expand(browser, head, start=90) == (200, [str(n) for n in range(90, 101)])
    assert expand(browser, head, start=101) == (200, [])
    page = browser.get(f"/ticket/MC-1/changes/lines?head={head}&path=long.txt&start=100&shift=3&view=split").text
    assert '<td class="num">103</td>' in page and "line &lt;100&gt;" in page and "<100>" not in page
    run_dir = settings.run_path(finished_run.run)
    run_dir.mkdir(parents=True)
    write_spec(run_dir, build_spec(run_dir, secrets=("line <99>\nline <100>",)))
    assert "&lt;100&gt;" not in browser.get(f"/ticket/MC-1/changes/lines?head={head}&path=long.txt&start=100").text
    for fields in ({"path": "same.txt"}, {"head": git(repo, "rev-parse", "HEAD~1")}, {"path": "../x"}):
        assert expand(browser, **{"head": head} | fields)[0] == 404
    assert expand(browser, "HEAD")[0] == 422


def test_what_is_too_large_is_cut_and_says_so(
    browser: FlaskClient, finished_run: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_PATCH_BYTES", 150)
    monkeypatch.setattr(changes, "MAX_FILES", 2)
    markup = tab(browser)
    assert "too large to show in full" in markup and "1 more file is not listed" in markup
    assert "the diff is too large." in markup and "echo &lt;b&gt;" not in markup


def test_a_git_that_hangs_holds_few_threads_of_the_board(
    browser: FlaskClient, viewer: Api, finished_run: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: each look at such a repository held a thread for up to a minute, until no page answered."""
    monkeypatch.setattr(changes, "WAIT_SECONDS", 0)
    with ExitStack() as earlier_requests:
        for _ in range(changes.MAX_GIT_THREADS):
            earlier_requests.enter_context(changes.hold_git_slot())
        assert "The changes cannot be read now: git does not answer earlier requests" in tab(browser)
        assert viewer.get(f"/runs/{finished_run.run}/changes").status_code == 404
    assert "3 files" in tab(browser)


def test_a_run_without_a_branch_or_from_elsewhere_says_so(
    browser: FlaskClient, finished_run: Worker, store: Engine
) -> None:
    with writing(store) as session:
        session.execute(update(Run).values(host="another.example"))
    assert "changes are on another.example" in tab(browser)
    with writing(store) as session:
        session.execute(update(Run).values(host=socket.gethostname(), branch="mc/gone"))
    assert "no longer in the repository" in tab(browser)
    with writing(store) as session:
        session.execute(update(Run).values(branch=None))
    assert "no branch of its own" in tab(browser)


def read_field(markup: str, name: str) -> str:
    return markup.split(f'name="{name}" value="')[1].split('"')[0]


def send_review(browser: FlaskClient, *comments: tuple[str, str, str], **fields: str) -> int:
    """Send the form of the review, with these comments: path, line and text."""
    markup = tab(browser).split("data-remarks>")[1].split("</form>")[0]
    hidden = {name: read_field(markup, name) for name in ("version", "base", "head") if f'name="{name}"' in markup}
    columns = zip(("path", "line", "body"), zip(*comments, strict=True), strict=False)
    repeated = {f"comment_{name}": list(values) for name, values in columns}
    data = {"csrf": csrf_token(browser), **hidden, **repeated, **fields}
    return browser.post("/ticket/MC-1/review", data=data, headers=OWN_PAGE).status_code


def find_discussions(markup: str) -> dict[str, str]:
    """The comments on the page by number: the name of the line that each is below, or where else it is."""
    places, line = {}, "file"
    for name, number, place in re.findall(
        r'data-remark="([^"]+)"|id="line-comment-(\d+)" data-live="[^"?]*(\?line=\d+)?"', markup
    ):
        line = name or line
        if number:
            places[number] = line if place else "outdated"
    return places


def test_a_review_reaches_the_agent_as_one_message_and_its_comments_follow_their_lines(
    app: Flask,
    browser: FlaskClient,
    finished_run: Worker,
    store: Engine,
    viewer: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand_in(store, finished_run)
    with reading(store) as session:
        run = session.scalars(select(Run)).one()
    assert "Since your last review" not in tab(browser)
    assert send_review(browser, body=" ") == 422
    comments = (
        ("greet.txt", "1", "Too *bold*."),
        ("greet.txt", "-1", "Why?"),
        ("arrived.txt", "30", "Last."),
        ("new.txt", "1", "New?"),
    )
    assert send_review(browser, *comments, body="Nearly.") == 303
    with reading(store) as session:
        assert lookup.get_ticket(session, "MC-1").status is TicketStatus.TODO
    conversation = browser.get("/ticket/MC-1").get_data(as_text=True)
    assert (
        "<p>Nearly.</p>" in conversation and "Comment 2 on <code>greet.txt:1</code> (as it was): Why?" in conversation
    )
    assert find_discussions(tab(browser)) == {"1": "1", "2": "-1", "3": "file", "4": "1"}

    with writing(store) as session:
        claim = claims.claim_ticket(session, lookup.get_ticket(session, "MC-1").id, "here")
        place = {"repository": run.repository, "branch": run.branch, "base_sha": run.base_sha, "host": run.host}
        session.execute(update(Run).where(Run.id == claim.run.id).values(**place))
    repo = Path(run.repository or "")
    (repo / "greet.txt").write_text("# Greet\necho <b>Hi</b>\n")
    (repo / "new.txt").unlink()
    git(repo, "mv", "arrived.txt", "again.txt")
    commit(repo, "Say what it does")
    assert find_discussions(tab(browser)) == {"1": "2", "2": "-1", "3": "file", "4": "outdated"}
    assert 'small">arrived.txt</p>' not in tab(browser)  # it has another name, and is shown
    (repo / "greet.txt").write_text("echo Hi\n")
    commit(repo, "Be plain")
    markup = tab(browser, "&since=review")
    assert "Too <em>bold</em>." in markup and find_discussions(markup)["1"] == "outdated"
    since = {path for path in ("greet.txt", "new.txt", "again.txt", "moved.txt") if f'data-file="{path}"' in markup}
    assert since == {"greet.txt", "new.txt", "again.txt"} and "echo Hello" not in markup

    agent = Worker(app.test_client(), claim.token, claim.run.id, "MC-1")
    answer = agent.post("/tickets/MC-1/line-comments/1/answer", {"answer": "It is plain now."})
    assert (answer.status_code, answer.get_json()["resolved_by"]) == (200, "script")
    assert agent.post("/tickets/MC-1/line-comments/9/answer", {"answer": "Which?"}).status_code == 404
    monkeypatch.setattr(reviews, "MAX_RUN_ANSWERS", 1)
    assert agent.post("/tickets/MC-1/line-comments/2/answer", {"answer": "Again."}).status_code == 413
    listing = viewer.get("/tickets/MC-1/line-comments").get_json()["items"]
    assert [item["answer"] for item in listing] == ["It is plain now.", None, None, None]
    part = browser.get("/ticket/MC-1/line-comments/1").get_data(as_text=True)
    assert "Resolved by script" in part and "It is plain now." in part and "Outdated" in part
    form = {"csrf": csrf_token(browser), "resolved": "no"}
    assert browser.post("/ticket/MC-1/line-comments/1", data=form, headers=OWN_PAGE).status_code == 303
    assert "Resolve conversation" in browser.get("/ticket/MC-1/line-comments/1").get_data(as_text=True)
    assert viewer.post("/tickets/MC-1/line-comments/1/answer", {"answer": "No."}).status_code == 403
    stranger = Actor(ActorKind.RUN, "script", run_id=99, ticket_id=99)
    with pytest.raises(Forbidden), writing(store) as session:
        ticket = lookup.get_ticket(session, "MC-1")
        reviews.answer_comment(session, ticket.id, 2, AnswerComment(answer="No."), stranger)

    assert send_review(browser, body="And in German?") == 303
    assert "messaged the agent" in browser.get("/activity").get_data(as_text=True)
    assert "No changes since your last review" in tab(browser, "&since=review")
    with writing(store) as session:
        session.execute(update(ReviewedCommit).values(commit_sha="0" * 40))
    gone = tab(browser, "&since=review")
    assert "Changes cannot be shown" in gone and "Show all changes" in gone


def test_what_approval_lacks_is_said_beside_it(
    browser: FlaskClient, finished_run: Worker, operator: Api, store: Engine
) -> None:
    assert "Not to be approved" not in tab(browser)
    hand_in(store, finished_run)
    assert 'value="approve"' in tab(browser)
    with writing(store) as session:
        lookup.get_ticket(session, "MC-1").acceptance = [{"text": "It greets by name"}]
    markup = tab(browser)
    assert "It greets by name" in markup and "/ticket/MC-1/move/approve" in markup


def test_programs_read_the_changes_and_those_of_one_file(viewer: Api, finished_run: Worker) -> None:
    whole = viewer.get(f"/runs/{finished_run.run}/changes").get_json()
    assert [(file["path"], file["status"]) for file in whole["files"]] == [
        ("arrived.txt", "renamed"),
        ("greet.txt", "modified"),
        ("new.txt", "added"),
    ]
    one = viewer.get(f"/runs/{finished_run.run}/changes?path=new.txt").get_json()["patch"]
    assert "+new" in one and "greet" not in one
    assert viewer.get(f"/runs/{finished_run.run}/changes?max_bytes=20").get_json()["truncated"] is True
    assert finished_run.get(f"/runs/{finished_run.run}/changes").status_code == 200


def test_a_secret_that_the_agent_has_committed_is_redacted_where_the_changes_are_read(
    browser: FlaskClient, viewer: Api, finished_run: Worker, settings: Settings
) -> None:
    run_dir = settings.run_path(finished_run.run)
    run_dir.mkdir(parents=True)
    write_spec(run_dir, build_spec(run_dir, secrets=("line 3\nline 4", "echo <b>Hi</b>")))
    assert "[redacted]" in tab(browser) and "&lt;b&gt;Hi" not in tab(browser)
    whole = viewer.get(f"/runs/{finished_run.run}/changes").get_json()["patch"]
    short_answer = viewer.get(f"/runs/{finished_run.run}/changes?max_bytes={whole.index('[redacted]') + 12}").get_json()
    assert (
        "<b>Hi" not in whole + short_answer["patch"]
        and "[... " not in short_answer["patch"]
        and short_answer["truncated"]
    )


def test_a_patch_that_was_cut_within_a_token_shows_no_beginning_of_it() -> None:
    """Regression: a reader chooses where a patch is cut, and was shown all characters of an access key but the last."""
    patch = DiffText("+key = AKIAIOSFODNN7EXAMPL", truncated=True)
    assert changes.redact_patch(patch, SHAPES) == "+key = "


def test_a_run_that_changed_nothing_readable_is_not_found(viewer: Api, worker: Worker) -> None:
    assert viewer.get(f"/runs/{worker.run}/changes").status_code == 404
