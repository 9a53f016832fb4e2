"""Wait for results as a program does: `python -m bench.peers.chords APP waits COUNT`, or `… chords COUNT`.

It prints a JSON list: for `waits` the seconds from the end of each task's body to `.get()` returning, on an idle system and one
after the other; for `chords` one number, the seconds from sending the first of COUNT chords to the last one's result.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time

from celery import Celery, chord

from bench.tasks import noop, stamp, total

PARTS = 100
#: Seconds between two waits.
GAP = (0.02, 0.08)
PATIENCE = 120


def waits(count: int) -> list[float]:
    """Wait for one task after the other."""
    found = []
    for _ in range(count):
        ended = stamp.delay().get(timeout=PATIENCE)
        found.append(time.time() - ended)
        time.sleep(random.uniform(*GAP))
    return found


def chords(count: int) -> list[float]:
    """Send chords at once, and wait for all of them."""
    began = time.perf_counter()
    results = [chord([noop.s() for _ in range(PARTS)], total.s()).delay() for _ in range(count)]
    for result in results:
        if result.get(timeout=PATIENCE, disable_sync_subtasks=False) != PARTS:
            raise RuntimeError("a chord's body did not get all results of its header")
    return [time.perf_counter() - began]


def main(module: str, what: str, count: str) -> None:
    """Do one of them."""
    if module == "zenith_site.celery":
        import django

        django.setup()
    app: Celery = importlib.import_module(module).app
    app.set_current()
    app.loader.import_default_modules()
    print(json.dumps({"waits": waits, "chords": chords}[what](int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
