"""Dispatching: from "run this ten times" to rows in PostgreSQL and messages on the broker.

1. Everything asked for is checked first; what is wrong is named, and nothing is written.
2. One transaction inserts the batch, its tasks and their first events (`create`).
3. After its commit the messages are published (publish.py), in transactions of their own.
4. Where a crash comes between 2 and 3, or a task is not due yet, the relay (relay.py) publishes.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from tasks_app import catalog
from tasks_app.dispatch import idempotency
from tasks_app.dispatch.message import PARENT_HEADER, ROOT_HEADER, queue_of
from tasks_app.dispatch.publish import publish_batch
from tasks_app.dispatch.samples import SAMPLE_TEXTS
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Batch, TaskMessage
from tasks_app.recording import live
from tasks_app.recording.events import EventRow, write_events
from zenith_site.common import jsonsafe
from zenith_site.common.application import celery_app
from zenith_site.common.callers import Caller
from zenith_site.common.errors import Problem
from zenith_site.common.once import request_digest, scoped_key
from zenith_worker.wire import correlation, extras, spans
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.queue_names import why_malformed, why_reserved
from zenith_worker.wire.states import Status, position

MAX_COUNT: Final = 10_000
MAX_RETRIES: Final = 100
#: Seconds; well below the broker's visibility timeout, after which a message counts as forgotten.
MAX_TIME_LIMIT: Final = 5 * 3600
DEFAULT_COUNT: Final = 10
DEFAULT_TASK: Final = "analyze_text"
MAX_PRIORITY: Final = 9


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """What is asked for.

    `data` is the task's first argument: one value for all, or a list that gives each task its
    own. `count` defaults to the length of such a list, else to one, or to ten on sample texts
    where nothing is given at all.
    """

    task: str = DEFAULT_TASK
    count: int | None = None
    data: Any = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    not_before: datetime | None = None
    max_retries: int | None = None
    time_limit: int | None = None
    soft_time_limit: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who asks: `source` is page, api, command or engine; `sent_by` is for people."""

    source: str
    sent_by: str = ""
    user_id: int | None = None
    idempotency_key: str | None = None

    @classmethod
    def of(cls, caller: Caller, source: str, *, idempotency_key: str | None = None) -> "Origin":
        """Return the origin of what a caller dispatches through `source`."""
        return cls(source=source, sent_by=caller.name, user_id=caller.user.pk, idempotency_key=idempotency_key)


@dataclass(frozen=True)
class Dispatched:
    """What was written. `repeated` tells that an Idempotency-Key had dispatched it before."""

    batch_id: UUID
    ids: list[UUID]
    repeated: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what is kept for a repetition."""
        return {"batch_id": str(self.batch_id), "ids": [str(id_) for id_ in self.ids]}


def dispatch(asked: Dispatch, origin: Origin) -> Dispatched:
    """Write the tasks asked for in one transaction, and publish them once it is committed.

    Raises InvalidDispatchError naming every culprit, IdempotencyConflictError, or django.db.Error;
    then nothing was written. A broker that is away raises nothing: the relay publishes later.
    """
    prepared = _prepare(asked)
    with spans.span(f"dispatch {asked.task}", "producer", zenith__task=asked.task, zenith__count=len(prepared.arguments)):
        return _write_once(prepared, origin)


def dispatch_many(asked: Sequence[Dispatch], origin: Origin) -> list[Dispatched]:
    """Do the same for several dispatches, in one transaction: all are written, or none is.

    Raises InvalidDispatchError, whose pointers begin with `/dispatches/N`. The origin's key is not looked at.
    """
    problems: list[Problem] = []
    prepared = []
    for number, one in enumerate(asked):
        try:
            prepared.append(_prepare(one))
        except InvalidDispatchError as error:
            problems += [Problem(f"/dispatches/{number}{item.pointer}", item.detail) for item in error.problems]
        if len(problems) >= jsonsafe.MAX_NAMED:
            break
    total = sum(len(one.arguments) for one in prepared)
    if not problems and total > MAX_COUNT:
        problems.append(Problem("/dispatches", f"asks for {total:,} tasks; one request takes {MAX_COUNT:,} at most"))
    if problems:
        raise InvalidDispatchError(*problems)
    with spans.span("dispatch many", "producer", zenith__count=total), transaction.atomic():
        return [_write(one, origin) for one in prepared]


class _Prepared(NamedTuple):
    """A dispatch that was checked."""

    asked: Dispatch
    entry: catalog.CatalogEntry
    arguments: list[list[Any]]


def _prepare(asked: Dispatch) -> _Prepared:
    return _Prepared(asked, *_checked(asked))


def _write_once(prepared: _Prepared, origin: Origin) -> Dispatched:
    asked = prepared.asked
    if origin.idempotency_key is None:
        return _write(prepared, origin)
    key = scoped_key(f"{origin.user_id or '-'}:{origin.sent_by}", origin.idempotency_key)
    done = idempotency.once(key, request_digest(asdict(asked)), lambda: _write(prepared, origin).as_json())
    return Dispatched(UUID(done.answer["batch_id"]), [UUID(id_) for id_ in done.answer["ids"]], done.repeated)


def _write(prepared: _Prepared, origin: Origin) -> Dispatched:
    asked, entry, arguments = prepared
    queue = asked.queue or queue_of(entry.name)
    max_retries = entry.max_retries if asked.max_retries is None else asked.max_retries
    kwargs = json.dumps(asked.kwargs)
    with transaction.atomic():
        batch = new_batch(entry.name, len(arguments), origin)
        tasks = [
            NewTask(
                new_id(), queue, json.dumps(args), kwargs, asked.priority, max_retries, asked.not_before,
                time_limit=asked.time_limit, soft_time_limit=asked.soft_time_limit, expires_at=asked.expires_at,
            )
            for args in arguments
        ]  # fmt: skip
        write_tasks(batch, tasks)
    return Dispatched(batch.id, [task.id for task in tasks])


def new_batch(task_name: str, size: int, origin: Origin) -> Batch:
    """Insert a batch without tasks inside the open transaction; write_tasks() fills it."""
    return Batch.objects.create(
        task_name=task_name, size=size, source=origin.source, sent_by=origin.sent_by[:200],
        user_id=origin.user_id, created_at=timezone.now(), headers={**_senders(), **correlation.carried()},
    )  # fmt: skip


def _senders() -> dict[str, str]:
    """Return, where a task's body dispatches, the headers with that task and with the first of those that sent each other.

    As Celery has them: ids of any text.
    """
    running = celery_app().current_worker_task
    if not (running and running.request.id):
        return {}
    id_ = jsonsafe.storable_text(running.request.id)
    return {PARENT_HEADER: id_, ROOT_HEADER: jsonsafe.storable_text(running.request.root_id or "") or id_}


def _parent() -> str | None:
    """Return the key of the task whose body dispatches, None outside of one."""
    running = celery_app().current_worker_task
    return str(key_of(running.request.id)) if running and running.request.id else None


class NewTask(NamedTuple):
    """One task to be; `args` and `kwargs` are JSON text."""

    id: UUID
    queue: str
    args: str
    kwargs: str
    priority: int | None
    max_retries: int | None
    not_before: datetime | None = None
    replay_of: UUID | None = None
    time_limit: int | None = None
    soft_time_limit: int | None = None
    expires_at: datetime | None = None
    extras: dict[str, Any] | None = None


def write_tasks(batch: Batch, tasks: Sequence[NewTask]) -> None:
    """Insert the tasks of a new batch inside the open transaction; once it commits they are published."""
    with connection.cursor() as cursor:
        newest = _insert(cursor, batch, tasks)
    TaskMessage.objects.bulk_create(TaskMessage(task_id=task.id, extras=task.extras) for task in tasks if task.extras)
    transaction.on_commit(lambda: live.poke(newest))
    transaction.on_commit(lambda: publish_batch(batch.id))


def inherited(task_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return, for each of these tasks whose message carried something, what that of a task in its place carries."""
    kept = TaskMessage.objects.filter(task_id__in=task_ids).values_list("task_id", "extras")
    return {task_id: new for task_id, old in kept if (new := extras.for_another(old)) is not None}


def _checked(asked: Dispatch) -> tuple[catalog.CatalogEntry, list[list[Any]]]:
    """Return the catalogue's entry and each task's positional arguments."""
    entry = catalog.get(asked.task)
    problems = list(_field_problems(asked))
    count = _count(asked)
    if not 1 <= count <= MAX_COUNT:
        problems.append(Problem("/count", f"must lie between 1 and {MAX_COUNT:,}"))
    elif isinstance(asked.data, list) and len(asked.data) != count:
        problems.append(Problem("/data", f"has {len(asked.data)} items for {count} tasks: give one for each"))
    if problems:
        raise InvalidDispatchError(*problems)
    arguments = _arguments(asked, count)
    problems += _argument_problems(entry, asked, arguments)
    if problems:
        raise InvalidDispatchError(*problems[:20])
    return entry, arguments


def _count(asked: Dispatch) -> int:
    if asked.count is not None:
        return asked.count
    if isinstance(asked.data, list):
        return len(asked.data)
    return DEFAULT_COUNT if _on_samples(asked) else 1


def _on_samples(asked: Dispatch) -> bool:
    return asked.task == DEFAULT_TASK and asked.data is None and not asked.kwargs


def _arguments(asked: Dispatch, count: int) -> list[list[Any]]:
    if isinstance(asked.data, list):
        return [[item] for item in asked.data]
    if _on_samples(asked):
        return [[SAMPLE_TEXTS[number % len(SAMPLE_TEXTS)]] for number in range(count)]
    return [[] if asked.data is None else [asked.data]] * count


def _field_problems(asked: Dispatch) -> Iterator[Problem]:
    yield from queue_problems(asked.queue, asked.priority)
    if asked.max_retries is not None and not 0 <= asked.max_retries <= MAX_RETRIES:
        yield Problem("/max_retries", f"must lie between 0 and {MAX_RETRIES}")
    if asked.not_before is not None and asked.not_before.tzinfo is None:
        yield Problem("/not_before", "needs a time zone, such as a final Z")
    yield from _limit_problems(asked)
    yield from jsonsafe.problems(asked.kwargs, "/kwargs")
    yield from jsonsafe.problems(asked.data, "/data")


def queue_problems(queue: str | None, priority: int | None) -> Iterator[Problem]:
    """Yield what is wrong with where a task is to go; None is always right."""
    if queue is not None and (reason := why_malformed(queue) or why_reserved(queue)):
        yield Problem("/queue", reason)
    if priority is not None and not 0 <= priority <= MAX_PRIORITY:
        yield Problem("/priority", f"must lie between 0 and {MAX_PRIORITY}")


def _limit_problems(asked: Dispatch) -> Iterator[Problem]:
    for name in ("time_limit", "soft_time_limit"):
        seconds = getattr(asked, name)
        if seconds is not None and not 1 <= seconds <= MAX_TIME_LIMIT:
            yield Problem(f"/{name}", f"must lie between 1 and {MAX_TIME_LIMIT:,} seconds")
    if asked.time_limit and asked.soft_time_limit and asked.soft_time_limit >= asked.time_limit:
        yield Problem("/soft_time_limit", "must be shorter than time_limit")
    if asked.expires_at is not None and asked.expires_at.tzinfo is None:
        yield Problem("/expires_at", "needs a time zone, such as a final Z")
    elif asked.expires_at is not None and asked.expires_at <= max(timezone.now(), asked.not_before or timezone.now()):
        yield Problem("/expires_at", "must lie in the future, and after not_before")


def _argument_problems(entry: catalog.CatalogEntry, asked: Dispatch, arguments: list[list[Any]]) -> list[Problem]:
    """Check the arguments against the task's signature; equal ones only once."""
    own = isinstance(asked.data, list)
    first = entry.first_argument
    found = []
    for index, args in enumerate(arguments if own else arguments[:1]):
        for problem in entry.problems(args, asked.kwargs):
            pointer = problem.pointer.removeprefix("/args/0")
            if pointer != problem.pointer:
                pointer = f"/data/{index}{pointer}" if own else f"/data{pointer}"
            elif pointer == f"/kwargs/{first}" and not args and first not in asked.kwargs:
                pointer = "/data"
            found.append(Problem(pointer, problem.detail))
        if len(found) >= 20:
            break
    return found


_COPY: Final = """
    COPY tasks_app_task (id, name, queue, status, position, args, kwargs, priority, max_retries,
        batch_id, source, worker, error_type, error_message, created_at, not_before, replay_of_id,
        time_limit, soft_time_limit, expires_at, parent_id) FROM STDIN
"""


def _insert(cursor: CursorWrapper, batch: Batch, tasks: Sequence[NewTask]) -> int | None:
    """Insert the tasks and their first events; return the id of the newest event."""
    now = datetime.now(UTC)
    seconds = time.time()
    events = []
    parent = _parent()
    # Django wraps the errors of execute() only: without this a full disk would look like a bug, not like a database that is away.
    with connection.wrap_database_errors, cursor.copy(_COPY) as copy:
        for task in tasks:
            waits = task.not_before is not None and task.not_before > now
            status = Status.SCHEDULED if waits else Status.PENDING
            where = position(0, 0, status)
            events.append(EventRow(task.id, status, where, seconds))
            copy.write_row((
                task.id, batch.task_name, task.queue, status.value, where, task.args, task.kwargs,
                task.priority, task.max_retries, batch.id, batch.source, "", "", "", batch.created_at,
                task.not_before, task.replay_of, task.time_limit, task.soft_time_limit, task.expires_at,
                parent,
            ))  # fmt: skip
    written = write_events(cursor, events)
    return max((row[0] for row in written), default=None)
