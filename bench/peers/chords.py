"""Wait for results: `python -m bench.peers.chords APP waits COUNT`, or `… chords COUNT`.

It prints a JSON list: for `waits`, the seconds from the end of each task's body until `.get()` returns, one task after the other
on an idle system; for `chords`, one number: the seconds from sending the first of COUNT chords until the last result.
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
TIMEOUT = 120


def waits(count: int) -> list[float]:
    """Wait for one task after the other."""
    seconds = []
    for _ in range(count):
        ended = stamp.delay().get(timeout=TIMEOUT)
        seconds.append(time.time() - ended)
        time.sleep(random.uniform(*GAP))
    return seconds


def chords(count: int) -> list[float]:
    """Send all chords, and wait for all results."""
    began = time.perf_counter()
    results = [chord([noop.s() for _ in range(PARTS)], total.s()).delay() for _ in range(count)]
    for result in results:
        if result.get(timeout=TIMEOUT, disable_sync_subtasks=False) != PARTS:
            raise RuntimeError("a chord's body did not receive all results of its header")
    return [time.perf_counter() - began]


def main(module: str, what: str, count: str) -> None:
    """Run one measurement and print it."""
    if module == "zenith_site.celery":
        import django

        django.setup()
    app: Celery = importlib.import_module(module).app
    app.set_current()
    app.loader.import_default_modules()
    print(json.dumps({"waits": waits, "chords": chords}[what](int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
