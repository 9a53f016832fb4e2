"""Whether a connection to PostgreSQL is a session of its own.

Behind PgBouncer in transaction mode it is not: the next statement may run in another session, and a lock that belongs to a
session stays behind in one that somebody else is given. Two engines would then take each other's place.
"""

from contextlib import closing
from typing import Final

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

#: What to do about it, for people.
REMEDY: Final = "have DATABASE_URL lead to PostgreSQL itself, or set pool_mode = session for this database in PgBouncer"
#: Looks at two connections at once; a pooler hands out what was given back last, or each in turn.
_ROUNDS: Final = 5


class SharedSessionError(Exception):
    """A lock that is held by a session would not hold."""

    def __init__(self) -> None:
        super().__init__(f"PostgreSQL's sessions are shared by a pooler in transaction mode, so locks do not hold: {REMEDY}")


def has_own_session() -> bool:
    """Whether statements of this thread's connection run in one session that nobody else has. Raises django.db.Error.

    A server tells each client the number of its process when it connects; a pooler makes one up.
    """
    connection.ensure_connection()
    told = connection.connection.info.backend_pid
    first = _process(connection)
    if told == first:
        return True
    with closing(connection.copy()) as other:
        return all(_process(other) != first == _process(connection) for _ in range(_ROUNDS))


def require_own_session() -> None:
    """Raise SharedSessionError where locks of this thread's session would not hold."""
    if not has_own_session():
        raise SharedSessionError


def _process(wrapper: BaseDatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
