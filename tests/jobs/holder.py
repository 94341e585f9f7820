"""Program that holds the single-flight lock of a home until it is killed."""

from __future__ import annotations

import threading

import settings
from database import open_engine
from jobs import job_context, single_flight

if __name__ == "__main__":
    loaded_settings = settings.load()
    with single_flight.hold_lease(
        job_context.build_context(loaded_settings, open_engine(loaded_settings.database_url)), "pickup"
    ):
        print("held", flush=True)
        threading.Event().wait()
