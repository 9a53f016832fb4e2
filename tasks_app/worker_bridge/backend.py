"""The result backend: outcomes go to the stream, and are read from PostgreSQL.

Celery calls a result backend for every outcome there is, in the pool's child processes and, for
lost processes and hard time limits, in the worker's main process. That makes it the one place to
report outcomes from. A success is in Redis *before* Celery acknowledges the message, so a task
whose outcome got lost is always delivered again. A recorder writes the outcome to `TaskResult`;
`AsyncResult(id).get()` reads it there, as with django-celery-results' own backend.
"""

from typing import Any

from celery import states
from celery.app.task import Context
from django.conf import settings
from django_celery_results.backends import DatabaseBackend

from zenith_worker.outcomes import OUTCOMES, outcome
from zenith_worker.reporting import report


class ZenithBackend(DatabaseBackend):
    """django-celery-results' backend, with writing left to the recorders."""

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Context | None = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Report a success also where its result is ignored: the task is accounted for anyway."""
        if not store_result or (request is not None and request.ignore_result):
            self._report(task_id, None, state, None, request)
        super().mark_as_done(task_id, result, request, store_result, state)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        status: str,
        traceback: str | None = None,
        request: Context | None = None,
        using: str | None = None,
    ) -> Any:
        if status in OUTCOMES:
            self._report(task_id, result, status, traceback, request)
        elif status != states.STARTED:  # the worker's state reporter tells what runs
            super()._store_result(task_id, result, status, traceback, request, using)
        return result

    def _report(self, task_id: str, result: Any, status: str, traceback: str | None, request: Any) -> None:
        children = self.current_task_children(request)
        event = outcome(task_id, result, status, traceback, request, children, largest=settings.ZENITH_RESULT_MAX_BYTES)
        report(event, tag=(getattr(request, "properties", None) or {}).get("delivery_tag", ""))
