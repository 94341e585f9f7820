from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update

from database import open_engine, reading, writing
from mc_cli import main
from models import Agent, AgentKind, Run, Ticket
from settings import load
from tickets.alerts import telegram_pairing
from tickets.lifecycle.schemas import build_ticket_json
from tickets.planning import plans
from tickets.runs import claims, reports
from tickets.shared.actors import Actor
from tickets.shared.lookup import get_ticket
from tickets.team import agents, projects
from tickets.team.projects import NewProject
from tickets.workflow import relationships

from .test_item_evidence import submit
from .test_landing import SEEN, handed_in
from .workers.repositories import create_repository, git

ROOT = Path(__file__).resolve().parent.parent
Mc = Callable[..., Result]


@pytest.fixture
def mc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mc:
    """Calls `mc` with a home of its own whose store is ready."""
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def call(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    assert call("db", "upgrade").output == "The store was upgraded.\n"
    return call


def test_a_ticket_is_created_and_shown_as_json(mc: Mc) -> None:
    created = json.loads(
        mc("ticket", "create", "Fix the door", "--tag", "bug", "--accept", "It opens", "--json").output
    )
    output = json.loads(mc("ticket", "show", created["identifier"], "--json").output)

    assert (created["identifier"], created["status"], created["title"]) == ("MC-1", "todo", "Fix the door")
    assert "cancel" in output["moves"]


def test_tags_follow_from_the_title_until_somebody_replaces_them(mc: Mc) -> None:
    mc("ticket", "create", "Fix the door")
    assert json.loads(mc("ticket", "show", "MC-1", "--json").output)["tags"] == ["bug"]
    assert json.loads(mc("ticket", "tag", "MC-1", "infra", "doors", "--json").output)["tags"] == ["doors", "infra"]
    mc("ticket", "tag", "MC-1")
    assert json.loads(mc("ticket", "show", "MC-1", "--json").output)["tags"] == []


def test_a_plan_is_shown_sent_back_and_approved_as_edited(mc: Mc, tmp_path: Path) -> None:
    created = mc("ticket", "create", "Fix the door", "--assign", "script", "--plan", "first")
    assert created.exit_code == 0, created.output
    assert "MC-1 has no plan." in mc("plan", "show", "1").output
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        run = claims.claim_ticket(session, 1, "here").run
        plans.propose_plan(session, run, "Oil it.")
        reports.mark_lost(session, run.id, "gone", reports.RetryPolicy())
    assert "(version 1)" in mc("plan", "return", "MC-1", "Which oil?").output
    assert "already returned" in mc("plan", "approve", "MC-1").output
    with writing(engine) as session:
        plans.propose_plan(session, run, "Oil it with olive oil.")
    assert "(version 3)" in mc("plan", "approve", "MC-1", "--file", "-", stdin="Oil it with machine oil.").output
    newest = json.loads(mc("plan", "show", "MC-1", "--json").output)
    assert (newest["state"], newest["body"]) == ("approved", "Oil it with machine oil.")
    engine.dispose()


def test_several_agents_try_a_ticket_and_one_attempt_is_kept(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door")
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        profile = session.scalars(select(Agent.profile).where(Agent.name == "script")).one()
        session.add(Agent(name="codex", kind=AgentKind.AGENT, runnable=True, profile=profile))
    engine.dispose()
    assert "at least 2 items" in mc("ticket", "try", "MC-1", "script").output
    started = json.loads(mc("ticket", "try", "MC-1", "script", "codex", "--json").output)
    assert [(row["identifier"], row["assigned_to"]) for row in started] == [("MC-2", "script"), ("MC-3", "codex")]
    assert json.loads(mc("ticket", "keep", "MC-3", "--json").output)["cancelled"] == ["MC-2"]
    assert "not one of several attempts" in mc("ticket", "keep", "MC-1").output


def test_a_description_and_a_comment_may_come_from_standard_input(mc: Mc) -> None:
    mc("ticket", "create", "Fix the door", "--description", "-", stdin="It *squeaks*.")
    mc("ticket", "comment", "MC-1", "-", stdin="Oil is in the shed.")

    output = mc("ticket", "show", "1").output

    assert "description: It *squeaks*." in output
    assert "Oil is in the shed." in output


def test_a_ticket_is_created_as_a_fork(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door")
    mc("ticket", "create", "Fix it otherwise", "--fork-of", "MC-1")
    with sqlite3.connect(tmp_path / "home/mc.db") as store:
        assert store.execute("SELECT ticket_id, kind, other_id FROM ticket_relationships").fetchall() == [
            (2, "fork_of", 1)
        ]
    result = mc("ticket", "create", "Fix it", "--fork-of", "MC-9")
    assert result.exit_code != 0 and "MC-9" in result.output


@pytest.mark.parametrize(
    ("wake", "stored"),
    [
        (["manual"], {"kind": "manual"}),
        (["time", "at=2100-01-31T09:00:00Z"], {"kind": "time", "at": "2100-01-31T09:00:00Z"}),
        (["ticket", "ticket=MC-1"], {"kind": "ticket", "ticket": "MC-1"}),
        (["probe", 'probe=["test", "-e", "ready"]'], {"kind": "probe", "probe": ["test", "-e", "ready"]}),
        (["agent_idle", "agent=script", "minutes=30"], {"kind": "agent_idle", "agent": "script", "minutes": 30}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_parked_ticket_is_created_with_its_wake_condition(
    mc: Mc, tmp_path: Path, wake: list[str], stored: dict[str, object]
) -> None:
    mc("ticket", "create", "Awaited")
    options = [word for fact in wake for word in ("--wake", fact)]
    created = json.loads(mc("ticket", "create", "Wait", "--status", "waiting", *options, "--json").output)

    assert created["status"] == "waiting"
    with reading(open_engine(f"sqlite:///{tmp_path / 'home/mc.db'}")) as session:
        wakes = build_ticket_json(session, [get_ticket(session, created["identifier"])])[0]["wake"]
    assert wakes is not None and stored.items() <= wakes.items()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--status", "waiting"], "a ticket created as waiting needs a wake condition"),
        (["--wake", "manual"], "a ticket created as waiting needs a wake condition, and only such a ticket has one"),
        (["--status", "waiting", "--wake", "time"], "a wake of kind time needs at"),
        (["--status", "waiting", "--wake", "time", "--wake", "at=9:00"], "wake.at"),
        (["--status", "waiting", "--wake", "soon"], "wake.kind"),
        (["--status", "waiting", "--wake", "probe", "--wake", "probe=[x"], "probe is not valid JSON"),
        (["--status", "waiting", "--wake", "ticket", "--wake", "ticket=MC-99"], "MC-99"),
    ],
)
def test_a_wake_condition_that_does_not_hold_together_is_refused(mc: Mc, arguments: list[str], error: str) -> None:
    result = mc("ticket", "create", "Wait", *arguments)

    assert result.exit_code != 0 and error in result.output, result.output
    assert mc("ticket", "list").output == "Nothing found.\n"


def test_open_tickets_are_listed_newest_first(mc: Mc) -> None:
    for title in ("First", "Second", "Third"):
        mc("ticket", "create", title)
    mc("ticket", "move", "MC-2", "cancel")

    assert [row["title"] for row in json.loads(mc("ticket", "list", "--json").output)] == ["Third", "First"]
    assert "Second" in mc("ticket", "list", "--status", "cancelled").output


def test_a_move_carries_its_facts(mc: Mc) -> None:
    mc("ticket", "create", "Fix the door")

    result = mc("ticket", "move", "MC-1", "park", 'wake={"kind": "manual"}', "priority=high", "--json")

    assert json.loads(result.output)["status"] == "waiting"
    assert json.loads(result.output)["priority"] == "high"


def test_a_move_that_stops_a_run_notifies_it(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door", "--assign", "script")
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        run = claims.claim_ticket(session, 1, socket.gethostname()).run
    engine.dispose()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(load().run_socket(run.id)))
        listener.setblocking(False)
        mc("ticket", "move", "MC-1", "park", 'wake={"kind": "manual"}')
        assert listener.recv(16) == b"look"


def test_a_move_may_be_made_on_the_version_that_was_read(mc: Mc) -> None:
    """The version was compared as text, so that no move was ever made with one."""
    mc("ticket", "create", "Fix the door")

    assert "has changed since" in mc("ticket", "move", "MC-1", "cancel", "version=7").output
    assert "status: cancelled" in mc("ticket", "move", "MC-1", "cancel", "version=1").output


def test_facts_that_are_wrong_are_named_in_words(mc: Mc) -> None:
    mc("ticket", "create", "Fix the door")

    result = mc("ticket", "move", "MC-1", "park", 'wake={"kind": "time"}')
    stray = mc("ticket", "move", "MC-1", "cancel", "actor=somebody", "wake=soon")

    assert result.output == "Error: The input is not valid. wake: a wake of kind time needs at\n"
    assert stray.output.startswith("Error: The move cancel has no actor and no wake. It takes assigned_to, note")


def test_an_illegal_move_is_refused_in_a_sentence(mc: Mc) -> None:
    mc("ticket", "create", "Fix the door")

    result = mc("ticket", "move", "MC-1", "approve")

    assert result.exit_code == 1
    assert result.output.startswith("Error: MC-1 cannot approve: its state is To do.")


def test_an_approval_says_what_becomes_of_the_branch(mc: Mc, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    handed_in(engine, "leave")
    approved = mc("ticket", "move", "MC-1", "approve", "landing=squash", "--json")
    output = json.loads(mc("ticket", "show", "MC-1", "--json").output)
    assert (approved.exit_code, output["status"]) == (0, "in_review")
    assert output["landing"] == "Approved by operator; squashing onto main."
    again = mc("ticket", "move", "MC-1", "approve").output
    assert again.startswith("Error: MC-1 cannot approve: it is already approved.")
    engine.dispose()


def test_a_receipt_says_what_was_proven_and_is_verified_on_another_clone(mc: Mc, tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "web", greeting="hello\n")
    head, tree = git(repository, "rev-parse", "HEAD", "HEAD^{tree}").split()
    flag = tmp_path / "flag"
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    argv = ["sh", "-c", f"grep hello greeting.txt && test ! -e {flag} && touch made"]
    with writing(engine) as session:
        body = NewProject(slug="web", name="Web", folder=str(repository), check_command=argv)
        projects.add_project(session, body, Actor.human())
    output = mc(
        "project", "require", "web", "tests:submit:bug,infra", "sign_off", "--runbook", "tests=https://docs.test"
    )
    assert "evidence: tests:submit:bug,infra, sign_off:approve" in output.output
    assert "live_hosts: localhost:*" in mc("project", "hosts", "web", "localhost:*").output
    assert "must be a host without https://" in mc("project", "hosts", "web", "https://localhost").output
    assert "evidence_policy" in mc("project", "require", "web", "proof").output
    rules = json.loads(mc("project", "show", "web", "--json").output)["evidence_policy"]
    assert rules[0] == {"kind": "tests", "before": "submit", "tags": ["bug", "infra"], "runbook": "https://docs.test"}

    mc("ticket", "create", "Say *hello*", "--project", "web", "--assign", "script", "--accept", "It greets `all`")
    check = {"argv": argv, "exit_code": 0, "seconds": 1, "sha256": "e" * 64, "tail": "hello"}
    observations = SEEN | {"head_sha": head, "tree_sha": tree}
    claims_of_run = [
        {"text": "Yes", "item": 0, "proof": {"kind": kind, "ref": "greet.sh"}} for kind in ("event", "check")
    ]
    submit(engine, 1, claims_of_run, check, observations)
    engine.dispose()
    assert mc("ticket", "sign-off", "MC-1", "Looks right").exit_code == 0
    assert "needs no evidence of this kind: Tests" in mc("ticket", "waive", "MC-1", "tests", "No code").output

    text = mc("ticket", "receipt", "MC-1").output
    assert "# Receipt of MC-1: Say \\*hello\\*\n" in text and "### It greets \\`all\\`" in text
    assert f"exit 0 · output eeeeeeeeeeee · commit {head[:12]}, tree {tree[:12]} · script" in text
    assert "`Run it ./greet.sh alice` · exit 0 · output" in text and "- Sign-off, met: Looks right" in text
    file = tmp_path / "MC-1.json"
    file.write_text(mc("ticket", "receipt", "MC-1", "--json").output)
    facts = json.loads(file.read_text())
    assert facts["items"][0]["proofs"][1]["output_sha256"] == hashlib.sha256(b"Hi").hexdigest()
    assert (facts["checks"][0]["argv"], facts["checks"][0]["tree"]) == (argv, tree)

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    arguments = ("receipt", "verify", str(file), "--repo", str(clone))
    unconfirmed = mc(*arguments, stdin="n\n")
    assert "$ sh -c" in unconfirmed.output and "Aborted" in unconfirmed.output
    same = mc(*arguments, "--yes")
    assert (same.exit_code, f"at commit {head[:12]}, exit 0" in same.output) == (0, True), same.output
    assert not (clone / "made").exists() and git(clone, "worktree", "list").count("\n") == 0
    flag.touch()
    other = mc(*arguments, "--yes")
    assert (other.exit_code, "it ends with exit 1 instead of exit 0\nhello" in other.output) == (1, True)
    file.write_text(file.read_text().replace(tree, "d" * 40))
    assert "the files are others: tree" in mc(*arguments, "--yes").output
    file.write_text(file.read_text().replace(head, "c" * 40))
    assert "has no commit cccccccccccc: fetch the ticket's branch first" in mc(*arguments, "--yes").output
    file.write_text(json.dumps(facts | {"checks": [facts["checks"][0] | {"tree": "\x1b[8m" + "d" * 36}]}))
    assert "instead of \\x1b[8mdddddddd\n" in mc(*arguments, "--yes").output
    file.write_text("{}")
    assert "is no receipt of this version" in mc(*arguments).output


def test_only_the_run_of_a_machine_that_is_gone_is_declared_dead(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door", "--assign", "script")
    assert "has no live run" in mc("ticket", "declare-dead", "MC-1").output
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        run = claims.claim_ticket(session, 1, socket.gethostname()).run
    assert "run bin/mc pickup" in mc("ticket", "declare-dead", "MC-1").output
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run.id).values(host="gone"))
    assert "recorded as lost" in mc("ticket", "declare-dead", "MC-1").output
    assert json.loads(mc("ticket", "show", "MC-1", "--json").output)["status"] == "todo"
    engine.dispose()


def test_a_token_is_printed_once_listed_without_its_secret_and_revoked(mc: Mc) -> None:
    created = json.loads(mc("token", "create", "ci", "--scope", "operator", "--json").output)

    mc("token", "revoke", "ci")
    listed = mc("token", "list", "--json").output

    assert created["token"].startswith("mc_")
    assert created["token"] not in listed
    assert json.loads(listed)[0]["revoked"] is not None


def test_a_telegram_account_is_paired_listed_and_removed(mc: Mc, tmp_path: Path) -> None:
    code = json.loads(mc("telegram", "pair", "--as", "bob", "--json").output)["code"]
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        assert telegram_pairing.pair_account(session, code, 11, "@bob") == "bob"
    engine.dispose()
    assert json.loads(mc("telegram", "list", "--json").output)[0]["person"] == "bob"
    mc("telegram", "remove", "11")
    assert mc("telegram", "list").output == "Nothing found.\n"
    assert "not valid" in mc("telegram", "pair", "--as", "Bob Smith").output


def test_a_task_is_created_edited_and_shown(mc: Mc, tmp_path: Path) -> None:
    assert (
        mc("task", "new", "report", "--schedule", "0 8 * * 1-5", "--title", "Read", "--agent", "script").exit_code == 0
    )
    assert mc("task", "edit", "report", "--zone", "Europe/Berlin", "--project", "web").exit_code == 0
    report = json.loads(mc("task", "show", "report", "--json").output)
    assert (report["ticket"], report["zone"], len(report["next_times"])) == ("Read (for script)", "Europe/Berlin", 5)
    created = mc("task", "new", "sync", "--schedule", "0 * * * *", "--trust-exit-code", "--", "rsync", "-a", "x", "y")
    assert created.output == f"{tmp_path}/home/tasks/sync.md\n"
    assert mc("task", "disable", "sync").exit_code == 0
    rows = {row["name"]: row for row in json.loads(mc("task", "list", "--json").output)}
    assert (rows["sync"]["enabled"], rows["report"]["enabled"], "backup" in rows) == (False, True, True)
    for arguments, error in (
        (("edit", "backup", "--zone", "UTC"), "shipped task"),
        (("new", "sync", "--schedule", "0 * * * *", "--", "true"), "is called sync already"),
        (("new", "other", "--schedule", "0 * * * *"), "a command after --, or the --title"),
        (("run", "sync"), "the scheduler is not running"),
    ):
        answer = mc("task", *arguments)
        assert answer.exit_code == 1 and error in answer.output, arguments


def test_the_secret_of_a_hook_is_printed_once_and_replaced(mc: Mc) -> None:
    first, second = mc("hook", "new", "builds", "--task", "backup").stdout, mc("hook", "rotate", "builds").stdout
    assert first.startswith("whsec_") and second.startswith("whsec_") and first != second
    listed = mc("hook", "list").output
    assert "starts backup" in listed and first.strip() not in listed and second.strip() not in listed
    assert "is called builds already" in mc("hook", "new", "builds").output


def test_a_login_link_leads_to_this_server(mc: Mc) -> None:
    link = mc("login").output

    assert re.match(r"http://mc-[0-9a-f]{8}-[a-z2-7]{16}\.localhost:3001/login/\S{43}\n$", link)
    assert mc("login").output.split("/login/")[0] == link.split("/login/")[0], "the name stays"
    [file] = [file for file in load().secrets_dir.iterdir() if file.read_text() in link]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_not_valid_is_named_field_by_field(mc: Mc) -> None:
    result = mc("token", "create", "Not A Name", "--scope", "viewer")

    assert result.exit_code == 1
    assert "name: " in result.output


def test_a_run_may_not_act_as_the_operator(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    mc("ticket", "create", "Fix the door")
    monkeypatch.setenv("MC_RUN_ID", "7")

    for arguments in (("ticket", "move", "MC-1", "close", "note=done"), ("pickup",), ("token", "list"), ("login",)):
        result = mc(*arguments)
        assert (result.exit_code, "MC_RUN_ID is set" in result.output) == (1, True), arguments


def test_a_store_of_an_older_schema_is_refused_with_what_to_do(mc: Mc, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "home/mc.db") as connection:
        connection.execute("DELETE FROM alembic_version")

    result = mc("ticket", "list")

    assert result.exit_code == 1
    assert "Run bin/mc db upgrade" in result.output


@pytest.mark.parametrize("command", ["ticket list", "db upgrade"])
def test_a_store_of_a_newer_schema_is_refused_with_what_helps(mc: Mc, tmp_path: Path, command: str) -> None:
    """It was said to need `bin/mc db upgrade`, which ended in a traceback."""
    with sqlite3.connect(tmp_path / "home/mc.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")

    result = mc(*command.split())

    assert (result.exit_code, result.output.startswith("Error: The store was migrated by a newer")) == (
        1,
        True,
    )
    [finding] = [entry for entry in json.loads(mc("doctor", "--json").output) if entry["subject"] == "store"]
    assert "restore an older backup" in finding["remedy"]


def test_a_damaged_store_is_told_of_in_one_line(mc: Mc, tmp_path: Path) -> None:
    (tmp_path / "home/mc.db").write_bytes(b"no database at all " * 99)
    (tmp_path / "home/mc.db-wal").unlink(missing_ok=True)

    result = mc("ticket", "list")

    assert result.output == "Error: the store cannot be used: file is not a database (see bin/mc doctor)\n"
    [finding] = [entry for entry in json.loads(mc("doctor", "--json").output) if entry["subject"] == "store"]
    assert finding["remedy"] == "restore a copy of it: bin/mc restore FILE"


def test_bad_settings_are_an_error_of_exit_code_1_and_no_traceback(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_PORT", "many")

    result = mc("ticket", "list")

    assert result.exit_code == 1
    assert "MC_PORT: " in result.output


def test_tickets_are_exported_with_what_belongs_to_them_and_without_secrets(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door", "--assign", "script", "--tag", "bug")
    mc("ticket", "comment", "MC-1", "It still *squeaks*.")
    mc("ticket", "create", "Oil it")
    engine = open_engine(f"sqlite:///{tmp_path / 'home/mc.db'}")
    with writing(engine) as session:
        claim = claims.claim_ticket(session, 1, "here")
        relationships.add_relationship(session, 2, "blocks", 1, Actor.human())
    engine.dispose()

    assert mc("export", str(tmp_path / "board.jsonl")).exit_code == 0
    exported = (tmp_path / "board.jsonl").read_text()

    first, second = map(json.loads, exported.splitlines())
    assert (first["identifier"], first["tags"], first["runs"][0]["state"]) == ("MC-1", ["bug"], "starting")
    assert "It still *squeaks*." in [comment["body"] for comment in first["comments"]]
    assert second["relationships"][0]["kind"] == "blocks" and second["comments"] == []
    assert claim.token not in exported and "token_hash" not in exported and claim.run.nonce not in exported
    assert (tmp_path / "board.jsonl").stat().st_mode & 0o777 == 0o600
    assert mc("export").output == exported
    assert "cannot be written" in mc("export", str(tmp_path / "board.jsonl")).output


@pytest.mark.parametrize("place", ["nowhere/copy.db", "taken.db"])
def test_a_backup_that_has_no_place_is_refused_in_a_sentence(mc: Mc, tmp_path: Path, place: str) -> None:
    (tmp_path / "taken.db").write_text("mine")

    result = mc("backup", str(tmp_path / place))

    assert result.exit_code == 1 and result.output.startswith("Error: ") and place in result.output
    assert (tmp_path / "taken.db").read_text() == "mine"
    assert not [*tmp_path.rglob("*.part")]


def test_a_backup_holds_the_same_tickets(mc: Mc, tmp_path: Path) -> None:
    mc("ticket", "create", "Fix the door")

    assert mc("backup", str(tmp_path / "copy.db")).output.strip() == str(tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT identifier FROM tickets").fetchall() == [("MC-1",)]


def test_the_doctor_finds_a_fresh_installation_well(mc: Mc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("env", "git", "tmux"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    examined = mc("doctor", "--json")

    findings = json.loads(examined.output)
    assert [finding for finding in findings if finding["remedy"]] == []
    assert examined.exit_code == 0


def test_the_doctor_names_what_is_missing_and_what_to_do(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    examined = mc("doctor", "--json")

    remedies = {finding["subject"]: finding["remedy"] for finding in json.loads(examined.output)}
    assert remedies["tmux"].startswith("Install tmux")
    assert remedies["gh"] == ""
    assert examined.exit_code == 1


def test_the_settings_are_shown_without_the_password_of_the_store(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_DATABASE_URL", "postgresql://mc:s3cret@db.lan/mc")

    output = mc("settings").output

    assert "db.lan" in output
    assert "s3cret" not in output


def test_the_launcher_works_from_anywhere_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mc").symlink_to(ROOT / "bin/mc")

    called = subprocess.run(
        [tmp_path / "mc", "--help"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=60
    )

    assert "Usage: mc" in called.stdout


def test_who_only_looks_on_cannot_take_part(mc: Mc) -> None:
    result = mc("attach", "MC-1", "--join", "--read-only")
    assert result.exit_code == 2 and "cannot be combined with --read-only" in result.output


def test_control_characters_are_refused_in_a_title_and_escaped_where_they_are_stored(mc: Mc, tmp_path: Path) -> None:
    for character in ("\x1b", "\u202e", "\u2028", "\n"):
        refusal = mc("ticket", "create", f"Pay{character}load")
        assert refusal.exit_code == 1
        assert f"title: must not contain the control character U+{ord(character):04X}" in refusal.output
    mc("ticket", "create", "Family 👩\u200d👩")
    engine = open_engine(f"sqlite:///{tmp_path / 'home' / 'mc.db'}")
    with writing(engine) as session:
        session.execute(update(Ticket).values(title="Pay\x1b[2J\u202eload"))
    engine.dispose()

    assert "Pay\\x1b[2J\\u202eload" in mc("ticket", "list").output
    assert "Pay\\x1b\\[2J\\u202eload" in mc("ticket", "receipt", "MC-1").output
    for folder, command in (("tasks", "task"), ("hooks", "hook")):
        (tmp_path / "home" / folder).mkdir(exist_ok=True)
        (tmp_path / "home" / folder / "bad.md").write_text('---\n"\\e[2J": 1\n---\n')
        assert "\\x1b[2J: Extra inputs" in (output := mc(command, "list").output) and "\x1b" not in output


def test_a_folder_is_reviewed_and_one_that_does_not_exist_is_refused(mc: Mc, tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "repository")
    engine = open_engine(load(os.environ).database_url)
    with writing(engine) as session:
        agents.seed_team(session, {"script": True})
        projects.add_project(session, NewProject(slug="web", name="Web", folder=str(repository)), Actor.human("alice"))
    engine.dispose()

    assert "main of Web has no folder src" in mc("review", "src", "--project", "web", "--reviewer", "script").output
    assert mc("review", ".", "--project", "web", "--reviewer", "script").output == "MC-1: Review all files of Web\n"
