"""The commands of paired people to the bot, and their replies to alerts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from models import Ticket, now
from settings import Settings
from tickets.alerts import answers, telegram_log
from tickets.alerts.alert import Alert, QuestionKind
from tickets.board import overview
from tickets.lifecycle import ticket_line, transitions
from tickets.operations import health
from tickets.operations.health_check import format_count
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid, convert_validation_error
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_ticket
from tickets.team import default_owner, projects

from .bot_updates import ChatMessage

MAX_LISTED = 5
COMMAND_PATTERN = re.compile(r"/(?P<name>[a-z]{1,32})(?:@(?P<bot>\w{1,64}))?(?:\s+(?P<words>.*))?", re.DOTALL)
IDENTIFIER_PATTERN = re.compile(r"(?P<identifier>MC-[1-9][0-9]{0,17})\b\s*(?P<words>.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BotReply:
    """The answer of the bot. `run_id` is a live run to notify after the commit."""

    text: str
    run_id: int | None = None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class CommandCall:
    """A command with the words behind it."""

    session: Session
    settings: Settings
    actor: Actor
    message: ChatMessage
    words: str

    def find_alert(self) -> Alert | None:
        """Find the alert that the message replies to."""
        reply_to = self.message.reply_to_message
        if reply_to is None:
            return None
        return telegram_log.find_alert_by_message(self.session, self.message.chat.id, reply_to.message_id)

    def find_ticket(self) -> tuple[Ticket, str]:
        """Find the ticket that the words name, the message replies to or the topic belongs to, and the other words."""
        match = IDENTIFIER_PATTERN.fullmatch(self.words)
        if match:
            return get_ticket(self.session, match["identifier"].upper()), match["words"]
        alert, topic_id = self.find_alert(), self.message.topic_id
        ticket_id = alert.ticket_id if alert else None
        if ticket_id is None and topic_id is not None:
            ticket_id = telegram_log.find_ticket_of_topic(self.session, self.message.chat.id, topic_id)
        if ticket_id is None:
            raise Invalid("Name the ticket, such as MC-12, or reply to a message about it.")
        return get_ticket(self.session, ticket_id), self.words


def run_command(call: CommandCall, name: str) -> BotReply:
    """Run a command. An unknown one gets the list of those that there are."""
    return COMMANDS.get(name, show_help)(call)


def answer_alert(call: CommandCall) -> BotReply | None:
    """Answer the question of the alert that a message replies to. None when it replies to none."""
    alert = call.find_alert()
    if alert is None:
        return None
    run_id = answers.answer_question(call.session, alert, call.actor, text=call.words)
    is_review = alert.question is not None and alert.question.kind is QuestionKind.REVIEW
    verb = "Changes were requested on" if is_review else "Answered"
    return BotReply(f"{verb} {alert.ticket}.", run_id)


def show_help(_: CommandCall) -> BotReply:
    lines = [f"{usage} – {purpose}" for usage, purpose in HELP.items()]
    return BotReply("\n".join([*lines, "", "Reply to a question to answer it, and to a review to request changes."]))


def show_status(call: CommandCall) -> BotReply:
    """Describe the verdict with its causes, what needs a person, and what is running."""
    report = health.build_report(health.load_results(call.session))
    needs = overview.list_needs(call.session, MAX_LISTED)
    runs = overview.list_at_work(call.session)
    lines = [f"Mission Control is {report.verdict}.", *report.reasons[:MAX_LISTED], ""]
    count = overview.count_needs(call.session)
    lines += [f"{format_count(count, 'ticket')} need{'s' if count == 1 else ''} you"]
    lines += [f"- {need['identifier']} {need['title']}" for need in needs]
    lines += ["", f"{format_count(len(runs), 'run')} in progress"]
    lines += [f"- {run['identifier']} {run['title']} ({run['agent']})" for run in runs[:MAX_LISTED]]
    return BotReply("\n".join(lines))


def create_ticket(call: CommandCall) -> BotReply:
    """Create a ticket: its line with fields as in the form of a new ticket, then its description."""
    line, _, description = call.words.partition("\n")
    names = ticket_line.load_names(call.session, call.actor.name)
    parsed = ticket_line.parse_line(line, names, now().astimezone(call.settings.zone))
    fields = {**_find_defaults(call), **parsed.fields, "title": parsed.title, "description": description.strip()}
    try:
        body = NewTicket.model_validate(fields)
    except ValidationError as error:
        raise convert_validation_error(error) from None
    ticket = transitions.create_ticket(call.session, body, call.actor)
    owner = f"Its owner is {ticket.assigned_to}." if ticket.assigned_to else "It has no owner yet."
    return BotReply(f"Created {ticket.identifier}: {ticket.title}\n{owner}")


def _find_defaults(call: CommandCall) -> dict[str, str]:
    """Find owner and project as the form of a new ticket offers them."""
    available = projects.list_projects(call.session)
    owner = default_owner.find_default_owner(call.session, call.actor.name)
    project = {"project": available[0].slug} if len(available) == 1 else {}
    return project | ({"assigned_to": owner} if owner else {})


def approve(call: CommandCall) -> BotReply:
    """Approve a review, by a reply to its alert only that very submission."""
    alert = call.find_alert()
    if alert and alert.question and alert.question.kind is QuestionKind.REVIEW and not call.words:
        answers.answer_question(call.session, alert, call.actor, choice=answers.APPROVE)
        return BotReply(f"Approved {alert.ticket}.")
    ticket, _ = call.find_ticket()
    transitions.transition(call.session, ticket.id, "approve", call.actor)
    return BotReply(f"Approved {ticket.identifier}.")


def request_changes(call: CommandCall) -> BotReply:
    ticket, words = call.find_ticket()
    transitions.transition(call.session, ticket.id, "request_changes", call.actor, body=words)
    return BotReply(f"Changes were requested on {ticket.identifier}.")


def answer_ticket(call: CommandCall) -> BotReply:
    ticket, words = call.find_ticket()
    transitions.transition(call.session, ticket.id, "answer", call.actor, body=words)
    return BotReply(f"Answered {ticket.identifier}.")


COMMANDS: dict[str, Callable[[CommandCall], BotReply]] = {
    "status": show_status,
    "new": create_ticket,
    "answer": answer_ticket,
    "approve": approve,
    "changes": request_changes,
    "help": show_help,
}
HELP = {
    "/status": "whether everything works, what needs you and what is running",
    "/new TITLE": "a new ticket; #tag @owner !priority +project as on the board, further lines are its description",
    "/answer MC-12 TEXT": "answers a question",
    "/approve MC-12": "approves a review",
    "/changes MC-12 TEXT": "requests changes",
}
