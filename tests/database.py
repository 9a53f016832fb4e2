"""What a test does to PostgreSQL itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import OperationalError, connection
from psycopg.errors import DeadlockDetected, LockNotAvailable

#: What a transaction that empties tables says first. Below PostgreSQL's deadlock_timeout (1 s): of two who wait for each
#: other it is then never the other who fails.
GIVE_WAY = "SET LOCAL lock_timeout = '200ms'"
#: Seconds, for one who reads long, or a transaction that an ended process left open.
EMPTIED_WITHIN = 30.0


def end_other_connections() -> None:
    """End every connection to the test's database but the test's own, as a restart of the server would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def empty(transaction: Callable[[], object]) -> None:
    """Repeat a transaction that begins with GIVE_WAY and empties tables, until it gets all locks at once.

    Engines and web processes read on while tables are emptied between tests. A join takes its locks one by one, as TRUNCATE
    does, and in another order: then both would wait for each other.
    """
    deadline = time.monotonic() + EMPTIED_WITHIN
    while True:
        try:
            transaction()
        except (LockNotAvailable, DeadlockDetected, OperationalError) as error:
            cause = error.__cause__ if isinstance(error, OperationalError) else error
            if not isinstance(cause, (LockNotAvailable, DeadlockDetected)) or time.monotonic() > deadline:
                raise
        else:
            return


def flush_patiently() -> None:
    """Let Django's flush, which empties the tables after a test, give way and try again."""
    operations = type(connection.ops)
    flush = operations.execute_sql_flush

    def patient(self: object, statements: list[str]) -> None:
        empty(lambda: flush(self, [GIVE_WAY, *statements]))

    operations.execute_sql_flush = patient
