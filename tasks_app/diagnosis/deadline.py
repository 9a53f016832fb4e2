"""Reading facts within a time: what takes longer is unknown, and no request waits for it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self, TypeVar

import redis
from django.db import OperationalError, connection, transaction
from psycopg import errors

#: Seconds for all facts of an application.
PATIENCE: Final = 3.0
#: Seconds by which a query may exceed the time: the limit is set anew only if this much has passed.
SLACK: Final = 0.25
#: The shortest time in milliseconds that a query is given.
_SHORTEST_MS: Final = 50

_T = TypeVar("_T")


class Deadline(AbstractContextManager["Deadline"]):
    """The time that is left, for reading in one transaction, and what could not be read within it.

    Attributes:
        missed: what could not be read, in words for people.
    """

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._until = time.monotonic() + seconds
        self._limited_at = float("-inf")
        self._transaction = transaction.atomic()
        self._is_over = seconds <= 0
        self.missed: list[str] = []

    def __enter__(self) -> Self:
        self._transaction.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        # Nothing was written; this also removes the limit, and ends the transaction that a cancelled query has broken.
        if kind is None:
            transaction.set_rollback(True)
        self._transaction.__exit__(kind, error, traceback)

    def read(self, what: str, function: Callable[[], _T]) -> _T | None:
        """Return what a function reads, or None if it takes too long or may not read it.

        Raises django.db.Error and redis.RedisError if a server does not answer at all.
        """
        if not self._is_over and self._limit_queries():
            try:
                return function()
            except redis.ResponseError:  # a command that Zenith's Redis user may not use, or a key of another type
                pass
            except OperationalError as error:
                if not isinstance(error.__cause__, errors.QueryCanceled):
                    raise
                self._is_over = True
        self.missed.append(what)
        return None

    def _limit_queries(self) -> bool:
        """Let no query take longer than the time that is left; return whether there is any."""
        now = time.monotonic()
        if now >= self._until:
            return False
        if now - self._limited_at > SLACK:
            milliseconds = max(_SHORTEST_MS, int(1000 * (self._until - now)))
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
            self._limited_at = now
        return True
