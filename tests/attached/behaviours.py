"""Sends the application's tasks, each for one behaviour of Celery, and prints what its sender sees of them, as JSON.

It is run against a worker that is attached, and against one that is not: what is printed must be the same but for the ids.
Arguments name the behaviours that are left out.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import shop
from celery import chain, chord, group
from celery.result import AsyncResult

#: Seconds for each thing that is waited for.
WITHIN = 60
ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def main() -> None:
    """Send, wait, print."""
    if os.environ.get("ZENITH_URL"):
        import zenith_worker

        zenith_worker.attach(shop.app)
    _wait(lambda: shop.app.control.ping(timeout=1, limit=1), "the worker")
    results = {name: send() for name, send in BEHAVIOURS.items() if name not in sys.argv[1:]}
    seen = {name: _outcome(name, result) for name, result in results.items()}
    ends = shop.slow.delay(0.0)
    ends.get(timeout=WITHIN)
    runs = Counter(id_.decode() for id_ in shop.store.lrange(shop.RUNS, 0, -1))
    for name, result in results.items():
        seen[name]["runs"] = runs[result.id]
    seen["special"]["own_request"] = _wait(lambda: shop.store.exists(f"shop:own-request:{results['special'].id}"), "on_accepted")
    json.dump(
        {"seen": seen, "ids": {name: result.id for name, result in results.items()}, "total": sum(runs.values())}, sys.stdout
    )


def _outcome(name: str, result: AsyncResult) -> dict[str, Any]:
    """Return what `AsyncResult` says in the end; a task that keeps no result says nothing."""
    if result.id in QUIET:
        _wait(lambda: result.id.encode() in shop.store.lrange(shop.RUNS, 0, -1), name)
        time.sleep(0.5)
    else:
        _wait(result.ready, name)
    value = result.result
    shown = repr(value) if isinstance(value, Exception) else value
    return {"state": result.state, "result": ID.sub("<id>", shown) if isinstance(shown, str) else shown}


def _wait(condition: Callable[[], Any], for_: str) -> Any:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {WITHIN} s for {for_}")


QUIET: set[str] = set()


def _quiet(result: AsyncResult) -> AsyncResult:
    QUIET.add(result.id)
    return result


def _revoked() -> AsyncResult:
    result = shop.add.apply_async((1, 1), countdown=2)
    result.revoke()
    return result


BEHAVIOURS: dict[str, Callable[[], AsyncResult]] = {
    "plain": lambda: shop.add.delay(1, 2),
    "named arguments": lambda: shop.add.delay(x="a", y="b"),
    "rich arguments": lambda: shop.add.delay([{"a": None}], [1.5, "é"]),
    "pickled": lambda: shop.add.apply_async(({1}.__len__(), 2), serializer="pickle"),
    "routed": lambda: shop.slow.delay(0.2),
    "priority": lambda: shop.add.apply_async((2, 2), priority=3),
    "countdown": lambda: shop.add.apply_async((3, 3), countdown=0.5),
    "own id": lambda: shop.add.apply_async((4, 4), task_id="nightly report / 1"),
    "own header": lambda: shop.headers.apply_async(headers={"shop": "north"}),
    "failure": lambda: shop.fail.delay(),
    "ignored result": lambda: _quiet(shop.quiet.delay()),
    "ignored failure": lambda: _quiet(shop.quiet.delay(fails=True)),
    "retried": lambda: shop.flaky.delay(2),
    "retried in vain": lambda: shop.flaky.delay(9),
    "retried, ignored result": lambda: _quiet(shop.again.delay()),
    "Ignore": lambda: _quiet(shop.ignored.delay()),
    "Reject": lambda: _quiet(shop.rejected.delay()),
    "replaced": lambda: shop.replaced.delay(6),
    "replaced by a chord": lambda: shop.replaced_by_chord.delay(),
    "result that is not JSON": lambda: shop.odd_result.delay(),
    "hard time limit": lambda: shop.hard_limit.delay(),
    "soft time limit": lambda: shop.soft_limit.delay(),
    "own classes": lambda: shop.special.delay(),
    "sends another": lambda: _quiet(shop.parent.delay()),
    "own state": lambda: shop.progress.delay(),
    "expired": lambda: shop.add.apply_async((1, 1), expires=0.01, countdown=0.5),
    "revoked": _revoked,
    "chain": lambda: chain(shop.add.s(1, 1), shop.add.s(1)).delay(),
    "chain that fails": lambda: chain(shop.fail.si(), shop.add.si(1, 1)).delay(),
    "chord": lambda: chord([shop.add.s(i, i) for i in range(5)], shop.total.s()).delay(),
    "chord that fails": lambda: chord([shop.add.s(1, 1), shop.fail.si()], shop.total.s()).delay(),
    "group in a chain": lambda: (group(shop.add.s(1, 1), shop.add.s(2, 2)) | shop.total.s()).delay(),
    "link": lambda: shop.add.apply_async((1, 1), link=shop.add.s(10)),
    "errback": lambda: shop.fail.apply_async(("linked",), link_error=shop.quiet.si()),
}
BEHAVIOURS["special"] = BEHAVIOURS.pop("own classes")

if __name__ == "__main__":
    main()
