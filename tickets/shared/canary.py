"""The canary: a ticket of Mission Control itself that travels the whole path of real ones, left out of lists and statistics."""

from __future__ import annotations

from models import Run, Ticket

CANARY = "mc-canary"
"""Name of the private project, profile and agent of canary tickets. People neither see nor choose them."""
CANARY_TASK = "canary"
SERIES = "CANARY"
"""Prefix of their identifiers."""
IS_ORDINARY_TICKET = Ticket.assigned_to.is_distinct_from(CANARY)
IS_ORDINARY_RUN = Run.agent != CANARY
