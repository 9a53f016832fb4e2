"""Sends the application's tasks, each for one behaviour of Celery, and prints what its sender sees of them, as JSON.

It is run against a worker that is attached, and against one that is not: what is printed must be the same but for the ids.
Arguments name the behaviours that are left out; after `--only`, those that are not.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import shop
from celery import chain, chord, group
from celery.result import AsyncResult

#: Seconds for each thing that is waited for, and for which nothing may happen before everything has.
WITHIN, QUIET_FOR = 60, 0.5
#: What differs from run to run: ids, and the number of a job in its pool.
VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|Job: \d+")


def main() -> None:
    """Send, wait, print."""
    if os.environ.get("ZENITH_URL"):
        import zenith_worker

        zenith_worker.attach(shop.app)
    only, named = "--only" in sys.argv, set(sys.argv[1:])
    _wait(lambda: shop.app.control.ping(timeout=1, limit=1), "the worker")
    results = {name: send() for name, send in BEHAVIOURS.items() if (name in named) == only}
    seen = {name: _outcome(name, result) for name, result in results.items()}
    runs, heard = _settled([result.id for result in results.values()])
    for name, result in results.items():
        seen[name].update(runs=runs[result.id], heard=_comparable(name, runs[result.id], heard[result.id]))
    if "special" in results:
        seen["special"]["own_request"] = bool(shop.store.exists(f"shop:own-request:{results['special'].id}"))
    ids = {name: result.id for name, result in results.items()}
    json.dump({"seen": seen, "ids": ids, "total": sum(runs.values())}, sys.stdout, default=repr)


def _outcome(name: str, result: AsyncResult) -> dict[str, Any]:
    """Return what `AsyncResult` says in the end; a task that keeps no result says nothing."""
    if result.id in QUIET:
        _wait(lambda: _runs()[result.id] >= QUIET[result.id], name)
    else:
        _wait(result.ready, name)
    value = result.result
    shown = repr(value) if isinstance(value, Exception) else value
    return {"state": result.state, "result": VARIES.sub("<varies>", shown) if isinstance(shown, str) else shown}


def _settled(ids: list[str]) -> tuple[Counter[str], dict[str, list[str]]]:
    """Return all runs, and what the application's own handlers noted of each task, once nothing is added any more."""
    before = None
    while before != (now := (_runs(), {id_: _texts(f"shop:heard:{id_}") for id_ in ids})):
        before = now
        time.sleep(QUIET_FOR)
    return now


def _comparable(name: str, runs: int, heard: list[str]) -> list[str]:
    """Return what was noted of a task; without the order if several processes note at the same time, as after a retry."""
    if name == "revoked while it runs":
        # Its process may be gone before it can tell.
        return sorted({*heard} - {"task_postrun"})
    return heard if runs < 2 else sorted(heard)


def _runs() -> Counter[str]:
    return Counter(_texts(shop.RUNS))


def _texts(key: str) -> list[str]:
    return [text.decode() for text in shop.store.lrange(key, 0, -1)]


def _wait(condition: Callable[[], Any], for_: str) -> Any:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {WITHIN} s for {for_}")


#: How often each task that keeps no result runs.
QUIET: dict[str, int] = {}


def _quiet(result: AsyncResult, runs: int = 1) -> AsyncResult:
    QUIET[result.id] = runs
    return result


def _revoked() -> AsyncResult:
    result = shop.add.apply_async((1, 1), countdown=2)
    result.revoke()
    return result


def _revoked_by_stamp() -> AsyncResult:
    signature = shop.add.s(1, 1)
    signature.stamp(round="night")
    result = signature.apply_async(countdown=2)
    shop.app.control.revoke_by_stamped_headers({"round": ["night"]})
    return result


def _revoked_while_it_runs() -> AsyncResult:
    result = shop.endless.delay()
    _wait(lambda: _runs()[result.id], "the task that does not end")
    time.sleep(shop.DIES_AFTER)
    result.revoke(terminate=True)
    return result


def _stamped() -> AsyncResult:
    signature = shop.stamped.s()
    signature.stamp(round="evening")
    return signature.delay()


BEHAVIOURS: dict[str, Callable[[], AsyncResult]] = {
    "plain": lambda: shop.add.delay(1, 2),
    "named arguments": lambda: shop.add.delay(x="a", y="b"),
    "rich arguments": lambda: shop.add.delay([{"a": None}], [1.5, "é"]),
    "pickled": lambda: shop.add.apply_async((Decimal("1.5"), Decimal(2)), serializer="pickle"),
    "pickled set": lambda: _quiet(shop.quiet.apply_async(kwargs={"fails": set()}, serializer="pickle")),
    "compressed": lambda: shop.add.apply_async(("a" * 5000, "b"), compression="zlib"),
    "sent by its name": lambda: shop.app.send_task("shop.add", (1, 1)),
    "without an argument": lambda: shop.app.send_task("shop.add", (1,)),
    "unknown": lambda: shop.app.send_task("shop.no_such_task", (1,)),
    "routed": lambda: shop.slow.delay(0.2),
    "priority": lambda: shop.add.apply_async((2, 2), priority=3),
    "countdown": lambda: shop.add.apply_async((3, 3), countdown=0.5),
    "time of its own": lambda: shop.add.apply_async((3, 3), eta=datetime.now(UTC) + timedelta(seconds=0.5)),
    "own id": lambda: shop.add.apply_async((4, 4), task_id="nightly report / 1"),
    "number as id": lambda: shop.add.apply_async((4, 4), task_id="7"),
    "rate limited": lambda: shop.limited.delay(),
    "own header": lambda: shop.headers.apply_async(headers={"shop": "north"}),
    "failure": lambda: shop.fail.delay(),
    "own error": lambda: shop.out_of_stock.delay(),
    "expected error": lambda: shop.expected.delay(),
    "ignored result": lambda: _quiet(shop.quiet.delay()),
    "ignored failure": lambda: _quiet(shop.quiet.delay(fails=True)),
    "retried": lambda: shop.flaky.delay(2),
    "retried in vain": lambda: shop.flaky.delay(9),
    "retried, ignored result": lambda: _quiet(shop.again.delay(), runs=2),
    "retried otherwise": lambda: shop.otherwise.delay(1),
    "Ignore": lambda: _quiet(shop.ignored.delay()),
    "Reject": lambda: _quiet(shop.rejected.delay()),
    "requeued": lambda: shop.requeued.delay(),
    "replaced": lambda: shop.replaced.delay(6),
    "replaced by a chord": lambda: shop.replaced_by_chord.delay(),
    "result that is not JSON": lambda: shop.odd_result.delay(),
    "hard time limit": lambda: shop.hard_limit.delay(),
    "soft time limit": lambda: shop.soft_limit.delay(),
    "hard time limit of the message": lambda: shop.slow.apply_async((30,), time_limit=1),
    "special": lambda: shop.special.delay(),
    "own result backend": lambda: shop.elsewhere.delay(),
    "eager inside": lambda: shop.eager.delay(),
    "sends another": lambda: _quiet(shop.parent.delay()),
    "own state": lambda: shop.progress.delay(),
    "loop with progress": lambda: shop.export.delay(500),
    "not yet expired": lambda: shop.add.apply_async((1, 1), expires=300),
    "expired": lambda: shop.add.apply_async((1, 1), expires=0.01, countdown=0.5),
    "revoked": _revoked,
    "revoked by a stamp": _revoked_by_stamp,
    "stamped": _stamped,
    "map": lambda: shop.total.map([[1, 2], [3]]).delay(),
    "starmap": lambda: shop.add.starmap([(1, 1), (2, 2)]).delay(),
    "chain": lambda: chain(shop.add.s(1, 1), shop.add.s(1)).delay(),
    "chain that fails": lambda: chain(shop.fail.si(), shop.add.si(1, 1)).delay(),
    "chord": lambda: chord([shop.add.s(i, i) for i in range(5)], shop.total.s()).delay(),
    "chord that fails": lambda: chord([shop.add.s(1, 1), shop.fail.si()], shop.total.s()).delay(),
    "chord whose body fails": lambda: chord([shop.add.s(1, 1)], shop.fail.si()).delay(),
    "replaced in a chain": lambda: chain(shop.replaced.s(6), shop.add.s(1)).delay(),
    "group in a chain": lambda: (group(shop.add.s(1, 1), shop.add.s(2, 2)) | shop.total.s()).delay(),
    "chains in a chord": lambda: chord([shop.add.s(1, 1) | shop.add.s(i) for i in range(2)], shop.total.s()).delay(),
    "link": lambda: shop.add.apply_async((1, 1), link=shop.add.s(10)),
    "errback": lambda: shop.fail.apply_async(("linked",), link_error=shop.quiet.si()),
    "lost process": lambda: shop.dies.delay(),
    "lost process, acknowledged late": lambda: shop.dies_once.delay(),
    "revoked while it runs": _revoked_while_it_runs,
}

if __name__ == "__main__":
    main()
