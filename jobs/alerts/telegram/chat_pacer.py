"""The pace of messages: one a second in a chat and 20 a minute in a group, in the order in which they are sent."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_PER_MESSAGE = 1.0
GROUP_MESSAGES, GROUP_SECONDS = 20, 60.0


class ChatPacer:
    """Lets one thread after the other send to a chat, each as soon as the limits of Telegram allow it."""

    def __init__(
        self, read_clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._read_clock = read_clock
        self._sleep = sleep
        self._locks: dict[int, threading.Lock] = defaultdict(threading.Lock)
        self._times: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=GROUP_MESSAGES))
        self._free_at: dict[int, float] = {}

    @contextmanager
    def hold_turn(self, chat_id: int) -> Iterator[None]:
        """Hold the turn of a chat until a message has been sent, with all attempts that it takes."""
        with self._locks[chat_id]:
            yield

    def wait(self, chat_id: int) -> None:
        """Wait until a message may be sent, and count it. The caller holds the turn."""
        moment = self._read_clock()
        start = max(moment, self._find_start(chat_id))
        if start > moment:
            self._sleep(start - moment)
        self._times[chat_id].append(start)

    def pause(self, chat_id: int, seconds: float) -> None:
        """Send nothing to a chat for some seconds, as Telegram asks for it."""
        self._free_at[chat_id] = self._read_clock() + seconds

    def _find_start(self, chat_id: int) -> float:
        times = self._times[chat_id]
        starts = [self._free_at.get(chat_id, 0.0)]
        if times:
            starts.append(times[-1] + SECONDS_PER_MESSAGE)
        if chat_id < 0 and len(times) == GROUP_MESSAGES:
            starts.append(times[0] + GROUP_SECONDS)
        return max(starts)
