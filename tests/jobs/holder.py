"""Holds the single-flight lock of a home until it is killed."""

from __future__ import annotations

import threading

import settings
from jobs import bench, flight
from models import open_engine

if __name__ == "__main__":
    chosen = settings.load()
    with flight.alone(bench.set_up(chosen, open_engine(chosen.database_url)), "pickup"):
        print("held", flush=True)
        threading.Event().wait()
