"""Zenith's result backend with what Redis has forgotten or never had: an engine is asked, which reads it from PostgreSQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from celery import Celery, states
from celery.backends.redis import ResultConsumer

from zenith_worker.backend import ZenithBackend
from zenith_worker.wire.questions import IDS_AT_MOST, Kind, NobodyAnswersError, ask

logger = logging.getLogger(__name__)

#: Seconds between two questions for results that nobody publishes: those of tasks that Zenith dispatched.
LOOK_EVERY: Final = 0.5
#: Seconds for which nobody is asked after nobody answered, so that a caller that looks often waits once.
PAUSE: Final = 10.0


class LastingConsumer(ResultConsumer):
    """Celery's consumer of results, which also asks an engine while it waits."""

    _asked_at = 0.0

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for a published result, for `timeout` seconds or until the next question."""
        super().drain_events(timeout=min(timeout or LOOK_EVERY, LOOK_EVERY))
        if time.monotonic() - self._asked_at < LOOK_EVERY:
            return
        self._asked_at = time.monotonic()
        for meta in self.backend.lasting_ends({*self._pending_results.concrete, *self._pending_results.weak}):
            self.on_state_change(meta, None)


class LastingBackend(ZenithBackend):
    """Zenith's backend, whose `AsyncResult` also knows what only PostgreSQL holds.

    If no engine answers, such a task is PENDING, which in Celery means "unknown".
    """

    ResultConsumer = LastingConsumer

    def __init__(self, *, app: Celery, url: str | None = None, **options: Any) -> None:
        super().__init__(app=app, url=url or app.conf.broker_url, **options)
        self.largest_result = getattr(app.conf, "zenith_result_max_bytes", self.largest_result)
        self._nobody_until = 0.0

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return a task's state from Redis, or else from PostgreSQL. Raises redis.RedisError."""
        meta: dict[str, Any] = super().get_task_meta(task_id, cache)
        return self.lasting_meta(task_id) or meta if meta["status"] == states.PENDING else meta

    def lasting_ends(self, task_ids: Collection[Any]) -> Iterator[dict[str, Any]]:
        """Yield the stored results of those tasks that have ended. Celery takes UUIDs for ids as well."""
        return (meta for meta in self._lasting(list(map(str, task_ids))) if meta["status"] in states.READY_STATES)

    def lasting_meta(self, task_id: Any) -> dict[str, Any] | None:
        """Return a task's state from PostgreSQL, in the form of Celery's backends; None if it is not known there."""
        return next(self._lasting([str(task_id)]), None)

    def _lasting(self, task_ids: list[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(task_ids), IDS_AT_MOST):
            if time.monotonic() < self._nobody_until:
                return
            try:
                answer = ask(Kind.RESULTS, task_ids[start : start + IDS_AT_MOST])
            except NobodyAnswersError as error:
                self._nobody_until = time.monotonic() + PAUSE
                logger.warning("The results that Redis does not have are unknown for now: %s.", error)
                return
            yield from map(self.meta_from_decoded, answer.values())
