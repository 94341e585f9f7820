"""Holds the single-flight lock of a home until it is killed."""

from __future__ import annotations

import threading

import settings
from database import open_engine
from jobs import job_context, single_flight

if __name__ == "__main__":
    chosen = settings.load()
    with single_flight.alone(job_context.set_up(chosen, open_engine(chosen.database_url)), "pickup"):
        print("held", flush=True)
        threading.Event().wait()
