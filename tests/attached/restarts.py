"""Sends tasks, has the pool restart, sends again, and prints which processes ran them, as JSON."""

from __future__ import annotations

import json
import sys

import shop

NUMBER = 3


def run() -> list[int]:
    """Run some tasks, and return the processes that they ran in."""
    results = [shop.process.delay() for _ in range(NUMBER)]
    ids.extend(result.id for result in results)
    return [result.get(timeout=60) for result in results]


ids: list[str] = []
before = run()
answers = shop.app.control.pool_restart(reply=True, timeout=30)
assert all("ok" in answer for reply in answers for answer in reply.values()), answers
json.dump({"before": before, "after": run(), "ids": ids}, sys.stdout)
