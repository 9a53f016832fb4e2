"""A result backend that reads from PostgreSQL what Redis has forgotten or never had."""

import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from celery import Celery, states
from celery.backends.redis import ResultConsumer
from django.conf import settings
from django_celery_results.backends import DatabaseBackend
from django_celery_results.models import TaskResult

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from zenith_worker.backend import ZenithBackend
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status

#: Seconds between two queries for results that nobody publishes: those of tasks that Zenith dispatched.
LOOK_EVERY: Final = 0.5
#: Celery's state of a task that has not ended, by the status of its row.
_STATES: Final = {Status.STARTED: states.STARTED, Status.RETRY: states.RETRY, Status.RECEIVED: states.RECEIVED}


class LastingConsumer(ResultConsumer):
    """Celery's consumer of results, which also queries PostgreSQL while it waits."""

    _queried_at = 0.0

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for a published result, for `timeout` seconds or until the next query."""
        super().drain_events(timeout=min(timeout or LOOK_EVERY, LOOK_EVERY))
        if time.monotonic() - self._queried_at < LOOK_EVERY:
            return
        self._queried_at = time.monotonic()
        for meta in self.backend.lasting_ends({*self._pending_results.concrete, *self._pending_results.weak}):
            self.on_state_change(meta, None)


class LastingBackend(ZenithBackend):
    """Zenith's backend in processes with Django: `AsyncResult` falls back to django-celery-results' `TaskResult`."""

    ResultConsumer = LastingConsumer

    def __init__(self, *, app: Celery, url: str | None = None, **options: Any) -> None:
        super().__init__(app=app, url=url or settings.ZENITH_REDIS_URL, **options)
        self.largest_result = settings.ZENITH_RESULT_MAX_BYTES
        self._rows = DatabaseBackend(app=app)

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return a task's state from Redis, or else from PostgreSQL. Raises django.db.Error if PostgreSQL is unreachable."""
        meta: dict[str, Any] = super().get_task_meta(task_id, cache)
        return self.lasting_meta(task_id) if meta["status"] == states.PENDING else meta

    def lasting_ends(self, task_ids: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield the stored results of those tasks that have ended."""
        rows = TaskResult.objects.filter(task_id__in=list(task_ids), status__in=states.READY_STATES) if task_ids else []
        for row in rows:
            yield self._rows._get_task_meta_for(row.task_id)

    def lasting_meta(self, task_id: str) -> dict[str, Any]:
        """Return a task's state from PostgreSQL, in the form of Celery's backends."""
        meta: dict[str, Any] = self._rows._get_task_meta_for(task_id)
        if meta["status"] == states.PENDING:
            status = Task.objects.filter(pk=key_of(task_id), application=NATIVE_ID).values_list("status", flat=True).first()
            meta["status"] = _STATES.get(Status(status), states.PENDING) if status else states.PENDING
        return meta
