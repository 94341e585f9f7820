"""Events as sentences for people: "operator parked MC-3 until an answer comes"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tickets.shared import ticket_fields
from tickets.shared.events import LogEntry

from . import template_filters

TICKET = "{ticket}"
MAX_LENGTH = 160

GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tickets": ("Tickets", ("ticket_", "review_", "finding_")),
    "conversation": (
        "Conversation",
        ("comment_", "message_", "request_", "attachment_", "context_", "relationship_", "plan_"),
    ),
    "runs": ("Runs", ("run_", "dispatch_", "claim_", "budget_", "write_")),
    "incidents": ("Incidents", ("incident_",)),
    "inbox": ("Inbox", ("inbox_",)),
    "machine": (
        "Machine",
        (
            "project_",
            "slot_",
            "agent_",
            "profile_",
            "token_",
            "task_",
            "switch_",
            "logged_",
            "view_",
            "alert_",
            "push_",
            "telegram_",
        ),
    ),
}
"""Filters of the activity feed: the label of each, and the prefixes of its event types."""

MOVES: dict[str, tuple[str, str]] = {
    "triage": ("corner-down-left", "triaged {ticket}"),
    "claim": ("circle-play", "claimed {ticket}"),
    "start": ("circle-play", "started {ticket}"),
    "finish": ("circle-check", "finished {ticket}"),
    "release": ("undo-2", "returned {ticket} to To do"),
    "ask": ("message-circle-question-mark", "asked a question on {ticket}"),
    "answer": ("message-square", "answered {ticket}"),
    "submit": ("scan-eye", "submitted {ticket} for review"),
    "complete": ("circle-check", "completed {ticket}"),
    "approve": ("check", "approved {ticket}"),
    "land": ("git-merge", "landed {ticket}: {body}"),
    "fail_landing": ("triangle-alert", "could not land {ticket}: {body}"),
    "request_changes": ("file-pen", "requested changes to {ticket}"),
    "send_back": ("undo-2", "sent {ticket} back to an earlier phase: {body}"),
    "park": ("hourglass", "parked {ticket}"),
    "wake": ("bell", "woke {ticket}"),
    "block": ("octagon-alert", "blocked {ticket}: {next_action}"),
    "unblock": ("circle", "unblocked {ticket}"),
    "close": ("circle-check", "closed {ticket} without its evidence"),
    "cancel": ("circle-slash", "cancelled {ticket}"),
    "adopt": ("circle-check", "completed {ticket}: {note}"),
    "reopen": ("refresh-cw", "reopened {ticket}"),
    "undo": ("undo-2", "undid the last move of {ticket}"),
}

ANY_MOVE = ("circle-dashed", "moved {ticket}: {anything}")
"""The sentence of a move that has none of its own: it names the move and both states."""

SENTENCES: dict[str, tuple[str, str]] = {
    "ticket_created": ("plus", "created {ticket} {tagging}"),
    "ticket_landed_late": ("git-merge", "landed {ticket} too late: {body}"),
    "ticket_merge_tried": ("git-merge", "found that {ticket} {detail}"),
    "ticket_item_judged": ("shield-check", "marked “{text}” of {ticket} as {state}"),
    "evidence_rechecked": ("shield-check", "verified the evidence of {ticket} again: {detail}"),
    "ticket_triage_proposed": ("inbox", "proposed {owner} for {ticket}: {reason}"),
    "ticket_triage_undecided": ("inbox", "left {ticket} in the inbox: {reason}"),
    "ticket_signed_off": ("shield-check", "signed off {ticket}: {note}"),
    "evidence_gate_waived": ("circle-slash", "waived {gate} for {ticket}: {reason}"),
    "evidence_gate_restored": ("undo-2", "requires {gate} for {ticket} again"),
    "route_requested": ("link", "asked to fetch {url} for {ticket}"),
    "route_checked": ("link", "fetched {url} for {ticket}: {outcome}"),
    "ticket_attempts_started": ("git-branch", "started several attempts at {ticket}"),
    "ticket_attempt_kept": ("flag", "kept {attempt} as the attempt at {ticket}"),
    "ticket_edited": ("pencil", "edited {edited} of {ticket}"),
    "ticket_ranked": ("arrow-down", "changed the place of {ticket} in the queue"),
    "ticket_phases_begun": ("list-checks", "started a workflow on {ticket}"),
    "ticket_phases_arranged": ("list-checks", "edited the later phases of {ticket}"),
    "ticket_phase_waived": ("circle-slash", "waived phase {name} of {ticket}: {reason}"),
    "ticket_phase_decided": ("flag", "decided phase {name} of {ticket}: {choice}"),
    "review_started": ("scan-eye", "started a review of {ticket} by {reviewer}"),
    "review_ended": ("scan-eye", "reviewed {ticket}: {words}"),
    "review_withdrawn": ("circle-slash", "ended the review of {ticket} by {reviewer}: {reason}"),
    "finding_ticket_created": ("plus", "created {created} from a finding on {ticket}"),
    "comment_added": ("message-square", "commented on {ticket}: {body}"),
    "comment_answered": ("message-square", "answered comment {comment} on {ticket}: {body}"),
    "comment_resolved": ("check", "resolved the comment on {place} of {ticket}"),
    "comment_unresolved": ("undo-2", "reopened the comment on {place} of {ticket}"),
    "message_queued": ("send", "messaged the agent of {ticket}: {body}"),
    "message_expired": ("hourglass", "let a message to the agent of {ticket} expire"),
    "message_failed": ("octagon-alert", "could not deliver a message to the agent of {ticket}: {reason}"),
    "message_resent": ("refresh-cw", "sent a message to the agent of {ticket} again"),
    "message_dismissed": ("check", "dismissed an undelivered message to the agent of {ticket}"),
    "message_queued_again": ("refresh-cw", "queued a message to the agent of {ticket} again"),
    "request_answered": ("check", "answered the agent of {ticket}"),
    "attachment_added": ("paperclip", "attached {name} to {ticket}"),
    "attachment_removed": ("paperclip", "removed {name} from {ticket}"),
    "context_linked": ("link", "linked {path} to {ticket}"),
    "context_unlinked": ("link", "removed the link to {path} from {ticket}"),
    "relationship_added": ("cable", "related {ticket} to {other}: {kind}"),
    "relationship_removed": ("cable", "removed the relationship of {ticket} to {other}: {kind}"),
    "plan_proposed": ("list-checks", "proposed a plan for {ticket} (version {version})"),
    "plan_edited": ("pencil", "edited the plan of {ticket} (version {version})"),
    "plan_approved": ("check", "approved the plan of {ticket} (version {version})"),
    "plan_returned": ("undo-2", "sent the plan of {ticket} back: {comment}"),
    "run_model_ordered": ("cpu", "requested the model {model} for run {run} of {ticket}"),
    "run_model_changed": ("cpu", "switched run {run} of {ticket} to the model {model}"),
    "run_model_refused": ("triangle-alert", "could not switch run {run} of {ticket} to the model {model}: {detail}"),
    "run_opened": ("circle-play", "started a run of {agent} on {ticket}"),
    "run_ended": ("flag", "ended run {run} of {ticket}: {outcome}"),
    "run_stop_requested": ("square", "asked run {run} of {ticket} to stop: {reason}"),
    "run_state_changed": ("activity", "reported run {run} of {ticket} as {to}"),
    "teardown_failed": ("octagon-alert", "could not tear down run {run} of {ticket}: {reason}"),
    "slot_released": ("circle-pause", "released the slot of run {run} of {ticket} while it waits"),
    "slot_taken": ("circle-play", "gave run {run} of {ticket} its slot back"),
    "dispatch_held": ("hand", "did not start {ticket}: {detail}"),
    "dispatch_refused": ("octagon-alert", "started nothing: {reason}"),
    "claim_lost": ("zap", "found {ticket} already claimed"),
    "budget_passed": ("coins", "stopped {ticket} at its budget"),
    "write_quarantined": ("shield-check", "quarantined a late {kind} of run {run} of {ticket}"),
    "ticket_control_changed": ("hand", "changed who controls the conversation on {ticket}"),
    "incident_opened": ("siren", "opened an incident: {title}"),
    "incident_reopened": ("siren", "reopened an incident: {title}"),
    "incident_escalated": ("siren", "escalated an incident that nobody has acknowledged: {title}"),
    "health_changed": ("heart-pulse", "found Mission Control {verdict}"),
    "incident_acknowledged": ("eye", "acknowledged the incident: {title}"),
    "incident_closed": ("circle-check", "closed the incident: {title}"),
    "inbox_filed": ("inbox", "filed an inbox item: {title}"),
    "inbox_delivered": ("inbox", "took inbox item {item}: {title}"),
    "inbox_acted": ("check", "acted on inbox item {item}: {title}"),
    "inbox_failed": ("octagon-alert", "failed inbox item {item}: {title}"),
    "project_wanted": ("folder-git-2", "requested a new project"),
    "project_added": ("folder-git-2", "added the project {project}"),
    "project_edited": ("folder-git-2", "changed the project {project}"),
    "slot_requested": ("folder-git-2", "requested to {action} {slot} of {project} on {host}"),
    "slot_set_aside": ("folder-git-2", "set {slot} of {project} aside: {detail}"),
    "slot_cleaned": ("folder-git-2", "cleaned {slot} of {project}: {detail}"),
    "slot_deleted": ("folder-git-2", "deleted {slot} of {project}"),
    "slot_request_failed": ("octagon-alert", "did not change {slot} of {project}: {detail}"),
    "project_trusted": ("shield-check", "trusted the repository configuration of {project}"),
    "project_trust_withdrawn": ("shield-check", "withdrew trust from the repository configuration of {project}"),
    "agent_added": ("bot", "added the agent {agent}"),
    "agent_edited": ("bot", "changed the agent {agent}"),
    "agent_cooled": ("hourglass", "put {agent} on cooldown: {reason}"),
    "profile_added": ("cpu", "added the profile {profile}"),
    "profile_edited": ("cpu", "changed the profile {profile}"),
    "token_issued": ("key-round", "created the token {token}"),
    "token_revoked": ("key-round", "revoked the token {token}"),
    "task_enabled": ("timer", "enabled the task {task}"),
    "task_disabled": ("timer", "disabled the task {task}"),
    "task_run_requested": ("play", "requested a run of the task {task}"),
    "alert_channel_changed": ("bell", "changed the alerts by {channel}"),
    "alert_tested": ("bell", "tested the alerts by {channel}: {state}"),
    "push_subscribed": ("bell", "subscribed a browser to alerts"),
    "push_unsubscribed": ("bell", "removed a browser from alerts"),
    "telegram_code_issued": ("send", "made a Telegram code for {person}"),
    "telegram_paired": ("send", "paired the Telegram account {account}"),
    "telegram_removed": ("send", "removed the Telegram account {account} of {person}"),
    "telegram_chat_removed": ("send", "removed the Telegram chat {chat} from alerts"),
    "task_created": ("timer", "created the task {task}"),
    "task_edited": ("timer", "changed the task {task}"),
    "hook_created": ("key-round", "created the hook {hook}"),
    "hook_rotated": ("key-round", "replaced the secret of the hook {hook}"),
    "switch_changed": ("settings", "set the switch {switch}"),
    "logged_in": ("user", "logged in"),
    "login_confirmed": ("key-round", "confirmed the log-in"),
    "logged_out": ("log-out", "logged out"),
    "view_saved": ("bookmark", "saved the view {title}"),
    "view_deleted": ("bookmark", "deleted the view {title}"),
}


@dataclass(frozen=True, slots=True)
class EventSentence:
    """An event as a sentence, in parts: actor, text before the ticket, ticket and its title, text after it."""

    id: int
    at: str
    icon: str
    actor: str
    before: str
    ticket: str | None
    title: str | None
    after: str


def build_sentence(event: LogEntry) -> EventSentence:
    """Build the sentence of an event.

    An event without a template is described by its type and a summary of its payload.
    """
    icon, sentence = _find_sentence(event)
    before, _, after = sentence.partition(TICKET)
    payload_words = _PayloadWords(event.payload)
    ticket = event.identifier if TICKET in sentence else None
    texts = (before.format_map(payload_words).strip(), after.format_map(payload_words).rstrip(" :"))
    return EventSentence(
        event.id, event.ts, icon, event.actor, texts[0], ticket, event.title if ticket else None, texts[1]
    )


def _find_sentence(event: LogEntry) -> tuple[str, str]:
    if event.event_type == "ticket_moved":
        return MOVES.get(str(event.payload.get("move")), ANY_MOVE)
    words = event.event_type.replace("_", " ").replace(".", " ")
    return SENTENCES.get(event.event_type) or (
        "circle-dashed",
        f"{words} {TICKET}: {{anything}}" if event.identifier else f"{words}: {{anything}}",
    )


class _PayloadWords(dict[str, str]):
    """Values of a payload for `format_map`: each on one line, shortened, and empty where it is missing."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        super().__init__({name: _shorten(value) for name, value in payload.items()})
        self["anything"] = template_filters.summarize_payload(payload)
        tags = payload.get("tags_by_rule")
        self["tagging"] = f"and tagged it {' and '.join(map(str, tags))} by rule" if isinstance(tags, list) else ""
        changes = payload.get("changes")
        self["edited"] = (
            " and ".join(ticket_fields.describe_field(name) for name in changes) if isinstance(changes, Mapping) else ""
        )

    def __missing__(self, name: str) -> str:
        return ""


def _shorten(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"
