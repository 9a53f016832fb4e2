"""Zenith's backend as django-celery-results' tests meet it: what they store goes Zenith's way.

It is reported through the stream, written by a recorder, and read from PostgreSQL alone, since Redis has forgotten it by then.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from django.conf import settings

from tasks_app.recording.apply import apply
from zenith_worker.lasting_backend import LastingBackend
from zenith_worker.wire import stream
from zenith_worker.wire.events import decode


class RecordedBackend(LastingBackend):
    """The backend, and a recorder that has written what a call reported before it returns."""

    def __init__(self, *, app: Celery) -> None:
        super().__init__(app=app, url=settings.ZENITH_REDIS_URL)
        stream.ensure_group()

    def mark_as_done(self, task_id: str, *args: Any, **options: Any) -> None:
        """Store a success."""
        super().mark_as_done(task_id, *args, **options)
        self._record(task_id)

    def mark_as_failure(self, task_id: str, *args: Any, **options: Any) -> None:
        """Store a failure."""
        super().mark_as_failure(task_id, *args, **options)
        self._record(task_id)

    def _record(self, task_id: str) -> None:
        # What a recorder does, but for a fresh connection: the test's own is in a transaction.
        entries = stream.read("witness", count=100, block=0)
        apply([event for entry in entries for event in decode(entry.raw)])
        stream.done(entries)
        self.client.delete(self.get_key_for_task(task_id))
