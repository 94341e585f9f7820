"""Waiting for a condition instead of a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(predicate: Callable[[], Value], timeout: float = 30.0, description: str = "the condition") -> Value:
    """Poll `predicate` until its result is true and return it. Raises AssertionError after `timeout` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{description} did not come within {timeout:g} seconds")
        pause.wait(0.02)
    return value
