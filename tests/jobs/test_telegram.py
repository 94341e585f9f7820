"""The Telegram channel against a stand-in of the Bot API: alerts go out in order, and what people write has its effect once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

import secret_files
from database import reading, writing
from jobs import job_context
from jobs.alerts.alert_runner import AlertRunner
from jobs.alerts.channel import ChannelSetup, SendFailed
from jobs.alerts.telegram import message_text, update_handler, update_poller
from jobs.alerts.telegram.bot_client import MAX_RETRY_SECONDS, BotClient
from jobs.alerts.telegram.chat_pacer import ChatPacer
from jobs.alerts.telegram.outbox import Outbox
from jobs.alerts.telegram.telegram_channel import TelegramChannel, build_channel
from jobs.alerts.telegram.update_handler import UpdateHandler
from jobs.job_context import JobContext
from models import (
    ActorKind,
    AlertKind,
    HealthStatus,
    RunRequest,
    Scope,
    TelegramBot,
    TelegramCode,
    Ticket,
    TicketEvent,
    TicketStatus,
    now,
)
from settings import Settings
from tickets.alerts import answers, telegram_log, telegram_pairing
from tickets.alerts.alert import Alert
from tickets.lifecycle import transitions
from tickets.lifecycle.moves import Role
from tickets.operations import tokens
from tickets.runs import claims, ingest
from tickets.runs.ingest import WorkerEvent
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, ProofRequired
from tickets.shared.inputs import NewTicket

from ..telegram_server import BOT_NAME, TOKEN, BotServer, Refusal, serve_bot
from ..test_alerts import BOB, ask, collect, make_in, open_channel, send_due
from ..test_spine import ALICE, make
from ..waiting import wait_until

ANN, EVE, GROUP, SUPERGROUP = 11, 66, -500, -1001
"""Accounts and chats: Ann is paired with alice, Eve with nobody."""
TRIALS = 5


class Setup:
    """A store, the stand-in, and a channel whose pauses take no time."""

    def __init__(self, context: JobContext, server: BotServer) -> None:
        self.context = context
        self.server = server
        self.lines: list[str] = []
        self.sleeps: list[float] = []
        self.clock = 1000.0
        self.channel = self.build()

    def build(self) -> TelegramChannel:
        setup = ChannelSetup(self.context, {}, {"token": TOKEN}, self.lines.append)
        client = BotClient(TOKEN, self.context.settings.telegram_api_url)
        return TelegramChannel(setup, client, ChatPacer(lambda: self.clock, self.sleep))

    def build_handler(self) -> UpdateHandler:
        outbox = Outbox(BotClient(TOKEN, self.server.url), ChatPacer(sleep=lambda _: None))
        return UpdateHandler(self.context, outbox, int(TOKEN.partition(":")[0]), BOT_NAME, self.lines.append)

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.clock += seconds

    def receive(self, channel: TelegramChannel | None = None) -> StopEvent:
        """Receive until there is nothing more."""
        stop = StopEvent()
        self.server.on_idle = stop.set
        (channel or self.channel).run(stop)
        return stop

    def pair(self, user_id: int, chat_id: int, person: str = "alice") -> None:
        with writing(self.context.engine) as session:
            code = telegram_pairing.issue_code(session, person, ALICE)
        self.server.write(user_id, chat_id, f"/pair {code}")
        self.receive()

    def send_question(self, *labels: str) -> tuple[int, Alert]:
        """Have a ticket ask something, and send its alert."""
        ticket_id = make(self.context.engine)
        ask(self.context.engine, ticket_id, *labels)
        alert = self.collect_last()
        self.channel.send(alert)
        return ticket_id, alert

    def collect_last(self) -> Alert:
        collect(self.context.engine, "telegram")
        return send_due(self.context.engine, "telegram")[-1]

    def read_status(self, ticket_id: int) -> TicketStatus:
        with reading(self.context.engine) as session:
            return session.scalars(select(Ticket.status).where(Ticket.id == ticket_id)).one()

    def list_moves(self, ticket_id: int) -> list[tuple[str, str]]:
        """List the moves of a ticket with who made them."""
        query = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id, TicketEvent.event_type == "ticket_moved")
        with reading(self.context.engine) as session:
            return [(row.payload_json["move"], row.actor) for row in session.scalars(query.order_by(TicketEvent.id))]


class StopEvent(threading.Event):
    """A stop whose pauses take no time; too many of them stop too."""

    def __init__(self, limit: int = 50) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self._limit = limit

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) >= self._limit:
            self.set()
        return self.is_set()


@pytest.fixture
def server() -> Iterator[BotServer]:
    with serve_bot() as bot_server:
        bot_server.add_chat(ANN)
        bot_server.add_chat(EVE)
        bot_server.add_chat(GROUP)
        yield bot_server


@pytest.fixture
def setup(engine: Engine, tmp_path: Path, server: BotServer) -> Setup:
    settings = Settings(home=tmp_path / "home", telegram_api_url=server.url)
    settings.ensure_home()
    open_channel(engine, "telegram")
    return Setup(job_context.build_context(settings, engine), server)


def build_alert(body: str = "Something", key: str = "event:1", **values: Any) -> Alert:
    return Alert(key=key, kind=AlertKind.INCIDENT, title="Incident: <disk>", body=body, path="/incidents", **values)


# ---------------------------------------------------------------------------------------------------------- end to end


@pytest.mark.both_databases
def test_a_question_is_answered_by_a_button_and_its_message_says_by_whom(setup: Setup, engine: Engine) -> None:
    """With the threads of the scheduler, and the pace of real time."""
    settings, server = setup.context.settings, setup.server
    setup.pair(ANN, ANN)
    server.on_idle = None
    secret_files.write_channel_secrets(settings, "telegram", {"token": TOKEN})
    ticket_id = make(engine)
    runner = AlertRunner(setup.context, setup.lines.append)
    try:
        ask(engine, ticket_id, "Left & right", "Neither")
        [question] = wait_until(lambda: tick(runner, lambda: [m for m in server.messages if m.buttons]), 120)
        assert question.plain.startswith("MC-1 has a question: Write a line\n\n")
        assert list(question.buttons) == ["Left & right", "Neither"]
        server.press(ANN, question.buttons["Left & right"])
        wait_until(lambda: tick(runner, lambda: "Answered by alice." in question.plain), 120, "the edit")
    finally:
        runner.stop()
        server.close()
        wait_until(lambda: not runner.is_busy)
    assert (question.buttons, server.list_answers()) == ({}, ["MC-1: Left & right"])
    assert setup.list_moves(ticket_id)[-1] == ("answer", "alice")
    assert setup.read_status(ticket_id) is TicketStatus.TODO


def tick(runner: AlertRunner, read_value: Callable[[], Any]) -> Any:
    runner.tick(is_changed=True)
    return read_value()


def test_of_answers_from_browser_and_telegram_at_once_exactly_one_counts(setup: Setup, engine: Engine) -> None:
    setup.pair(ANN, ANN)
    handler = setup.build_handler()
    for _ in range(TRIALS):
        ticket_id, alert = setup.send_question("Yes", "No")
        press = setup.server.press(ANN, setup.server.messages[-1].buttons["Yes"])
        refusal = answer_twice(engine, alert, partial(handler.handle, press))
        [winner] = [actor for move, actor in setup.list_moves(ticket_id) if move == "answer"]
        toast = setup.server.list_answers()[-1]
        assert (f"{alert.ticket}: Yes" == toast, "bob was first" in toast) == (winner == "alice", winner == "bob")
        assert ("alice was first" in refusal, refusal == "") == (winner == "alice", winner == "bob")


def test_a_button_counts_that_is_pressed_before_its_message_is_recorded(setup: Setup) -> None:
    setup.pair(ANN, ANN)
    handler = setup.build_handler()
    setup.server.on_message = lambda message: handler.handle(setup.server.press(ANN, message.buttons["Yes"]))
    ticket_id, alert = setup.send_question("Yes", "No")
    assert setup.list_moves(ticket_id)[-1] == ("answer", "alice")
    setup.channel.settle(alert, "", "Answered by alice.")
    assert setup.server.list_texts(ANN)[-1].endswith("Answered by alice.")


def answer_twice(engine: Engine, alert: Alert, answer_by_telegram: Callable[[], object]) -> str:
    """Answer in the browser and by Telegram at once. Returns the refusal of the browser, if any."""
    barrier = threading.Barrier(2)

    def answer_in_browser() -> None:
        barrier.wait()
        with writing(engine) as session:
            answers.answer_question(session, alert, BOB, choice="2")

    def answer_elsewhere() -> None:
        barrier.wait()
        answer_by_telegram()

    with ThreadPoolExecutor(2) as pool:
        browser, telegram = pool.submit(answer_in_browser), pool.submit(answer_elsewhere)
        telegram.result()
        error = browser.exception()
    assert error is None or isinstance(error, ConflictError)
    return "" if error is None else error.message


# ------------------------------------------------------------------------------------------------------------- pairing


@pytest.mark.both_databases
def test_a_code_pairs_one_account_once_and_few_wrong_ones_void_it(setup: Setup, engine: Engine) -> None:
    def issue() -> str:
        with writing(engine) as session:
            return telegram_pairing.issue_code(session, "alice", ALICE)

    def find(user_id: int) -> str | None:
        with reading(engine) as session:
            actor = telegram_pairing.find_actor(session, user_id)
            return actor.name if actor else None

    code = issue()
    named: dict[str, Any] = {"from": {"id": ANN, "first_name": "Ann\x1b[2J\n" + "y" * 100}}
    setup.server.write(ANN, ANN, f"/start {code.lower()}", **named)
    setup.server.write(EVE, EVE, f"/pair {code}")
    setup.receive()
    assert (find(ANN), find(EVE)) == ("alice", None)
    with reading(engine) as session:
        paired = session.scalars(select(TicketEvent).where(TicketEvent.event_type == "telegram_paired")).one()
        assert paired.payload_json["account"] == telegram_pairing.list_people(session)[0].label
        assert paired.payload_json["account"].startswith("Ann yyy")
    [refusal] = setup.server.list_texts(EVE)
    assert "This code is not valid" in refusal

    for spoil in (
        lambda: [setup.server.write(EVE, EVE, "/pair AAAAAAAAAA") for _ in range(5)],
        lambda: age_codes(engine),
    ):
        code = issue()
        spoil()
        setup.server.write(EVE, EVE, f"/pair {code}")
        setup.receive()
        assert find(EVE) is None
    with writing(engine) as session:
        telegram_pairing.remove_person(session, ANN, ALICE)
        assert telegram_pairing.list_chats(session) == []


def age_codes(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(TelegramCode).values(expires=now()))


def test_only_who_gives_access_makes_codes_and_a_paired_person_has_proved_nothing(setup: Setup, engine: Engine) -> None:
    viewer = Actor(ActorKind.HUMAN, "viewer", writes=False)
    service = Actor(ActorKind.SERVICE, "sweep")
    for actor in (viewer, service):
        with pytest.raises(Forbidden), writing(engine) as session:
            telegram_pairing.issue_code(session, "alice", actor)
    setup.pair(ANN, ANN)
    with reading(engine) as session:
        person = telegram_pairing.find_actor(session, ANN)
    assert person is not None and person.is_human
    body = tokens.NewToken(name="ci", scope=Scope.OPERATOR, days=1)
    with pytest.raises(ProofRequired), writing(engine) as session:
        tokens.issue_token(session, body, person)
    with pytest.raises(ProofRequired), writing(engine) as session:
        telegram_pairing.issue_code(session, "eve", person)


# --------------------------------------------------------------------------------------------------------------- inbound


def test_people_create_answer_approve_and_ask_for_changes_under_their_names(setup: Setup, engine: Engine) -> None:
    setup.pair(ANN, ANN)
    setup.server.write(ANN, ANN, "/new Fix <the> export !high #bug @script\nIt is *broken*.")
    setup.receive()
    with reading(engine) as session:
        ticket = session.scalars(select(Ticket)).one()
    assert (ticket.title, ticket.description, ticket.requester) == ("Fix <the> export", "It is *broken*.", "alice")
    assert (ticket.priority.label, ticket.assigned_to) == ("high", "script")
    assert setup.server.list_texts(ANN)[-1] == "Created MC-1: Fix <the> export\nIts owner is script."

    ticket_id, alert = setup.send_question("Yes")
    setup.server.write(ANN, ANN, "Take the <b>left</b> one", reply_to=setup.server.messages[-1].message_id)
    setup.receive()
    assert setup.list_moves(ticket_id)[-1] == ("answer", "alice")
    setup.server.write(ANN, ANN, f"/approve {alert.ticket}")
    setup.server.write(ANN, ANN, "/approve")
    setup.server.write(ANN, ANN, "/status")
    setup.server.write(ANN, ANN, "Hello?")
    setup.receive()
    refusal, nameless, status, hint = setup.server.list_texts(ANN)[-4:]
    assert refusal == f"{alert.ticket} cannot approve: its state is To do."
    assert nameless.startswith("Name the ticket")
    assert status.startswith("Mission Control is not working.\nHealth checks are not running.")
    assert "0 tickets need you" in status and "/new TITLE" in hint

    for words, expected in (("/changes {} Too slow", "request_changes"), ("/approve {}", "approve")):
        with writing(engine) as session:
            ticket = transitions.create_ticket(session, NewTicket(title="Write a line", assigned_to="script"), BOB)
            transitions.transition(session, ticket.id, "claim", BOB, role=Role.PICKUP)
            session.execute(update(Ticket).where(Ticket.id == ticket.id).values({"status": TicketStatus.IN_REVIEW}))
        setup.server.write(ANN, ANN, words.format(ticket.identifier))
        setup.receive()
        assert setup.list_moves(ticket.id)[-1] == (expected, "alice")


def test_a_live_agent_is_allowed_a_tool_by_a_button_and_its_run_is_notified(
    setup: Setup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.pair(ANN, ANN)
    runs: list[int | None] = []
    monkeypatch.setattr(update_handler, "notify_run", lambda _, run_id: runs.append(run_id))
    with writing(engine) as session:
        run = claims.claim_ticket(session, make_in(session), "here").run
        payload = {"request": "r1", "tool": "Bash", "title": "rm x"}
        ingest.ingest_events(session, run.id, [WorkerEvent(event_type="agent.approval", payload=payload, run_seq=1)])
    setup.channel.send(setup.collect_last())
    question = setup.server.messages[-1]
    setup.server.write(ANN, ANN, "Why?", reply_to=question.message_id)  # it takes a choice alone
    setup.server.press(ANN, question.buttons["Allow once"])
    setup.receive()
    with reading(engine) as session:
        request = session.scalars(select(RunRequest)).one()
    assert request.answer is not None and (request.answer["behavior"], request.answered_by) == ("allow", "alice")
    assert runs == [None, run.id]
    assert setup.server.list_texts(ANN)[-1] == "Choose one of the answers."


def test_others_in_a_group_bots_edits_forwards_and_other_bots_commands_are_ignored(
    setup: Setup, engine: Engine
) -> None:
    setup.pair(ANN, GROUP)
    count = len(setup.server.messages)
    ticket_id, _ = setup.send_question("Yes")
    question = setup.server.messages[-1]
    for text in ("/new A trap", "/status", "yes", "/pair"):
        setup.server.write(EVE, GROUP, text, reply_to=question.message_id)
    setup.server.write(ANN, GROUP, "/new@other_bot A trap")
    setup.server.write(ANN, GROUP, "/new A trap", forward_origin={"type": "user"})
    setup.server.write(ANN, GROUP, "/new A trap", via_bot={"id": 5})
    setup.server.write(ANN, GROUP, "/new A trap")["message"]["from"]["is_bot"] = True
    setup.server.write(ANN, GROUP, "We talk about it")
    edited = setup.server.write(ANN, GROUP, "/new A trap")
    edited["edited_message"] = edited.pop("message")
    setup.server.push({"message": {"nonsense": True}})
    setup.server.press(EVE, question.buttons["Yes"])
    setup.server.press(ANN, "unknown:0")
    setup.server.press(ANN, "")
    setup.receive()
    assert [message.plain for message in setup.server.messages[count:]] == [question.plain]
    assert setup.read_status(ticket_id) is TicketStatus.NEEDS_INPUT
    with reading(engine) as session:
        assert len(session.scalars(select(Ticket)).all()) == 1
    assert setup.server.list_answers() == [update_handler.STRANGER, *[update_handler.OLD_BUTTON] * 2]
    setup.server.write(ANN, GROUP, f"/status@{BOT_NAME.upper()}")
    setup.receive()
    assert "1 ticket needs you" in setup.server.list_texts(GROUP)[-1]


@pytest.mark.both_databases
def test_an_update_has_its_effect_once_also_when_its_confirmation_is_lost(
    setup: Setup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.pair(ANN, ANN)
    setup.server.write(ANN, ANN, "/new Once")
    setup.server.write(ANN, ANN, "/new Twice")

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(UpdateHandler, "_answer", kill)
        with pytest.raises(KeyboardInterrupt):  # after the effect, before the next poll confirms it
            setup.receive()
    assert list_titles(engine) == ["Once"]
    setup.receive(setup.build())
    assert list_titles(engine) == ["Once", "Twice"]

    setup.server.redelivers = True
    setup.server.write(ANN, ANN, "/new Thrice")
    stop = StopEvent()
    setup.server.write(ANN, ANN, "/new Thrice more")
    handle = UpdateHandler.handle

    def count(handler: UpdateHandler, data: Any) -> None:
        handle(handler, data)
        stop.pauses.append(0)
        if len(stop.pauses) >= 6:
            stop.set()

    monkeypatch.setattr(UpdateHandler, "handle", count)
    setup.channel.run(stop)
    assert list_titles(engine) == ["Once", "Twice", "Thrice", "Thrice more"]


def list_titles(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(Ticket.title).order_by(Ticket.id)))


def test_an_update_that_cannot_be_handled_does_not_stop_the_next(
    setup: Setup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.pair(ANN, ANN)
    monkeypatch.setattr(transitions, "create_ticket", lambda *_: 1 / 0)
    setup.server.write(ANN, ANN, "/new Broken")
    setup.server.write(ANN, ANN, "/help")
    setup.receive()
    failure, answer = setup.server.list_texts(ANN)[-2:]
    assert failure.startswith("Something went wrong") and "/status" in answer
    assert "ZeroDivisionError" in setup.lines[-1]


def test_updates_are_numbered_anew_after_a_week_of_silence(setup: Setup, engine: Engine) -> None:
    with writing(engine) as session:
        telegram_log.open_bot(session, 7)
        assert telegram_log.take_update(session, 7, 1000)
        assert not telegram_log.take_update(session, 7, 1000)
        assert not telegram_log.take_update(session, 7, 5)
        assert telegram_log.get_next_update(session, 7) == 1001
        session.execute(update(TelegramBot).values(changed=now() - telegram_log.NUMBERING_LIFETIME))
        assert telegram_log.get_next_update(session, 7) == 0
        assert telegram_log.take_update(session, 7, 5)


# ----------------------------------------------------------------------------------------------------- faults of polls


def test_a_second_poller_is_named_by_health_and_left_alone_for_longer_each_time(setup: Setup, engine: Engine) -> None:
    conflict = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    setup.server.faults.extend([("getUpdates", Refusal(409, conflict))] * 8)
    stop = StopEvent(limit=8)
    setup.channel.run(stop)
    assert stop.pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    assert setup.lines == [update_poller.OTHER_POLLER]
    with reading(engine) as session:
        [check] = telegram_log.check_bot(session)
    assert (check.status, "Another program" in check.detail) == (HealthStatus.WARNING, True)
    setup.receive()
    with reading(engine) as session:
        [check] = telegram_log.check_bot(session)
    assert (check.status, check.detail) == (HealthStatus.OK, f"receives as @{BOT_NAME}")


def test_the_stand_in_ends_the_earlier_of_two_polls_as_telegram_does(setup: Setup) -> None:
    poll = {"offset": 0, "timeout": 600, "allowed_updates": []}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(BotClient(TOKEN, setup.server.url).call, "getUpdates", poll, poll_seconds=600)
        wait_until(lambda: setup.server.polls == 1)
        setup.receive()
        error = first.exception()
    assert "Telegram answered 409" in str(error)


def test_the_token_is_in_no_error_log_or_health(setup: Setup, engine: Engine) -> None:
    setup.pair(ANN, ANN)
    refusal = Refusal(400, f"Bad Request: https://api.telegram.org/bot{TOKEN}/sendMessage is wrong")
    setup.server.faults.append(("sendMessage", refusal))
    with pytest.raises(SendFailed) as caught:
        setup.channel.send(build_alert())
    unreachable = TelegramChannel(
        ChannelSetup(setup.context, {}, {}, setup.lines.append), BotClient(TOKEN, "http://127.0.0.1:1")
    )
    unreachable.run(StopEvent(limit=1))
    revoked = BotClient(f"{TOKEN[:-1]}x", setup.server.url)
    TelegramChannel(ChannelSetup(setup.context, {}, {}, setup.lines.append), revoked).run(StopEvent(limit=3))
    assert setup.lines[-1] == "Telegram answered 401: Unauthorized"
    with pytest.raises(SendFailed, match=r"127\.0\.0\.1:1/… gave no readable response"):
        unreachable.send(build_alert())
    with pytest.raises(SendFailed) as malformed:
        build_channel(ChannelSetup(setup.context, {}, {"token": f"{TOKEN}/x"}, setup.lines.append))
    texts = [caught.value.message, malformed.value.message, *setup.lines]
    with reading(engine) as session:
        texts += [check.detail for check in telegram_log.check_bot(session)]
    assert len(texts) >= 5 and caught.value.is_permanent
    assert not [text for text in texts if TOKEN[-20:] in text]


# -------------------------------------------------------------------------------------------------------------- outbound


def test_texts_are_data_and_long_ones_are_split_between_characters(setup: Setup) -> None:
    setup.pair(ANN, ANN)
    body = ("<b>bold</b> & " + "\U0001f600" * 40) * 100 + "</a>"
    setup.channel.send(build_alert(body))
    parts = setup.server.list_texts(ANN)[1:]
    assert len(parts) > 2
    assert "".join(parts).replace(" ", "") == f"Incident: <disk>\n\n{body}".replace(" ", "")
    with pytest.raises(Refusal, match="too long"):
        setup.server.call("sendMessage", {"chat_id": ANN, "text": "\U0001f600" * 2049, "parse_mode": "HTML"})
    for limit in (2, 3, 7, 50):
        text = "\U0001f600a b\n" * 40
        pieces = message_text.split_text(text, limit)
        assert all(0 < message_text.count_units(piece) <= limit for piece in pieces)
        assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)


@pytest.mark.both_databases
def test_an_alert_that_is_sent_again_reaches_only_who_does_not_have_it(setup: Setup, engine: Engine) -> None:
    setup.pair(ANN, ANN)
    setup.pair(ANN, GROUP)
    setup.server.faults.append(("sendMessage", Refusal(502, "Bad Gateway")))
    with pytest.raises(SendFailed) as caught:
        setup.channel.send(build_alert("x" * 5000))
    assert not caught.value.is_permanent
    before = len(setup.server.list_texts(GROUP))
    setup.channel.send(build_alert("x" * 5000))
    assert (len(setup.server.list_texts(ANN)), len(setup.server.list_texts(GROUP))) == (3, before)


def test_a_chat_that_blocks_the_bot_is_left_out_and_shown_until_it_writes_again(setup: Setup, engine: Engine) -> None:
    def read_problems() -> list[str]:
        with reading(engine) as session:
            return [chat.problem for chat in telegram_pairing.list_chats(session)]

    setup.pair(ANN, ANN)
    setup.pair(ANN, GROUP)
    setup.server.chats[ANN].blocks = "Forbidden: bot was blocked by the user"
    setup.channel.send(build_alert())
    assert read_problems() == ["Forbidden: bot was blocked by the user", ""]
    setup.server.push({"my_chat_member": {"chat": {"id": GROUP}, "new_chat_member": {"status": "kicked"}}})
    setup.receive()
    with pytest.raises(SendFailed, match="No Telegram chat can be reached") as caught:
        setup.channel.send(build_alert(key="event:2"))
    assert caught.value.is_permanent
    setup.server.chats[ANN].blocks = ""
    setup.server.write(ANN, ANN, "/help")
    setup.receive()
    assert read_problems() == ["", "The bot was blocked or removed."]
    setup.channel.send(build_alert(key="event:2"))
    assert "Incident" in setup.server.list_texts(ANN)[-1]
    setup.channel.send(replace(build_alert(key="test:1"), kind=AlertKind.TEST))
    assert read_problems() == ["", ""]


def test_a_group_that_becomes_a_supergroup_keeps_its_alerts(setup: Setup, engine: Engine) -> None:
    setup.pair(ANN, GROUP)
    setup.server.add_chat(SUPERGROUP)
    setup.server.chats[GROUP].moved_to = SUPERGROUP
    setup.channel.send(build_alert())
    setup.channel.send(build_alert(key="event:2"))
    assert len(setup.server.list_texts(SUPERGROUP)) == 2
    with reading(engine) as session:
        assert [chat.chat_id for chat in telegram_pairing.list_chats(session)] == [SUPERGROUP]


def test_a_forum_has_a_topic_for_each_ticket_and_other_chats_a_thread_of_replies(setup: Setup, engine: Engine) -> None:
    forum = setup.server.add_chat(SUPERGROUP, is_forum=True)
    setup.pair(ANN, ANN)
    setup.pair(ANN, SUPERGROUP)
    ticket_id, _ = setup.send_question("Yes")
    setup.channel.send(build_alert(key="event:900", ticket="MC-1", ticket_id=ticket_id))
    assert forum.topics == dict.fromkeys(forum.topics, "MC-1 Write a line") and len(forum.topics) == 1
    [topic] = forum.topics
    first, second = ([m for m in setup.server.messages if m.chat_id == chat][-2:] for chat in (ANN, SUPERGROUP))
    assert [m.params.get("message_thread_id") for m in second] == [topic, topic]
    assert first[1].params["reply_parameters"]["message_id"] == first[0].message_id

    del forum.topics[topic]  # somebody has deleted it
    with writing(engine) as session:
        session.execute(update(Ticket).values(title="Replace ghp_" + "a1B2" * 9))
    setup.channel.send(build_alert(key="event:901", ticket="MC-1", ticket_id=ticket_id))
    [topic] = forum.topics
    assert forum.topics[topic] == "MC-1 Replace [redacted]"
    setup.server.write(ANN, ANN, "/status")
    setup.receive()
    assert "- MC-1 Replace [redacted]" in setup.server.list_texts(ANN)[-1]
    setup.channel.send(build_alert(key="event:902", ticket="MC-1", ticket_id=ticket_id))
    assert setup.server.messages[-1].params["message_thread_id"] == topic
    more = {"message_thread_id": topic, "is_topic_message": True}
    setup.server.write(ANN, SUPERGROUP, "/answer Do it", **more)
    setup.receive()
    assert setup.list_moves(ticket_id)[-1] == ("answer", "alice")
    assert setup.server.messages[-1].params["message_thread_id"] == topic


def test_a_settled_alert_is_edited_once_and_what_cannot_be_edited_is_no_failure(setup: Setup) -> None:
    setup.pair(ANN, ANN)
    _, alert = setup.send_question("Yes")
    for _ in range(2):  # the second is "not modified"
        setup.channel.settle(alert, "", "Answered by <bob>.")
    assert setup.server.messages[-1].plain.endswith("Answered by <bob>.") and not setup.server.messages[-1].buttons
    setup.server.messages.pop()
    setup.channel.settle(alert, "", "Answered by bob.")
    setup.server.faults.append(("editMessageText", Refusal(502, "Bad Gateway")))
    with pytest.raises(SendFailed):
        setup.channel.settle(alert, "", "Answered by bob.")


# ------------------------------------------------------------------------------------------------------------------ pace


def test_one_message_a_second_and_twenty_a_minute_in_a_group() -> None:
    moment, sleeps = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        moment[0] += seconds

    pacer = ChatPacer(lambda: moment[0], sleep)
    for _ in range(3):
        pacer.wait(ANN)
    assert sleeps == [1, 1]
    pacer.wait(GROUP)
    assert sleeps == [1, 1]  # another chat does not wait
    sleeps.clear()
    for _ in range(20):
        pacer.wait(GROUP)
    assert sleeps == [1.0] * 19 + [41.0]


def test_a_busy_server_is_waited_for_and_the_order_stays(setup: Setup) -> None:
    setup.pair(ANN, ANN)
    busy = Refusal(429, "Too Many Requests: retry after 7", retry_after=7)
    setup.server.faults.append(("sendMessage", busy))
    for number in range(3):
        setup.channel.send(build_alert(f"Number {number}", key=f"event:{number}"))
    assert [text[-1] for text in setup.server.list_texts(ANN)[1:]] == ["0", "1", "2"]
    assert 7.0 in setup.sleeps
    setup.server.faults.append(("sendMessage", Refusal(429, "Too Many Requests", retry_after=600)))
    with pytest.raises(SendFailed) as caught:
        setup.channel.send(build_alert(key="event:4"))
    assert (caught.value.retry_after, caught.value.is_permanent) == (600, False)
    setup.server.faults.append(("sendMessage", Refusal(429, "Too Many Requests", retry_after=10**400)))
    with pytest.raises(SendFailed) as caught:
        setup.channel.send(build_alert(key="event:5"))
    assert caught.value.retry_after == MAX_RETRY_SECONDS
