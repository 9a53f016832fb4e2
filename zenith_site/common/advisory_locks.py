"""PostgreSQL's advisory locks: every number that Zenith uses, and how one process at a time does what several could.

A lock is only a number, and the numbers of one database share one space, so they are all given out here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from django.db import connection

from zenith_site.common.sessions import require_own_session


class AdvisoryLock(IntEnum):
    """What each lock protects. Processes of different versions must agree on the numbers: never change or reuse one."""

    #: Writers of task events, so that event ids follow the order of the commits ("zenith" in ASCII).
    EVENT_ORDER = 0x7A656E697468
    #: The reconciler's pass ("repair").
    RECONCILER = 0x726570616972
    #: One sample of load and queues ("sample").
    SAMPLES = 0x73616D706C65
    #: Compaction of minutes into longer periods ("period").
    COMPACTION = 0x706572696F64
    #: One notification rule's evaluation ("notify"); the index of the rule's kind is added.
    NOTIFICATIONS = 0x6E6F74696679
    #: Claiming an outgoing message ("outbox").
    OUTBOX = 0x6F7574626F78
    #: Making notification rules and channels, of which there is a greatest number ("rules").
    NOTIFICATION_RULES = 0x72756C6573
    #: Changing who may administer, so that somebody remains ("admins").
    ADMINISTRATORS = 0x61646D696E73
    #: Counting what hosts have left, and placing nodes on them.
    SCHEDULER = 6_110_001
    #: Recording what tasks log ("tasklo"), so that the lines of a task are stored in their order.
    TASK_LOGS = 0x7461736B6C6F
    #: An agent's lease of a host ("host"): the first of two numbers; the second is the host's key.
    HOST_LEASE = 0x686F7374
    #: An observer's lease of a watched application ("obsv"): the first of two numbers; the second is the application's key.
    OBSERVER_LEASE = 0x6F627376


@contextmanager
def try_advisory_lock(lock: int) -> Iterator[bool]:
    """Try to take a lock, without waiting, and yield whether this process holds it.

    The lock is released with the block, or with the connection. It locks no table, so the block may be long and read what it
    likes. Raises SharedSessionError.
    """
    require_own_session()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        acquired: bool = cursor.fetchone()[0]
    try:
        yield acquired
    finally:
        if acquired and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])
