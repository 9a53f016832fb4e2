"""Reading facts within a time: what takes longer is unknown, and no request waits for it."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import redis
from django.db import OperationalError, connection, transaction
from psycopg import errors

#: Seconds for all facts of an application.
PATIENCE: Final = 3.0
#: The shortest time in milliseconds that a query is given.
_SHORTEST_MS: Final = 50

_T = TypeVar("_T")


class Deadline:
    """The time that is left, and what could not be read within it.

    Attributes:
        missed: what could not be read, in words for people.
    """

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._until = time.monotonic() + seconds
        self.missed: list[str] = []

    def read(self, what: str, function: Callable[[], _T]) -> _T | None:
        """Return what a function reads, or None if it takes too long or may not read it.

        Raises django.db.Error and redis.RedisError if a server does not answer at all.
        """
        with suppress(redis.ResponseError):  # a command that Zenith's Redis user may not use, or a key of another type
            if self._left() > 0:
                try:
                    with transaction.atomic():
                        _limit_queries(self._left())
                        found = function()
                        _limit_queries(None)
                    return found
                except OperationalError as error:
                    if not isinstance(error.__cause__, errors.QueryCanceled):
                        raise
        self.missed.append(what)
        return None

    def _left(self) -> float:
        return self._until - time.monotonic()


def _limit_queries(seconds: float | None) -> None:
    """Limit each query of this transaction; None removes the limit."""
    milliseconds = 0 if seconds is None else max(_SHORTEST_MS, int(1000 * seconds))
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
