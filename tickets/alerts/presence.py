"""The question whether any channel of alerts is set up, in a module that loads none of the others."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import AlertChannel

ANY_CHANNEL = select(AlertChannel.name).limit(1)


def is_any_set_up(session: Session) -> bool:
    """Return whether there is a channel, enabled or not."""
    return fetch_rows(session, ANY_CHANNEL).first() is not None
