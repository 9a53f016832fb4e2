"""Dispatch: from "run this ten times" to rows in PostgreSQL and messages on the broker.

1. The whole request is validated first. If anything is wrong, every problem is named and nothing is written.
2. One transaction inserts the batch, its tasks and their first events (`write_tasks`).
3. After the commit the messages are published (publish.py), in transactions of their own; those of other applications' tasks
   by workers of theirs (hand_over.py).
4. If a crash comes between 2 and 3, or a task is not due yet, the relay (relay.py) publishes later.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from tasks_app import catalog
from tasks_app.dispatch import idempotency
from tasks_app.dispatch.applications import default_queue, named, why_watched
from tasks_app.dispatch.hand_over import hand_over_batch
from tasks_app.dispatch.message import PARENT_HEADER, ROOT_HEADER
from tasks_app.dispatch.publish import publish_batch
from tasks_app.dispatch.retries import why_not_retries
from tasks_app.dispatch.rows import NewTask, Sender, insert
from tasks_app.dispatch.samples import SAMPLE_TEXTS
from tasks_app.dispatch.send_commands import asking_for
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, Batch, TaskMessage
from tasks_app.models.application import Visible
from tasks_app.recording import live
from zenith_site.common import jsonsafe
from zenith_site.common.application import celery_app
from zenith_site.common.callers import Caller
from zenith_site.common.errors import Problem
from zenith_site.common.idempotency import request_digest, scoped_key
from zenith_worker.wire import correlation, extras, spans
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.queue_names import why_malformed, why_reserved

MAX_COUNT: Final = 10_000
MAX_RETRIES: Final = 100
#: Seconds; well below the broker's visibility timeout, after which a message is redelivered.
MAX_TIME_LIMIT: Final = 5 * 3600
DEFAULT_COUNT: Final = 10
DEFAULT_TASK: Final = "analyze_text"
MAX_PRIORITY: Final = 9


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """A request to dispatch tasks.

    `data` is the first argument: one value for all tasks, or a list with one value for each. `count` defaults to the length
    of that list, else to one, or to ten `analyze_text` tasks on sample texts if neither data nor arguments are given.
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
    #: The name of the application that runs the task.
    application: str = NATIVE_NAME


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who dispatches: `source` is page, api, command or engine; `sent_by` is for people to read.

    `visible`: the names of the applications whose tasks they may dispatch, replay and discard; None for all.
    """

    source: str
    sent_by: str = ""
    user_id: int | None = None
    idempotency_key: str | None = None
    visible: Visible = None

    @classmethod
    def of(cls, caller: Caller, source: str, *, idempotency_key: str | None = None) -> "Origin":
        """Return the origin of what a caller dispatches through `source`."""
        return cls(
            source=source, sent_by=caller.name, user_id=caller.user.pk, idempotency_key=idempotency_key,
            visible=caller.applications,
        )  # fmt: skip


@dataclass(frozen=True)
class Dispatched:
    """The tasks that were written, by their rows' keys and by Celery's ids, which are the same for Zenith's own application.

    `repeated`: an earlier request with the same Idempotency-Key wrote them.
    """

    batch_id: UUID
    ids: list[UUID]
    celery_ids: list[UUID]
    repeated: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the answer that is stored for a repeated request."""
        kinds = {"ids": self.ids, "celery_ids": self.celery_ids}
        return {"batch_id": str(self.batch_id), **{kind: [str(id_) for id_ in ids] for kind, ids in kinds.items()}}

    @classmethod
    def of_json(cls, answer: Mapping[str, Any], *, repeated: bool) -> "Dispatched":
        """Return what `as_json` returned, now or for an earlier request."""
        ids = [UUID(id_) for id_ in answer["ids"]]
        celery_ids = [UUID(id_) for id_ in answer.get("celery_ids", answer["ids"])]
        return cls(UUID(answer["batch_id"]), ids, celery_ids, repeated)


def dispatch(request: Dispatch, origin: Origin) -> Dispatched:
    """Write the requested tasks in one transaction, and publish them once it is committed.

    Raises InvalidDispatchError naming every problem, IdempotencyConflictError, or django.db.Error; then nothing was written.
    An unreachable broker raises nothing: the relay publishes later.
    """
    prepared = _prepare(request, origin)
    with spans.span(f"dispatch {request.task}", "producer", zenith__task=request.task, zenith__count=len(prepared.arguments)):
        return _write_once(prepared, origin)


def dispatch_many(requests: Sequence[Dispatch], origin: Origin) -> list[Dispatched]:
    """Write the tasks of several requests in one transaction: all are written, or none is.

    Raises InvalidDispatchError, whose pointers begin with `/dispatches/N`. The origin's idempotency key is ignored.
    """
    problems: list[Problem] = []
    prepared_requests = []
    for number, request in enumerate(requests):
        try:
            prepared_requests.append(_prepare(request, origin))
        except InvalidDispatchError as error:
            problems += [Problem(f"/dispatches/{number}{item.pointer}", item.detail) for item in error.problems]
        if len(problems) >= jsonsafe.MAX_NAMED:
            break
    total = sum(len(prepared.arguments) for prepared in prepared_requests)
    if not problems and total > MAX_COUNT:
        problems.append(Problem("/dispatches", f"asks for {total:,} tasks; one request may dispatch at most {MAX_COUNT:,}"))
    if problems:
        raise InvalidDispatchError(*problems)
    with spans.span("dispatch many", "producer", zenith__count=total), transaction.atomic():
        return [_write(prepared, origin) for prepared in prepared_requests]


class _Prepared(NamedTuple):
    """A valid request, with its application, its task, and the positional arguments of each task to write."""

    request: Dispatch
    application: Application
    entry: catalog.CatalogEntry
    arguments: list[list[Any]]


def _prepare(request: Dispatch, origin: Origin) -> _Prepared:
    return _Prepared(request, *_validate(request, origin.visible))


def _write_once(prepared: _Prepared, origin: Origin) -> Dispatched:
    if origin.idempotency_key is None:
        return _write(prepared, origin)
    key = scoped_key(f"{origin.user_id or '-'}:{origin.sent_by}", origin.idempotency_key)
    digest = request_digest(_told(prepared.request))
    done = idempotency.run_once(key, digest, lambda: _write(prepared, origin).as_json())
    return Dispatched.of_json(done.answer, repeated=done.repeated)


def _told(request: Dispatch) -> dict[str, Any]:
    """Return what makes a request equal to another: for Zenith's own tasks the same as before there were other applications."""
    told = asdict(request)
    if request.application == NATIVE_NAME:
        del told["application"]
    return told


def _write(prepared: _Prepared, origin: Origin) -> Dispatched:
    request, application, entry, arguments = prepared
    queue = request.queue or default_queue(entry, application)
    asked = None if application.is_native else asking_for(queue=request.queue, max_retries=request.max_retries)
    max_retries = entry.max_retries if request.max_retries is None else request.max_retries
    kwargs = json.dumps(request.kwargs)
    with transaction.atomic():
        batch = new_batch(entry.name, len(arguments), origin, application)
        tasks = [
            NewTask.of(
                application, queue=queue, args=json.dumps(args), kwargs=kwargs, priority=request.priority,
                max_retries=max_retries, not_before=request.not_before, time_limit=request.time_limit,
                soft_time_limit=request.soft_time_limit, expires_at=request.expires_at, extras=asked,
            )
            for args in arguments
        ]  # fmt: skip
        write_tasks(batch, tasks, application)
    return Dispatched(batch.id, [task.id for task in tasks], [task.celery_id for task in tasks])


def new_batch(task_name: str, size: int, origin: Origin, application: Application) -> Batch:
    """Insert a batch inside the open transaction; write_tasks() adds its tasks.

    Another application's tasks see only the headers that its own code would give them.
    """
    headers = {**_lineage_headers(), **correlation.carried()} if application.is_native else {}
    return Batch.objects.create(
        task_name=task_name, size=size, source=origin.source, sent_by=origin.sent_by[:200],
        user_id=origin.user_id, created_at=timezone.now(), headers=headers,
    )  # fmt: skip


def _lineage_headers() -> dict[str, str]:
    """Return Celery's parent and root headers if a task's body dispatches; otherwise none."""
    running = celery_app().current_worker_task
    if not (running and running.request.id):
        return {}
    id_ = jsonsafe.storable_text(running.request.id)
    return {PARENT_HEADER: id_, ROOT_HEADER: jsonsafe.storable_text(running.request.root_id or "") or id_}


def _sender() -> Sender:
    headers = _lineage_headers()
    return Sender(key_of(headers[PARENT_HEADER]), key_of(headers[ROOT_HEADER])) if headers else Sender()


def write_tasks(batch: Batch, tasks: Sequence[NewTask], application: Application) -> None:
    """Insert a batch's tasks inside the open transaction, and publish them once it is committed."""
    with connection.cursor() as cursor:
        newest = insert(cursor, batch, tasks, application.pk, _sender() if application.is_native else Sender())
    TaskMessage.objects.bulk_create(TaskMessage(task_id=task.id, extras=task.extras) for task in tasks if task.extras)
    transaction.on_commit(lambda: live.poke(newest))
    if application.is_native:
        transaction.on_commit(lambda: publish_batch(batch.id))
    else:
        transaction.on_commit(lambda: hand_over_batch(application, batch.id))


def inherited(task_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return, by task, the message extras that a replacement task inherits; tasks without any are left out."""
    rows = TaskMessage.objects.filter(task_id__in=task_ids).values_list("task_id", "extras")
    return {task_id: new for task_id, old in rows if (new := extras.for_another(old)) is not None}


def _validate(request: Dispatch, visible: Visible) -> tuple[Application, catalog.CatalogEntry, list[list[Any]]]:
    """Return the application, the catalogue entry and each task's positional arguments. Raises InvalidDispatchError."""
    application = named(request.application, visible)
    if watched := why_watched(application):
        raise InvalidDispatchError(Problem("/application", watched))
    entry = catalog.get(request.task, application)
    problems = list(_field_problems(request, application))
    if application.is_native and request.queue is None and (reason := why_reserved(default_queue(entry, application))):
        problems.append(Problem("/queue", reason))
    count = _count(request)
    if not 1 <= count <= MAX_COUNT:
        problems.append(Problem("/count", f"must be between 1 and {MAX_COUNT:,}"))
    elif isinstance(request.data, list) and len(request.data) != count:
        problems.append(Problem("/data", f"has {len(request.data)} items for {count} tasks: give one for each task"))
    if problems:
        raise InvalidDispatchError(*problems)
    arguments = _arguments(request, count)
    problems += _argument_problems(entry, request, arguments)
    if problems:
        raise InvalidDispatchError(*problems[:20])
    return application, entry, arguments


def _count(request: Dispatch) -> int:
    if request.count is not None:
        return request.count
    if isinstance(request.data, list):
        return len(request.data)
    return DEFAULT_COUNT if _uses_samples(request) else 1


def _uses_samples(request: Dispatch) -> bool:
    is_default = (request.application, request.task) == (NATIVE_NAME, DEFAULT_TASK)
    return is_default and request.data is None and not request.kwargs


def _arguments(request: Dispatch, count: int) -> list[list[Any]]:
    if isinstance(request.data, list):
        return [[item] for item in request.data]
    if _uses_samples(request):
        return [[SAMPLE_TEXTS[number % len(SAMPLE_TEXTS)]] for number in range(count)]
    return [[] if request.data is None else [request.data]] * count


def _field_problems(request: Dispatch, application: Application) -> Iterator[Problem]:
    yield from queue_problems(request.queue, request.priority, application)
    if request.max_retries is not None and (reason := why_not_retries(application)):
        yield Problem("/max_retries", reason)
    elif request.max_retries is not None and not 0 <= request.max_retries <= MAX_RETRIES:
        yield Problem("/max_retries", f"must be between 0 and {MAX_RETRIES}")
    if request.not_before is not None and request.not_before.tzinfo is None:
        yield Problem("/not_before", "needs a time zone, such as a final Z")
    yield from _limit_problems(request)
    yield from jsonsafe.problems(request.kwargs, "/kwargs")
    yield from jsonsafe.problems(request.data, "/data")


def queue_problems(queue: str | None, priority: int | None, application: Application) -> Iterator[Problem]:
    """Yield what is wrong with where a task is to go; None is always right.

    Only queues of Zenith's own application are keys in Zenith's Redis, so that some names are reserved.
    """
    if queue is not None and (reason := why_malformed(queue) or (application.is_native and why_reserved(queue))):
        yield Problem("/queue", reason)
    if priority is not None and not 0 <= priority <= MAX_PRIORITY:
        yield Problem("/priority", f"must be between 0 and {MAX_PRIORITY}")


def _limit_problems(request: Dispatch) -> Iterator[Problem]:
    for name in ("time_limit", "soft_time_limit"):
        seconds = getattr(request, name)
        if seconds is not None and not 1 <= seconds <= MAX_TIME_LIMIT:
            yield Problem(f"/{name}", f"must be between 1 and {MAX_TIME_LIMIT:,} seconds")
    if request.time_limit and request.soft_time_limit and request.soft_time_limit >= request.time_limit:
        yield Problem("/soft_time_limit", "must be shorter than time_limit")
    if request.expires_at is not None and request.expires_at.tzinfo is None:
        yield Problem("/expires_at", "needs a time zone, such as a final Z")
    elif request.expires_at is not None and request.expires_at <= max(timezone.now(), request.not_before or timezone.now()):
        yield Problem("/expires_at", "must be in the future and after not_before")


def _argument_problems(entry: catalog.CatalogEntry, request: Dispatch, arguments: list[list[Any]]) -> list[Problem]:
    """Check the arguments against the task's signature; if all tasks have the same, check them once."""
    has_own_data = isinstance(request.data, list)
    first = entry.first_argument
    effort = catalog.Effort()
    problems = []
    for index, args in enumerate(arguments if has_own_data else arguments[:1]):
        for problem in entry.problems(args, request.kwargs, effort):
            pointer = problem.pointer.removeprefix("/args/0")
            if pointer != problem.pointer:
                pointer = f"/data/{index}{pointer}" if has_own_data else f"/data{pointer}"
            elif pointer == f"/kwargs/{first}" and not args and first not in request.kwargs:
                pointer = "/data"
            problems.append(Problem(pointer, problem.detail))
        if len(problems) >= 20:
            break
    return problems
