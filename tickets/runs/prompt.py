"""The prompt of a run: the whole ticket, or only what is new in a resumed conversation."""

from __future__ import annotations

import re

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from models import TERMINAL, ActorKind, CommentKind, Gate, Project, Run, Ticket, TicketComment, TicketPhase
from tickets.conversation import context
from tickets.planning import plans
from tickets.workflow import relationships, ticket_phases

from . import claims, forks

ORDER = (
    "Work this ticket in the live tmux runtime. Use DONE:, REVIEW:, or QUESTION: when you need MC to reflect the"
    " next state."
)
END_OF_DESCRIPTION = "<!-- end of description -->"
"""The script agent ignores everything after this mark."""
PHASE = "<!-- phase: {} -->"
"""Mark for the script agent, which runs only the blocks of its phase. See `workers.agents.script.blocks`."""
PLAIN_NAME = re.compile(r"[\w .-]+")
MAX_COMMENT_CHARACTERS = 8_000
MAX_COMMENTS_CHARACTERS = 60_000
GATES = {
    "none": "DONE completes the ticket.",
    "checks": "DONE completes the ticket when Mission Control sees its check command pass.",
    "reviewer": "A reviewer approves the work; DONE and REVIEW both hand it over.",
    "person": "A person approves the work; DONE and REVIEW both hand it over.",
}
REVIEWER_TEXT = "{} reviews the work next: DONE hands it over, REVIEW leaves it to a person first."
JUDGE_TEXT = "You judge what phase {} made: look at its commits and try them; do not do its work yourself."
SEND_BACK_TEXT = (
    "If something must change first, report CHANGES with what and why (mc_request_changes, or a line that begins with"
    " CHANGES:): the ticket goes back to {}."
)
TOOLS = (
    "Where the mc-coord tools are available, report through them: mc_progress while you work, mc_link_context for what"
    " you found, mc_create_ticket for work that is not part of this ticket, and exactly one of mc_report_done,"
    " mc_report_review or mc_ask_question at the end. Otherwise end your last message with a line that begins with"
    " DONE:, REVIEW: or QUESTION:."
)
PLAN_FIRST = (
    "Make a plan and change nothing yet: anything that writes is refused. Read what you need, then present the plan in"
    " Markdown: with the tool ExitPlanMode where you have it, else as your last message. Do not report DONE or REVIEW."
    " A person edits and approves the plan, or sends it back; then you carry it out in this conversation."
)
CARRY_OUT = "{} approved this plan. Carry it out as it stands here, which may differ from your proposal."
EVIDENCE = (
    "Commit your work on the branch you are on. Mission Control looks at commits, changed files and the project's"
    " check itself; say nothing that these do not bear out."
)


FORK_TEXT = (
    "You go on with a copy of your conversation about {source}: that ticket goes its own way, and from here on only this"
    " one is yours. The files are as this ticket begins, not as you left them there; you work in {workspace}."
)
SOURCE_BRANCH_TEXT = "The work on {source} is on branch {branch}, and is here only as far as it was landed."


def compose_prompt(session: Session, ticket: Ticket, run: Run) -> str:
    """Compose the prompt of a claimed run, in Markdown."""
    head = f"{ticket.identifier}: {ticket.title}"
    if run.resumes:
        parts = [head, ORDER, END_OF_DESCRIPTION, *_describe_news(session, ticket, run)]
    else:
        mark = PHASE.format(ticket.phase) if PLAIN_NAME.fullmatch(ticket.phase or "") else ""
        described = [ticket.description.strip(), mark, END_OF_DESCRIPTION]
        parts = [head, ORDER, *described, *_describe_ticket(session, ticket, run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _describe_ticket(session: Session, ticket: Ticket, run: Run) -> list[str]:
    comments = [comment for comment in _load_comments(session, ticket.id) if comment.run_id != run.id]
    return [
        _describe_fork(session, run),
        _describe_acceptance(ticket),
        _describe_phase(session, ticket, run),
        _describe_plan(session, ticket, run),
        _describe_check(session, ticket),
        _render_section("Context", "\n".join(list_context_lines(session, ticket))),
        _describe_failure(ticket),
        _render_section("What was said so far", _quote_comments(comments)),
        _render_section("How to report", f"{TOOLS}\n\n{EVIDENCE}"),
    ]


def _describe_fork(session: Session, run: Run) -> str:
    source = forks.find_source(session, run) if run.forks else None
    if source is None:
        return ""
    sentences = [FORK_TEXT.format(source=source.identifier, workspace=run.workspace)]
    last_run = claims.find_last_in_repository(session, source.id)
    if last_run and last_run.repository == run.repository:
        sentences.append(SOURCE_BRANCH_TEXT.format(source=source.identifier, branch=last_run.branch))
    return _render_section("A copy of a conversation", " ".join(sentences))


def _describe_news(session: Session, ticket: Ticket, run: Run) -> list[str]:
    """Describe what is new to a resumed conversation, including comments written while the last run was working."""
    last_id = _find_last_heard(session, ticket.id, run)
    new_comments = [comment for comment in _load_comments(session, ticket.id) if comment.id > last_id]
    people = [
        comment for comment in new_comments if comment.author_kind is not ActorKind.RUN or comment.author != run.agent
    ]
    news = _render_section("What is new", _quote_comments(people)) or "Nothing new was said. Go on where you stopped."
    return [
        news,
        _describe_plan(session, ticket, run),
        _describe_failure(ticket),
        _describe_phase(session, ticket, run),
    ]


def _find_last_heard(session: Session, ticket_id: int, run: Run) -> int:
    """Return the id of the first comment of the last run of this conversation that reached its agent."""
    query = select(Run.id).where(
        Run.ticket_id == ticket_id,
        Run.id != run.id,
        Run.conversation_id == run.conversation_id,
        Run.last_run_seq > 0,
    )
    last = session.scalar(query.order_by(Run.id.desc()).limit(1))
    first = select(TicketComment.id).where(TicketComment.ticket_id == ticket_id, TicketComment.run_id == last)
    return session.scalar(first.order_by(TicketComment.id).limit(1)) or 0


def _load_comments(session: Session, ticket_id: int) -> list[TicketComment]:
    """Load the comments of people and agents, and the change requests of Mission Control, oldest first."""
    is_relevant = or_(TicketComment.author_kind != ActorKind.SYSTEM, TicketComment.kind == CommentKind.FEEDBACK)
    query = select(TicketComment).where(TicketComment.ticket_id == ticket_id, is_relevant)
    return list(session.scalars(query.order_by(TicketComment.id)))


def _quote_comments(comments: list[TicketComment]) -> str:
    """Quote the comments with their authors, leaving out the oldest where they exceed the limit."""
    texts: list[str] = []
    remaining = MAX_COMMENTS_CHARACTERS
    for comment in reversed(comments):
        text = f"{_format_author(comment)}:\n\n{_clip(comment.body)}"
        remaining -= len(text)
        if remaining < 0:
            texts.append("(Earlier comments are on the ticket.)")
            break
        texts.append(text)
    return "\n\n".join(reversed(texts))


def _format_author(comment: TicketComment) -> str:
    kinds = {
        CommentKind.ANSWER: "Answer by",
        CommentKind.FEEDBACK: "Review feedback by",
        CommentKind.QUESTION: "Question by",
        CommentKind.VERDICT: "Report of",
    }
    return f"**{kinds.get(comment.kind, 'Comment by')} {comment.author}**"


def _clip(text: str) -> str:
    text = text.strip()
    return (
        text
        if len(text) <= MAX_COMMENT_CHARACTERS
        else text[:MAX_COMMENT_CHARACTERS] + " … (shortened; see the ticket)"
    )


def _describe_acceptance(ticket: Ticket) -> str:
    lines = [f"{number}. [{'x' if item.get('met') else ' '}] {item['text']}" for number, item in _number_items(ticket)]
    return _render_section("Acceptance (items are counted from 0)", "\n".join(lines))


def _number_items(ticket: Ticket) -> list[tuple[int, dict[str, object]]]:
    return list(enumerate(ticket.acceptance or []))


def _describe_phase(session: Session, ticket: Ticket, run: Run) -> str:
    phases = ticket_phases.list_phases(session, ticket.id)
    here = ticket_phases.find_current(phases)
    reviewer = ticket_phases.find_reviewer(session, ticket, run.agent) if ticket.gate is Gate.REVIEWER else None
    gate = REVIEWER_TEXT.format(reviewer) if reviewer else GATES[ticket.gate.value]
    sentences = [*_describe_position(phases, here), gate] if here else [gate]
    return _render_section("Phase and gate", " ".join(sentences))


def _describe_plan(session: Session, ticket: Ticket, run: Run) -> str:
    """Describe the plan to be made, or the approved one unless a run of this conversation was told of it."""
    if run.plans:
        return _render_section("Plan first", PLAN_FIRST)
    plan = plans.find_approved(session, ticket.id)
    ended = select(func.max(Run.ended)).where(Run.ticket_id == ticket.id, Run.id != run.id)
    last_end = session.scalar(ended) if plan and run.resumes else None
    if plan is None or (last_end and plan.decided and plan.decided < last_end):
        return ""
    return _render_section("The approved plan", f"{CARRY_OUT.format(plan.decided_by)}\n\n{plan.body}")


def _describe_position(phases: list[TicketPhase], here: TicketPhase) -> list[str]:
    """Describe the position of this phase in the workflow, what it may send back, and the decisions made."""
    names = " → ".join(phase.name for phase in phases)
    sentences = [f"This is phase {here.name} of {names}."]
    target = ticket_phases.find_maker_phase(phases, here)
    if target is not None:
        judges = [JUDGE_TEXT.format(target.name)] if here.name in ticket_phases.REVIEW_PHASES else []
        sentences += [*judges, SEND_BACK_TEXT.format(target.name)]
    decisions = [f"{phase.name}: {phase.note}" for phase in phases if phase.note in phase.choices]
    sentences += [f"Decided: {'; '.join(decisions)}."] if decisions else []
    return sentences + ([f"Runbook: {here.runbook}"] if here.runbook else [])


def _describe_check(session: Session, ticket: Ticket) -> str:
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    if project is None or not project.check_command:
        return ""
    return _render_section(
        "Check command", f"`{' '.join(project.check_command)}`, run by Mission Control when you are done."
    )


def list_context_lines(session: Session, ticket: Ticket) -> list[str]:
    """List the ticket's links and relationships as lines of a prompt."""
    linked = [
        (f"{link.kind}:", link.reference, link.title, link.note) for link in context.list_context(session, ticket.id)
    ]
    related = [
        (f"{link.words}:", link.identifier, link.title) for link in relationships.list_relations(session, ticket.id)
    ]
    return [" ".join(("-", *filter(None, parts))) for parts in (*linked, *related)]


def _describe_failure(ticket: Ticket) -> str:
    if not ticket.failure_reason or ticket.status in TERMINAL:
        return ""
    return _render_section("The last attempt", f"It ended without a verdict: {_clip(ticket.failure_reason)}")


def _render_section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""
