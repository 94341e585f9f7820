"""Ticket pages and forms, and the ticket resources of the API."""

BLUEPRINTS = (
    "ticket_api",
    "workflow_api",
    "plan_api",
    "acceptance_api",
    "attempts",
    "relationships",
    "context",
    "attachments",
    "new_ticket",
    "ticket_line",
    "ticket_page",
    "review_queue",
    "review_page",
    "print_view",
    "evidence_page",
    "replay",
    "workflow_page",
    "plan_page",
    "attempts_page",
    "ticket_edit",
    "ticket_links",
    "ticket_files",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
