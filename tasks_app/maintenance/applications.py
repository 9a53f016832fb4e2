"""Take in the applications that announced themselves: a row for each, with what its newest process says of itself.

Idempotent: any number of engines may do this at once. Once the row is there, recorders read the application's stream, from its
first entry on.
"""

import time
from collections.abc import Callable, Collection
from typing import Final

import redis
from django.db import connection, transaction

from tasks_app.maintenance import application_users
from tasks_app.models import Application
from tasks_app.models.application import Kind
from zenith_site.common.faults import isolate_faults
from zenith_site.common.sql import statements
from zenith_worker.wire import commands, stream
from zenith_worker.wire.applications import ANNOUNCED_AT_MOST, Announcement, announced
from zenith_worker.wire.heartbeat import read_all

#: Seconds between two looks for runs of workers that are over.
FORGET_EVERY: Final = 600.0
#: Seconds by which `last_heard_at` may be behind, so that it is not written at every look.
HEARD_EVERY: Final = 10.0

_SQL: Final = statements(__file__)
_UPDATE: Final = _SQL["update_applications"]
_INSERT: Final = _SQL["insert_applications"]


def take_in() -> None:
    """Insert and update the rows of announced applications. Raises redis.RedisError or django.db.Error."""
    isolated = list(Application.objects.filter(isolated=True).values_list("name", flat=True))
    with isolate_faults("reconciler", "Redis users of applications"):
        application_users.grant_missing(isolated)
    announcements = announced(isolated)
    if not announcements:
        return
    _adopt({announcement.name for announcement in announcements})
    rows = [(*announcement, last_heard(announcement.name)) for announcement in announcements]
    columns = dict(zip((*Announcement._fields, "heard_at"), map(list, zip(*rows, strict=True)), strict=True))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_UPDATE, {**columns, "heard_every": HEARD_EVERY})
        cursor.execute(_INSERT, {**columns, "most": ANNOUNCED_AT_MOST})


def _adopt(names: Collection[str]) -> None:
    """Take those for attached that are not watched any more, and whose workers report by themselves."""
    for row in Application.objects.filter(kind=Kind.WATCHED, broker="", name__in=names):
        with isolate_faults("reconciler", f"the application {row.name}"):
            if any(beat.online and not beat.watched for beat in read_all(row.name)):
                Application.objects.filter(pk=row.pk, kind=Kind.WATCHED, broker="").update(kind=Kind.ATTACHED)


class GoneWorkers:
    """Forgets, now and then, which runs of workers once read commands: each start of a worker adds one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + FORGET_EVERY

    def run_once(self) -> None:
        """Forget those of each attached application. Raises redis.RedisError if Redis is unreachable, or django.db.Error."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + FORGET_EVERY
        for name in Application.objects.filter(kind=Kind.ATTACHED).order_by("name").values_list("name", flat=True):
            with isolate_faults("reconciler", f"the application {name}"):
                _forget_gone(name)


def _forget_gone(name: str) -> None:
    try:
        commands.forget_gone_workers(name)
    except redis.ResponseError as error:
        # Something wrote to the stream before its group was created: no worker can have read any of it. Not at the beginning
        # before Redis 7.
        if "NOGROUP" not in str(error):
            raise


def last_heard(application: str) -> float | None:
    """Return when an application sent its newest event or heartbeat, as Unix time in seconds; None if that is not known.

    Raises redis.RedisError, but not for what the application itself has broken.
    """
    try:
        ages = [beat.heartbeat_age for beat in read_all(application)]
        newest_entry = stream.newest_age(application)
    except redis.ResponseError:
        return None
    if newest_entry is not None:
        ages.append(newest_entry)
    return time.time() - min(ages) if ages else None
