"""Talking with an agent: what is said is a row before it is confirmed, is taken once, and comes back as events."""

from __future__ import annotations

import signal
import socket
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from database import writing
from models import Controller, DeliveryState, Scope, now
from tests.streams.conftest import ALICE
from tests.waiting import wait_until
from tickets.board import ticket_header
from tickets.conversation.conversation_lock import LEASE_DURATION
from tickets.operations import tokens
from tickets.runs import claims, ingest
from tickets.shared import lookup

from .conftest import Staged
from .served_board import HOST, Stage

pytestmark = pytest.mark.xdist_group("web-interactive")


def in_control(board: Stage, name: str) -> str | None:
    with writing(board.engine) as session:
        return ticket_header.build_header(session, lookup.get_ticket(session, name), None, None).interactive


def test_a_message_is_queued_delivered_and_accepted_and_the_agents_answer_streams_back(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))

    key = alice.say("type one two three")

    done = alice.reply(key)
    assert (done["became"], done["message"]["uuid"], done["message"]["state"]) == ("message", key, "queued")
    assert done["text"] == "Queued. The agent reads it when its current turn ends."
    alice.event("agent.receipt", uuid=key, state="accepted")
    alice.event("agent.tool_call", name="Echo")
    assert alice.event("agent.text", text="You said: type one two three")["actor"] == "script"
    [row] = board.messages(name)
    assert (row.uuid, row.state, row.author) == (key, DeliveryState.ACCEPTED, "alice")
    assert alice.seqs == sorted(set(alice.seqs)), "each event once and in order"


def test_messages_are_taken_one_by_one_and_in_order(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))

    for number in range(12):
        alice.say(f"number {number}")

    alice.event("agent.text", text="You said: number 11")
    texts = [m["event"]["payload"]["text"] for m in alice.heard if m.get("event", {}).get("event_type") == "agent.text"]
    assert texts == ["I am listening.", *(f"You said: number {number}" for number in range(12))]
    wait_until(
        lambda: {row.state for row in board.messages(name)} == {DeliveryState.ACCEPTED}, description="every receipt"
    )


def test_an_interrupt_ends_the_turn_before_the_message_is_said(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))

    done = alice.reply(alice.say("stop, do this", mode="interrupt"))

    assert done["text"] == "The agent is interrupted with your message."
    interrupted = alice.event("agent.result", stop_reason="interrupted")
    assert interrupted["seq"] < alice.event("agent.text", text="You said: stop, do this")["seq"]


def test_a_request_is_answered_inline_and_only_once(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))
    alice.say("may I")
    alice.event("agent.approval", request="a-1")
    key = str(uuid4())

    for _ in range(2):
        alice.tell(type="answer", id=key, request="a-1", behavior="deny", message="not today")
        assert alice.reply(key)["became"] == "reply"
    alice.event("agent.receipt", uuid="a-1", state="delivered")
    alice.tell(type="answer", id=str(uuid4()), request="a-1", behavior="allow")

    [answer_event] = [m["event"] for m in alice.heard if m.get("event", {}).get("event_type") == "request_answered"]
    assert (answer_event["payload"]["behavior"], answer_event["payload"]["message"]) == ("deny", "not today")
    refusal = alice.until(lambda message: message["type"] == "refused", "the refusal of a second answer")
    assert refusal["error"] == "conflict"


def test_a_client_cut_off_at_any_moment_loses_nothing_and_doubles_nothing(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))

    for number in range(15):
        key = alice.say(f"number {number}")
        if number % 3 == 0:
            alice.reply(key)
        if number % 3 == 1:
            alice.until(lambda message: message["type"] == "event", "any event")
        alice.disconnect()
        alice.open()
        assert alice.reply(alice.say(f"number {number}", key))["became"] == "message"

    alice.event("agent.text", text="You said: number 14")
    texts = [m["event"]["payload"]["text"] for m in alice.heard if m.get("event", {}).get("event_type") == "agent.text"]
    assert texts == ["I am listening.", *(f"You said: number {number}" for number in range(15))]
    assert alice.seqs == sorted(set(alice.seqs))
    assert len(board.messages(name)) == 15


def test_a_server_killed_while_people_talk_loses_nothing_and_doubles_nothing(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice = board.guest(name, board.person("alice"))

    for number in range(5):
        key = alice.say(f"number {number}")
        if number % 2:
            alice.reply(key)
        board.kill()
        board.start()
        alice.open()
        assert alice.reply(alice.say(f"number {number}", key))["became"] == "message"

    alice.event("agent.text", text="You said: number 4")
    texts = [m["event"]["payload"]["text"] for m in alice.heard if m.get("event", {}).get("event_type") == "agent.text"]
    assert texts == ["I am listening.", *(f"You said: number {number}" for number in range(5))]
    assert len(board.messages(name)) == 5


def test_one_talks_while_the_others_read_along_until_control_is_handed_over(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice, bob = board.guest(name, board.person("alice")), board.guest(name, board.person("bob"))
    alice.reply(alice.say("hello"))
    assert in_control(board, name) == "alice"

    refusal = bob.reply(bob.say("me too"))
    assert (refusal["error"], refusal["detail"]) == ("not_in_control", {"holder": "alice"})
    bob.event("agent.text", text="You said: hello")
    bob.control("ask")
    request_message = alice.until(lambda message: message.get("asked") == "bob", "that Bob asks")
    assert request_message["mine"] is True
    alice.control("give")
    bob.until(lambda message: message["type"] == "control" and message["mine"], "control given to Bob")
    assert bob.reply(bob.say("my turn"))["became"] == "message"
    assert alice.reply(alice.say("hey"))["error"] == "not_in_control"
    alice.control("take")

    assert alice.reply(alice.say("mine again"))["became"] == "message"
    assert [row.body for row in board.messages(name)] == ["hello", "my turn", "mine again"]


def test_what_was_said_before_control_was_lost_is_confirmed_and_not_said_again(board: Stage) -> None:
    _, name = board.ticket()
    board.talking(name)
    alice, bob = board.guest(name, board.person("alice")), board.guest(name, board.person("bob"))
    key = alice.say("hello")
    alice.reply(key)
    bob.control("take")

    assert alice.reply(alice.say("hello", key))["became"] == "message"
    assert len(board.messages(name)) == 1


def test_a_page_that_is_left_lets_go_at_once_and_a_vanished_one_when_its_time_is_over(board: Stage) -> None:
    _, name = board.ticket()
    alice, bob = board.guest(name, board.person("alice")), board.guest(name, board.person("bob"))
    alice.control("take")
    alice.leave()
    wait_until(lambda: in_control(board, name) is None, description="the release")
    alice.open()
    alice.control("take")

    alice.disconnect()
    with writing(board.engine) as session:
        controller = session.get_one(Controller, board.number(name))
        assert controller.until > now()
        controller.until -= LEASE_DURATION

    assert bob.event("ticket_control_changed", how="lapsed")["actor"] == "mission-control"
    assert bob.reply(bob.say("anybody there?"))["became"] == "message"


def test_a_page_keeps_control_by_its_beats(board: Stage) -> None:
    _, name = board.ticket()
    alice = board.guest(name, board.person("alice"))
    alice.control("take")
    with writing(board.engine) as session:
        before = session.get_one(Controller, board.number(name)).until
    alice.tell(type="beat")

    def later() -> bool:
        with writing(board.engine) as session:
            return session.get_one(Controller, board.number(name)).until > before

    wait_until(later, description="a later end")


def test_without_a_live_run_words_answer_a_question_ask_for_changes_or_wait(board: Stage) -> None:
    _, name = board.ticket()
    alice = board.guest(name, board.person("alice"))
    waits = alice.reply(alice.say("later, then"))
    assert (waits["became"], waits["text"]) == (
        "message",
        "No agent is running. The next run starts with your message.",
    )

    board.report_verdict(name, "question")
    key = alice.say("Use the second one.")
    assert alice.reply(key)["became"] == "answer"
    assert alice.reply(alice.say("Use the second one.", key))["became"] == "answer"
    assert board.status(name) == "todo"

    board.report_verdict(name, "review")
    assert alice.reply(alice.say("Shorter, please."))["became"] == "request_changes"
    assert (board.status(name), len(board.messages(name))) == ("todo", 1)


def test_a_message_that_waited_is_taken_by_the_next_run(board: Stage) -> None:
    _, name = board.ticket()
    alice = board.guest(name, board.person("alice"))
    alice.reply(alice.say("for whoever comes"))

    board.talking(name)

    alice.event("agent.text", text="You said: for whoever comes")


def test_one_too_many_is_refused_before_the_upgrade_and_pages_still_answer(stage: Staged) -> None:
    board = stage(WS_MAX_CLIENTS=2)
    _, name = board.ticket()
    token = board.person("alice")
    first, _ = board.guest(name, token), board.guest(name, token)

    with pytest.raises(InvalidStatus) as refusal:
        board.guest(name, token)

    answer = refusal.value.response
    assert (answer.status_code, answer.headers["Retry-After"], answer.body) == (503, "30", b"retry: 30000\n\n")
    assert board.answers()
    first.leave()

    def admitted() -> bool:
        try:
            return bool(board.guest(name, token))
        except InvalidStatus:
            return False

    wait_until(admitted, description="the place of the one who left")


def test_a_stranger_is_refused_before_the_upgrade(board: Stage) -> None:
    _, name = board.ticket()
    plain, own = f"127.0.0.1:{board.port}", f"{HOST}:{board.port}"
    for host, headers, status in (
        (own, {}, 403),
        (own, {"Origin": "https://evil.example"}, 403),
        (own, {"Origin": f"http://{plain}"}, 403),
        (own, {"Origin": f"http://{own}"}, 401),
        (plain, {"Origin": f"http://{plain}"}, 401),
        (plain, {"Authorization": "Bearer mct_wrong"}, 401),
    ):
        with pytest.raises(InvalidStatus) as refusal, socket.create_connection(("127.0.0.1", board.port)) as line:
            connect(f"ws://{host}/ws/tickets/{name}", sock=line, additional_headers=headers).__enter__()
        assert refusal.value.response.status_code == status, (host, headers)


def test_a_viewer_reads_along_and_may_not_speak(board: Stage) -> None:
    _, name = board.ticket()
    eve, alice = board.guest(name, board.person("eve", Scope.VIEWER)), board.guest(name, board.person("alice"))
    assert eve.heard[0]["may_speak"] is False

    assert eve.reply(eve.say("let me in"))["error"] == "forbidden"
    assert eve.control("take")["error"] == "forbidden"
    alice.reply(alice.say("hello"))
    eve.event("message_queued", body="hello")


def test_a_revoked_token_closes_its_conversations(board: Stage) -> None:
    _, name = board.ticket()
    carol = board.guest(name, board.person("carol"))
    with writing(board.engine) as session:
        row = next(token for token in tokens.list_tokens(session) if token.name == "carol")
        tokens.revoke_token(session, row.id, ALICE)

    assert carol.end() == 4401


def test_a_reload_closes_conversations_at_once_and_they_go_on_in_the_new_worker(board: Stage) -> None:
    _, name = board.ticket()
    alice = board.guest(name, board.person("alice"))
    alice.control("take")

    board.signal(signal.SIGHUP)

    assert alice.end() == 1001
    wait_until(board.answers, description="the new worker")
    alice.open()
    assert alice.heard[-1]["mine"] or in_control(board, name) == "alice"


def test_what_cannot_be_understood_is_refused_and_the_conversation_goes_on(board: Stage) -> None:
    _, name = board.ticket()
    alice = board.guest(name, board.person("alice"))
    for nonsense in (
        {"type": "dance"},
        {"type": "say", "id": "x", "body": "y"},
        {"type": "hello", "page": "../", "after": 0},
    ):
        alice.tell(**nonsense)
        assert alice.until(lambda message: message["type"] == "refused", "the refusal")["error"] == "invalid"

    assert alice.reply(alice.say("still here"))["became"] == "message"


def test_one_who_missed_too_much_is_told_to_read_anew(board: Stage) -> None:
    ticket_id, name = board.ticket()
    for number in range(501):
        board.append(str(number), ticket_id)

    alice = board.guest(name, board.person("alice"))

    assert [message["type"] for message in alice.heard] == ["welcome", "resync", "control"]
    assert alice.reply(alice.say("hello"))["became"] == "message"
    assert alice.seqs == []


def test_each_scope_may_do_over_the_socket_what_it_may_do_over_http(stage: Staged) -> None:
    board = stage()
    _, name = board.ticket()
    with writing(board.engine) as session:
        run = claims.claim_ticket(session, lookup.get_ticket(session, name).id, "here").run
        approval = {"request": "a-1", "tool": "Bash", "title": "ls"}
        event = ingest.WorkerEvent(run_seq=1, ts=now(), event_type="agent.approval", payload=approval)
        ingest.ingest_events(session, run.id, [event])
    results: dict[str, dict[str, str]] = {}
    for scope in (Scope.VIEWER, Scope.SERVICE, Scope.ORCHESTRATOR, Scope.OPERATOR):
        guest = board.guest(name, board.person(scope.value, scope))
        guest.tell(type="beat")
        acts = {act: guest.control(act) for act in ("ask", "take", "give", "release")}
        acts |= {mode: guest.reply(guest.say(mode, mode=mode)) for mode in ("queue", "interrupt")}
        key = str(uuid4())
        guest.tell(type="answer", id=key, request="a-1", behavior="allow", scope="run")
        acts["answer"] = guest.reply(key)
        results[scope.value] = {act: reply.get("became") or reply["error"] for act, reply in acts.items()}
        assert guest.heard[0]["may_speak"] is (scope is not Scope.VIEWER)
        guest.leave()

    controls = dict.fromkeys(("ask", "take", "give", "release"), "forbidden")
    program = {**controls, "queue": "message", "interrupt": "message", "answer": "forbidden"}
    assert results == {
        "viewer": {**controls, "queue": "forbidden", "interrupt": "forbidden", "answer": "forbidden"},
        "service": program,
        "orchestrator": program,
        "operator": {
            **dict.fromkeys(("ask", "take", "release"), "control"),
            "give": "conflict",
            "queue": "message",
            "interrupt": "message",
            "answer": "reply",
        },
    }
