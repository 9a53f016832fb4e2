"""Letting one process at a time do what several are there to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from zenith_site.common.sessions import require_own_session


@contextmanager
def try_advisory_lock(lock: int) -> Iterator[bool]:
    """Yield whether no other process is inside with the same number; the lock ends with the block or the connection.

    It holds no table, so the block may be long and read what it likes. Raises SharedSessionError.
    """
    require_own_session()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        is_alone: bool = cursor.fetchone()[0]
    try:
        yield is_alone
    finally:
        if is_alone and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])
