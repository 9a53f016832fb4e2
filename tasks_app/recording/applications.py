"""The applications that an engine's loop serves, which are known without a query for each of its passes."""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

import redis
from django.db import DatabaseError

from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID, Kind
from zenith_site.common.faults import is_unreachable, record_fault
from zenith_site.common.loops import with_fresh_connection
from zenith_worker.wire import stream
from zenith_worker.wire.keys import NATIVE

logger = logging.getLogger(__name__)

#: Seconds after which new applications are asked for.
REFRESH_EVERY: Final = 5.0


class KnownApplications:
    """The rows' keys of the applications by their name in Redis (`Application.key_name`); Zenith's own is always among them.

    By default each has a stream with its consumer group. One whose stream cannot be read is left out: it must not stop others.
    `is_usable` checks something else once an application is new.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, is_usable: Callable[[str], bool] | None = None,
        kinds: Collection[Kind] = (Kind.ATTACHED, Kind.WATCHED),
    ) -> None:  # fmt: skip
        self._clock, self._kinds = clock, kinds
        self._is_usable = is_usable or _has_group
        self._next_refresh = 0.0
        self.ids: dict[str, int] = {NATIVE: NATIVE_ID}

    @property
    def names(self) -> list[str]:
        """The names in Redis, Zenith's own first."""
        return list(self.ids)

    def refresh(self) -> None:
        """Every few seconds, take in new applications, which costs one query. Raises redis.RedisError if Redis is unreachable."""
        if self._clock() < self._next_refresh:
            return
        self._next_refresh = self._clock() + REFRESH_EVERY
        try:
            with with_fresh_connection():
                rows = list(Application.objects.filter(kind__in=self._kinds).order_by("id").values_list("name", "id"))
        except DatabaseError as error:
            logger.debug("The applications could not be read: %s", error)
            return
        usable = {name: id_ for name, id_ in rows if name in self.ids or self._is_usable(name)}
        self.ids = {NATIVE: NATIVE_ID, **usable}

    def forget(self) -> None:
        """Leave all but Zenith's own out until the next refresh, which checks their streams again."""
        self._next_refresh = self._clock() + REFRESH_EVERY
        self.ids = {NATIVE: NATIVE_ID}


def _has_group(name: str) -> bool:
    """Whether an application's stream has its consumer group by now."""
    try:
        stream.ensure_group(name)
    except redis.ResponseError as error:
        # Whatever an application has written there, or if Redis is full: Zenith's own stream is read all the same.
        if is_unreachable(error):
            logger.warning("The stream of the application %s cannot be read yet: %s", name, error)
        else:
            record_fault("recorder", error, f"the stream of the application {name}")
        return False
    return True
