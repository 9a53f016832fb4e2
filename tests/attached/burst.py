"""Sends many tasks, at once or over some seconds, waits for their results, and prints their ids, as JSON."""

from __future__ import annotations

import json
import sys
import time

import shop

number, seconds = int(sys.argv[1]), float([*sys.argv, "0"][2])
results = []
for i in range(number):
    results.append(shop.add.delay(i, 1))
    time.sleep(seconds / number)
values = [result.get(timeout=60) for result in results]
assert values == list(range(1, number + 1))
json.dump([result.id for result in results], sys.stdout)
