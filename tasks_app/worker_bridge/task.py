"""The class of Zenith's own tasks: what it must ask PostgreSQL, because Redis remembers an end for minutes only."""

import time
from typing import Final

import redis
from django.db import DatabaseError

from tasks_app.models import Task
from zenith_site.common.loops import with_fresh_connection
from zenith_worker.errors import NotNow
from zenith_worker.task import ZenithTask
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import TERMINAL

#: Seconds to wait before a message is put back because PostgreSQL cannot be asked about it.
REQUEUE_AFTER: Final = 2.0


class DatabaseTask(ZenithTask):
    """A task of a worker that reaches PostgreSQL."""

    def ended_before(self, task_id: str) -> bool:
        """Ask PostgreSQL; only what may be a copy costs this query."""
        try:
            with with_fresh_connection():
                return Task.objects.filter(pk=key_of(task_id), status__in=TERMINAL).exists()
        except (DatabaseError, redis.RedisError) as error:
            time.sleep(REQUEUE_AFTER)
            raise NotNow(f"PostgreSQL cannot tell whether it ran: {error}", requeue=True) from error
