"""Sends many tasks, waits for their results, and prints their ids, as JSON."""

from __future__ import annotations

import json
import sys

import shop

number = int(sys.argv[1])
results = [shop.add.delay(i, 1) for i in range(number)]
values = [result.get(timeout=60) for result in results]
assert values == list(range(1, number + 1))
json.dump([result.id for result in results], sys.stdout)
