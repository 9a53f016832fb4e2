"""`mixed.py NUMBER SECONDS` sends a mix of tasks over so many seconds, and prints their ids, as JSON."""

from __future__ import annotations

import json
import sys
import time

import shop
from celery import chain, chord

number, seconds = int(sys.argv[1]), float(sys.argv[2])
#: Of twenty kinds of sending, each comes once in twenty.
KINDS = 20
ids: list[str] = []


def send(index: int) -> list[str]:
    """Send the task or the tasks of an index; return their ids."""
    kind, own = index % KINDS, f"order/{index} \N{SNOWMAN}"
    if kind == 0:
        return [shop.add.apply_async((index, 1), task_id=own).id]
    if kind == 1:
        return [shop.fail.delay(f"no tea {index}").id]
    if kind == 2:
        return [shop.flaky.delay(2).id]
    if kind == 3:
        return [shop.flaky.delay(9).id]
    if kind == 4:
        return [shop.add.apply_async((index, 2), countdown=0.5 + index % 3).id]
    if kind == 5:
        return [shop.app.send_task("shop.unknown", (index,), task_id=own if index % 2 else None).id]
    if kind == 6:
        done = chord([shop.add.s(index, 1), shop.add.s(index, 2)], shop.total.s())()
        return [done.id, *(result.id for result in done.parent.results)]
    if kind == 7:
        done = chain(shop.add.s(index, 1), shop.add.s(3))()
        return [done.id, done.parent.id]
    if kind == 8:
        # Its worker refuses it, if it has heard of that by then.
        shop.app.control.revoke(f"given up/{index}")
        return [shop.add.apply_async((index, 3), task_id=f"given up/{index}", countdown=0.3).id]
    if kind == 9:
        return [shop.again.delay().id]
    if kind == 10:
        return [shop.add.apply_async((index, 4), expires=-1).id]
    if kind == 11:
        return [shop.slow.delay(0.05).id]
    return [shop.add.delay(index, kind).id]


def send_rare(index: int) -> list[str]:
    """Send what takes long or ends a process, now and then."""
    if index % 400 == 50:
        return [shop.dies_once.delay().id]
    if index % 200 == 60:
        return [shop.replaced.delay(index).id]
    if index % 200 == 70:
        return [shop.requeued.delay().id]
    if index % 200 == 80:
        return [shop.rejected.delay().id]
    if index % 200 == 90:
        return [shop.ignored.delay().id]
    if index % 200 == 100:
        stopped = shop.slow.delay(5).id
        # Otherwise its worker may refuse it, which is another case.
        time.sleep(0.5)
        shop.app.control.revoke(stopped, terminate=True)
        return [stopped]
    return []


index = 0
while len(ids) < number:
    ids += send(index) + send_rare(index)
    index += 1
    time.sleep(seconds / number)
json.dump(ids, sys.stdout)
