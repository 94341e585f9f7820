"""What an agent is told at the start of its run: the ticket, or, in a conversation that goes on, what is new about it."""

from __future__ import annotations

import re

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models import TERMINAL, ActorKind, CommentKind, Gate, Project, Run, Ticket, TicketComment, TicketPhase
from tickets.conversation import context
from tickets.workflow import relationships, ticket_phases

from . import claims, forks

ORDER = (
    "Work this ticket in the live tmux runtime. Use DONE:, REVIEW:, or QUESTION: when you need MC to reflect the"
    " next state."
)
END_OF_DESCRIPTION = "<!-- end of description -->"
"""What follows is talk about the ticket: the script agent runs nothing of it."""
PHASE = "<!-- phase: {} -->"
"""For the script agent, which runs only the blocks of its phase; see `workers.agents.script.blocks`."""
PLAIN_NAME = re.compile(r"[\w .-]+")
COMMENT_CHARACTERS = 8_000
COMMENTS_CHARACTERS = 60_000
GATES = {
    "none": "DONE completes the ticket.",
    "checks": "DONE completes the ticket when Mission Control sees its check command pass.",
    "reviewer": "A reviewer approves the work; DONE and REVIEW both hand it over.",
    "person": "A person approves the work; DONE and REVIEW both hand it over.",
}
REVIEWED = "{} reviews the work next: DONE hands it over, REVIEW leaves it to a person first."
JUDGES = "You judge what phase {} made: look at its commits and try them; do not do its work yourself."
SENDS_BACK = (
    "If something must change first, report CHANGES with what and why (mc_request_changes, or a line that begins with"
    " CHANGES:): the ticket goes back to {}."
)
TOOLS = (
    "Where the mc-coord tools are available, report through them: mc_progress while you work, mc_link_context for what"
    " you found, mc_create_ticket for work that is not part of this ticket, and exactly one of mc_report_done,"
    " mc_report_review or mc_ask_question at the end. Otherwise end your last message with a line that begins with"
    " DONE:, REVIEW: or QUESTION:."
)
EVIDENCE = (
    "Commit your work on the branch you are on. Mission Control looks at commits, changed files and the project's"
    " check itself; say nothing that these do not bear out."
)


FORKED = (
    "You go on with a copy of your conversation about {source}: that ticket goes its own way, and from here on only this"
    " one is yours. The files are as this ticket begins, not as you left them there; you work in {workspace}."
)
WORKED = "The work on {source} is on branch {branch}, and is here only as far as it was landed."


def compose(session: Session, ticket: Ticket, run: Run) -> str:
    """The prompt of a claimed run, in Markdown."""
    head = f"{ticket.identifier}: {ticket.title}"
    if run.resumes:
        parts = [head, ORDER, END_OF_DESCRIPTION, *_resumed(session, ticket, run)]
    else:
        mark = PHASE.format(ticket.phase) if PLAIN_NAME.fullmatch(ticket.phase or "") else ""
        described = [ticket.description.strip(), mark, END_OF_DESCRIPTION]
        parts = [head, ORDER, *described, *_afresh(session, ticket, run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _afresh(session: Session, ticket: Ticket, run: Run) -> list[str]:
    said = [comment for comment in _comments(session, ticket.id) if comment.run_id != run.id]
    return [
        _fork(session, run),
        _acceptance(ticket),
        _phase(session, ticket, run),
        _check(session, ticket),
        _section("Context", "\n".join(context_lines(session, ticket))),
        _failure(ticket),
        _section("What was said so far", _quoted(said)),
        _section("How to report", f"{TOOLS}\n\n{EVIDENCE}"),
    ]


def _fork(session: Session, run: Run) -> str:
    source = forks.source(session, run) if run.forks else None
    if source is None:
        return ""
    said = [FORKED.format(source=source.identifier, workspace=run.workspace)]
    worked = claims.last_placed(session, source.id)
    if worked and worked.repository == run.repository:
        said.append(WORKED.format(source=source.identifier, branch=worked.branch))
    return _section("A copy of a conversation", " ".join(said))


def _resumed(session: Session, ticket: Ticket, run: Run) -> list[str]:
    """The rest the conversation knows. Words written while the last run went on count as new: it never saw them."""
    known = _last_heard(session, ticket.id, run)
    said = [comment for comment in _comments(session, ticket.id) if comment.id > known]
    people = [comment for comment in said if comment.author_kind is not ActorKind.RUN or comment.author != run.agent]
    news = _section("What is new", _quoted(people)) or "Nothing new was said. Go on where you stopped."
    return [news, _failure(ticket), _phase(session, ticket, run)]


def _last_heard(session: Session, ticket_id: int, run: Run) -> int:
    """The id of the comment with which the last run of this conversation began that really reached its agent."""
    heard = select(Run.id).where(
        Run.ticket_id == ticket_id,
        Run.id != run.id,
        Run.conversation_id == run.conversation_id,
        Run.last_run_seq > 0,
    )
    last = session.scalar(heard.order_by(Run.id.desc()).limit(1))
    first = select(TicketComment.id).where(TicketComment.ticket_id == ticket_id, TicketComment.run_id == last)
    return session.scalar(first.order_by(TicketComment.id).limit(1)) or 0


def _comments(session: Session, ticket_id: int) -> list[TicketComment]:
    """What people and agents said, oldest first; of Mission Control's own words only the changes it requests."""
    meant = or_(TicketComment.author_kind != ActorKind.SYSTEM, TicketComment.kind == CommentKind.FEEDBACK)
    query = select(TicketComment).where(TicketComment.ticket_id == ticket_id, meant)
    return list(session.scalars(query.order_by(TicketComment.id)))


def _quoted(comments: list[TicketComment]) -> str:
    """The comments, newest kept where they are too many; answers and feedback are named as such."""
    kept: list[str] = []
    room = COMMENTS_CHARACTERS
    for comment in reversed(comments):
        text = f"{_speaker(comment)}:\n\n{_clipped(comment.body)}"
        room -= len(text)
        if room < 0:
            kept.append("(Earlier comments are on the ticket.)")
            break
        kept.append(text)
    return "\n\n".join(reversed(kept))


def _speaker(comment: TicketComment) -> str:
    kinds = {
        CommentKind.ANSWER: "Answer by",
        CommentKind.FEEDBACK: "Review feedback by",
        CommentKind.QUESTION: "Question by",
        CommentKind.VERDICT: "Report of",
    }
    return f"**{kinds.get(comment.kind, 'Comment by')} {comment.author}**"


def _clipped(text: str) -> str:
    text = text.strip()
    return text if len(text) <= COMMENT_CHARACTERS else text[:COMMENT_CHARACTERS] + " … (shortened; see the ticket)"


def _acceptance(ticket: Ticket) -> str:
    lines = [f"{number}. [{'x' if item.get('met') else ' '}] {item['text']}" for number, item in _numbered(ticket)]
    return _section("Acceptance (items are counted from 0)", "\n".join(lines))


def _numbered(ticket: Ticket) -> list[tuple[int, dict[str, object]]]:
    return list(enumerate(ticket.acceptance or []))


def _phase(session: Session, ticket: Ticket, run: Run) -> str:
    phases = ticket_phases.of(session, ticket.id)
    here = ticket_phases.current(phases)
    reviewer = ticket_phases.reviewer(session, ticket, run.agent) if ticket.gate is Gate.REVIEWER else None
    gate = REVIEWED.format(reviewer) if reviewer else GATES[ticket.gate.value]
    said = [*_place(phases, here), gate] if here else [gate]
    return _section("Phase and gate", " ".join(said))


def _place(phases: list[TicketPhase], here: TicketPhase) -> list[str]:
    """Where this phase stands among the others, what it may send back, and what was decided."""
    names = " → ".join(phase.name for phase in phases)
    said = [f"This is phase {here.name} of {names}."]
    target = ticket_phases.maker(phases, here)
    if target is not None:
        judges = [JUDGES.format(target.name)] if here.name in ticket_phases.JUDGING else []
        said += [*judges, SENDS_BACK.format(target.name)]
    decided = [f"{phase.name}: {phase.note}" for phase in phases if phase.note in phase.choices]
    said += [f"Decided: {'; '.join(decided)}."] if decided else []
    return said + ([f"Runbook: {here.runbook}"] if here.runbook else [])


def _check(session: Session, ticket: Ticket) -> str:
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    if project is None or not project.check_command:
        return ""
    return _section("Check command", f"`{' '.join(project.check_command)}`, run by Mission Control when you are done.")


def context_lines(session: Session, ticket: Ticket) -> list[str]:
    """What a new conversation is told of the ticket's links and relationships, line by line."""
    linked = [(f"{link.kind}:", link.reference, link.title, link.note) for link in context.of(session, ticket.id)]
    related = [(f"{link.words}:", link.identifier, link.title) for link in relationships.of(session, ticket.id)]
    return [" ".join(("-", *filter(None, parts))) for parts in (*linked, *related)]


def _failure(ticket: Ticket) -> str:
    if not ticket.failure_reason or ticket.status in TERMINAL:
        return ""
    return _section("The last attempt", f"It ended without a verdict: {_clipped(ticket.failure_reason)}")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""
