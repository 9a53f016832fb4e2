"""Sends what a watched application does, and prints the ids, as JSON."""

from __future__ import annotations

import json
import sys

import shop
from celery import chain, chord

# A worker that knows the revocation refuses the task as soon as it receives it.
assert shop.app.control.revoke("given up", reply=True, timeout=10, limit=1)
revoked = shop.add.apply_async((7, 7), task_id="given up")
chained = chain(shop.add.s(1, 2), shop.add.s(3))()
chorded = chord([shop.add.s(1, 1), shop.add.s(2, 2)], shop.total.s())()
ids = {
    "plain": shop.add.delay(4, 5).id,
    "named": shop.add.apply_async((1, 1), task_id="nightly/1 \N{SNOWMAN}").id,
    "failing": shop.fail.delay("no tea").id,
    "flaky": shop.flaky.delay(2).id,
    "hopeless": shop.flaky.delay(9).id,
    "rejected": shop.rejected.delay().id,
    "requeued": shop.requeued.delay().id,
    "replaced": shop.replaced.delay(5).id,
    "expired": shop.add.apply_async((1, 1), expires=-1).id,
    "later": shop.add.apply_async((8, 8), countdown=1).id,
    "dies_once": shop.dies_once.delay().id,
    "slow": shop.slow.delay(0.5).id,
    "chained": chained.id,
    "first": chained.parent.id,
    "header": chorded.parent.results[0].id,
    "body": chorded.id,
    "revoked": revoked.id,
}
json.dump(ids, sys.stdout)
