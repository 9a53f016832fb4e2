"""The engine's loop that makes good what died or got lost: one engine at a time does it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from django.db import DatabaseError, connection

from tasks_app.dispatch import cancel
from tasks_app.dispatch.resend import resend
from tasks_app.errors import BrokerUnavailableError
from tasks_app.tracking.loops import Pause, with_fresh_connection
from tasks_app.tracking.reconcile import Searcher, recover_messages

logger = logging.getLogger(__name__)

#: Seconds between two passes.
PASS_EVERY: Final = 3.0
#: Tasks sent again in one transaction.
CHUNK: Final = 500
#: Any number that no other advisory lock of this database uses ("repair" in ASCII).
_LOCK: Final = 0x726570616972


def run(stop: threading.Event) -> None:
    """Repair until `stop` is set, waiting out a database or Redis that is away."""
    pause = Pause(stop)
    searcher = Searcher()
    while not stop.is_set():
        try:
            with with_fresh_connection(), _alone() as alone:
                if alone:
                    repair(searcher)
            pause.reset()
            stop.wait(PASS_EVERY)
        except (DatabaseError, redis.RedisError, BrokerUnavailableError) as error:
            pause.after("The reconciler", error)


def repair(searcher: Searcher) -> None:
    """Make one pass. Raises django.db.Error, redis.RedisError or BrokerUnavailableError."""
    recover_messages()
    lost = searcher.look()
    for start in range(0, len(lost), CHUNK):
        resend(lost[start : start + CHUNK])
    cancel.settle()


@contextmanager
def _alone() -> Iterator[bool]:
    """Yield whether no other engine repairs at this moment; the lock ends with the connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        alone: bool = cursor.fetchone()[0]
    try:
        yield alone
    finally:
        if alone and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
