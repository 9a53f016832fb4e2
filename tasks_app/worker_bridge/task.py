"""The class of Zenith's own tasks, which asks PostgreSQL whether a task has ended: Redis remembers that for minutes only."""

import time
from typing import Final

import redis
from django.db import DatabaseError

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.loops import with_fresh_connection
from zenith_worker.errors import NotNow
from zenith_worker.task import ZenithTask
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import TERMINAL

#: Seconds to wait before a message is put back because PostgreSQL is unreachable.
REQUEUE_AFTER: Final = 2.0


class DatabaseTask(ZenithTask):
    """A task of a worker that reaches PostgreSQL."""

    def ended_before(self, task_id: str) -> bool:
        """Return whether the task has ended, by PostgreSQL; only messages that may be copies cost this query."""
        try:
            with with_fresh_connection():
                return Task.objects.filter(pk=key_of(task_id), application=NATIVE_ID, status__in=TERMINAL).exists()
        except (DatabaseError, redis.RedisError) as error:
            time.sleep(REQUEUE_AFTER)
            raise NotNow(f"PostgreSQL could not be asked whether the task has ended: {error}", requeue=True) from error
