"""Detects whether a connection to PostgreSQL has a session of its own.

Behind PgBouncer in transaction mode it has not: the next statement may run in another session, and a session's lock stays in one
that another client gets next. Two engines could then hold the same lock.
"""

from contextlib import closing
from typing import Final

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

#: What to do about it.
REMEDY: Final = "point DATABASE_URL at PostgreSQL itself, or set pool_mode = session for this database in PgBouncer"
#: Comparisons of two connections: a pooler assigns the session that was returned last, or each in turn.
_ROUNDS: Final = 5


class SharedSessionError(Exception):
    """A session's lock would not hold, because a pooler shares the sessions."""

    def __init__(self) -> None:
        super().__init__(f"A pooler in transaction mode shares PostgreSQL's sessions, so locks do not hold: {REMEDY}")


def has_own_session() -> bool:
    """Whether all statements of this thread's connection run in one session that no other client uses. Raises django.db.Error.

    PostgreSQL tells each client the number of its backend process when it connects; a pooler makes one up.
    """
    connection.ensure_connection()
    announced = connection.connection.info.backend_pid
    first = _process(connection)
    if announced == first:
        return True
    with closing(connection.copy()) as other:
        return all(_process(other) != first == _process(connection) for _ in range(_ROUNDS))


def require_own_session() -> None:
    """Raise SharedSessionError if locks of this thread's session would not hold."""
    if not has_own_session():
        raise SharedSessionError


def _process(wrapper: BaseDatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
