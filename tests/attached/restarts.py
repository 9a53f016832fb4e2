"""Sends tasks, has the pool restart, sends again, and prints which processes ran them, as JSON."""

from __future__ import annotations

import json
import sys

import shop

NUMBER = 3

results = [shop.process.delay() for _ in range(NUMBER)]
processes = [result.get(timeout=60) for result in results]
answers = shop.app.control.pool_restart(reply=True, timeout=30)
assert all("ok" in answer for reply in answers for answer in reply.values()), answers
results += [shop.process.delay() for _ in range(NUMBER)]
processes += [result.get(timeout=60) for result in results[NUMBER:]]
json.dump({"ids": [result.id for result in results], "processes": processes}, sys.stdout)
