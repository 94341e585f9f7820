"""Fifty clients with bad connections: `python -m tests.streams.crowd PORT TOKEN CURSOR SEED`.

Each reads until an event says "end", cuts its connection at random moments and reconnects with its cursor. The output is
a JSON list of what each client received: the numbers of the events in order, and "resync" for a resync event.
"""

from __future__ import annotations

import json
import random
import sys
import threading

from .client import Client

CLIENTS = 50
CUT_INTERVAL = 60


def watch(client: Client, chance: random.Random, entries: list[int | str]) -> None:
    while not (entries and entries[-1] == "end"):
        try:
            client.open()
        except OSError:
            continue
        if client.status == 200:
            read(client, chance, entries)
        else:
            threading.Event().wait(0.2)
        client.close()


def read(client: Client, chance: random.Random, entries: list[int | str]) -> None:
    """Record the received events until the last one or a random cut, which discards unread data."""
    try:
        for message in client.messages():
            if message.event:
                entries.append("resync" if message.event == "resync" else message.json["payload"]["n"])
            if entries[-1:] == ["end"] or chance.randrange(CUT_INTERVAL) == 0:
                return
    except OSError:
        return


def main(port: str, token: str, cursor: str, seed: str) -> None:
    notes: list[list[int | str]] = [[] for _ in range(CLIENTS)]
    threads = []
    for place, entries in enumerate(notes):
        client = Client(int(port), token, last_id=cursor, timeout=60)
        threads.append(threading.Thread(target=watch, args=(client, random.Random(f"{seed}-{place}"), entries)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(json.dumps(notes))


if __name__ == "__main__":
    main(*sys.argv[1:])
