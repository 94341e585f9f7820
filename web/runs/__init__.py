"""Runs: pages, changes, console and the live conversation."""

BLUEPRINTS = (
    "conversation",
    "undelivered_messages",
    "agent_requests",
    "run_api",
    "changes",
    "line_comment_api",
    "code_review_api",
    "conversation_socket",
    "console",
    "run_page",
    "operator_page",
    "live_agents_page",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
