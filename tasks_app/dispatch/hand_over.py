"""Hand other applications' tasks over to their workers, which send them with their own Celery app.

1. Rows that are due are locked, and their commands are appended to the application's stream in Redis
   (zenith_worker/wire/commands.py).
2. `handed_at` is set in the same transaction. A scheduled task is PENDING from then on.
3. A worker sends the task and reports QUEUED, or FAILURE if its application cannot send it.

Redis remembers which tasks were handed over, so a crash between 1 and 2 hands nothing over twice. If Redis lost a command, the
task is handed over again after CONFIRMED_WITHIN seconds.

Nothing is handed over for a paused queue, as far as it is known which queue a task goes to, nor while no worker of the
application takes commands, so that it can be cancelled and changed at once.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

import redis
from django.db import DatabaseError, connection, transaction

from tasks_app.dispatch.message import ROW_COLUMNS, TaskRow
from tasks_app.dispatch.send_commands import send_command
from tasks_app.models import Application, AttachedPause
from tasks_app.recording import live
from tasks_app.recording.events import EventRow, write_events
from zenith_site.common.faults import is_unreachable, record_fault
from zenith_site.common.sql import statements
from zenith_worker.wire import commands, heartbeat
from zenith_worker.wire.states import Status, position

logger = logging.getLogger(__name__)

#: Rows locked and commands appended in one transaction.
CHUNK: Final = 500
#: Characters of arguments in one command of Redis, unless those of a single task are longer.
PORTION: Final = 2**22
#: Seconds after which a task that no worker confirmed is handed over again; Redis ignores what it still has.
CONFIRMED_WITHIN: Final = 60
#: Seconds for which an application is left alone after its keys could not be used.
REST: Final = 30.0
#: Seconds for which one is left alone that has nothing but tasks of paused queues, of which there may be very many.
PAUSED_REST: Final = 2.0

_SQL: Final = statements(__file__)
# The application's paused queues are few; all rows of one of these queries are of one application.
_NOT_PAUSED: Final = """NOT EXISTS (SELECT FROM tasks_app_attachedpause AS paused
    WHERE paused.application_id = tasks_app_task.application_id AND paused.queue = tasks_app_task.queue)"""
_PARTS: Final = {"columns": ROW_COLUMNS, "not_paused": _NOT_PAUSED}
_WAITING: Final = _SQL["applications_to_hand_over"]
_UNHANDED: Final = _SQL["unhanded_pending"].format(**_PARTS, within=CONFIRMED_WITHIN)
_DUE: Final = _SQL["unhanded_due"].format(**_PARTS)
_OF_BATCH: Final = _SQL["unhanded_of_batch"].format(**_PARTS)
_MARK: Final = _SQL["mark_handed"]


def takes_commands(name: str) -> bool:
    """Whether a worker of the application is online that carries out commands. Raises redis.RedisError."""
    return any(worker.online and worker.catalogue for worker in heartbeat.read_all(name))


def hand_over_batch(application: Application, batch_id: UUID) -> int:
    """Hand over the PENDING tasks of one batch; return how many.

    If Redis or PostgreSQL cannot be used, this raises nothing: the relay hands over what stays behind.
    """
    try:
        handed, count = 0, CHUNK
        # A chunk that is not full was the last one.
        while count == CHUNK:
            count = _chunk(application.name, _OF_BATCH, batch_id)
            handed += count
        return handed
    except (redis.RedisError, DatabaseError) as error:
        logger.warning("Batch %s waits for the relay: %s", batch_id, error)
        return 0


class HandOver:
    """The relay's part for other applications. One whose keys are unusable is left alone for a while and stops no other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._resting: dict[str, float] = {}

    def run_once(self) -> int:
        """Hand over tasks that are due, of each application a chunk or two; return how many.

        Raises django.db.Error, or redis.RedisError if it is unreachable.
        """
        handed = 0
        for id_, name in self._waiting():
            try:
                number = sum(_chunk(name, query, id_) for query in (_UNHANDED, _DUE))
                if not number and AttachedPause.objects.filter(application=id_).exists():
                    self._resting[name] = self._clock() + PAUSED_REST
                handed += number
            except Exception as error:
                if is_unreachable(error):
                    raise
                self._resting[name] = self._clock() + REST
                record_fault("relay", error, f"the application {name}")
        return handed

    def _waiting(self) -> Iterator[tuple[int, str]]:
        """Yield the key and the name of each application that has tasks to hand over."""
        with connection.cursor() as cursor:
            cursor.execute(_WAITING, [CONFIRMED_WITHIN])
            rows = cursor.fetchall()
        now = self._clock()
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        yield from ((id_, name) for id_, name in rows if name not in self._resting)


def _chunk(name: str, query: str, parameter: int | UUID) -> int:
    """Hand over a chunk of the tasks that a query locks, if the application's workers take more commands; return how many."""
    if commands.waiting(name) > commands.WAITING_AT_MOST - CHUNK or not takes_commands(name):
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(query, [parameter, CHUNK])
        # Celery's ids, unlike the rows' keys, are in the order of creation.
        rows = sorted((TaskRow(*values) for values in cursor.fetchall()), key=lambda row: row.task_id)
        if not rows:
            return 0
        for portion in _portions(rows):
            commands.hand_over(name, [send_command(row) for row in portion])
        newest = note_handed([row.key for row in rows], [row.key for row in rows if row.status == Status.SCHEDULED])
    live.poke(newest)
    return len(rows)


def _portions(rows: Sequence[TaskRow]) -> Iterator[list[TaskRow]]:
    """Yield the rows in portions whose arguments have about PORTION characters at most, each for one command of Redis."""
    portion: list[TaskRow] = []
    size = 0
    for row in rows:
        length = len(row.args) + len(row.kwargs) + len(row.extras or "")
        if portion and size + length > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += length
    yield portion


def note_handed(ids: Sequence[UUID], scheduled: Iterable[UUID]) -> int | None:
    """Note inside the open transaction that tasks were handed over; `scheduled`: those of them that become PENDING by that.

    Returns the id of the newest event, if any did. The rows must be locked.
    """
    pending = position(0, 0, Status.PENDING)
    now = time.time()
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [pending, list(ids)])
        written = write_events(cursor, [EventRow(id_, Status.PENDING, pending, now) for id_ in scheduled])
    return max((event_id for event_id, _, _ in written), default=None)
