"""`/api/v1/tasks`: dispatch, find, look into, cancel, run again, and change tasks."""

import json
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status

from tasks_app.api.quota import admit_trigger
from tasks_app.api.task_schemas import (
    MAX_CANCELLED,
    CancelAnswer,
    CancelMany,
    CancelOne,
    DispatchAnswer,
    DispatchRequest,
    EditRequest,
    RetryAnswer,
    RetryRequest,
    TaskDetailAnswer,
    TaskSummary,
)
from tasks_app.dispatch.cancel import Cancelled, cancel
from tasks_app.dispatch.create import Origin, dispatch_many
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.schedule import edit
from tasks_app.models import Task
from tasks_app.queries.detail import detail
from tasks_app.queries.tasks import TaskFilter, named, open_among
from tasks_app.queries.values import NAMES, whole
from zenith_site.auth.api import requires
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, Caller, audit_details, authorize, known_caller
from zenith_site.common.errors import StateConflictError
from zenith_site.common.idempotency import IdempotencyKey, answer_once
from zenith_site.common.openapi import link_header, problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.common.previews import SHOWN_ALONE

router = Router(tags=["tasks"])


@router.post(
    "", response={201: DispatchAnswer}, summary="Dispatch tasks", operation_id="dispatch_tasks",
    openapi_extra=problem_responses(HTTPStatus.TOO_MANY_REQUESTS), auth=requires(DISPATCH),
)  # fmt: skip
def dispatch_tasks(
    request: HttpRequest, response: HttpResponse, body: DispatchRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Write one dispatch or many different ones, in one transaction, and send the tasks to their queues.

    Counts as one trigger against the caller's rate limit.
    """
    caller = known_caller(request)
    admit_trigger(request, caller)
    asked = [one.to_dispatch() for one in body.dispatches]

    def act() -> DispatchAnswer:
        done = dispatch_many(asked, _origin(caller))
        audit_details(request, dispatches=len(asked), tasks=sum(len(one.ids) for one in done))
        return DispatchAnswer.of(done)

    answer = answer_once(request, response, caller, idempotency_key, body, act)
    return Status(HTTPStatus.CREATED, answer)


@router.get(
    "",
    response=list[TaskSummary],
    summary="List and search tasks, newest first",
    operation_id="search_tasks",
    openapi_extra=link_header(),
)
def list_tasks(request: HttpRequest, response: HttpResponse, chosen: Query[TaskFilter]) -> list[TaskSummary]:
    """Return one page; the field `Link: <…>; rel="next"` leads to the next where there is one.

    A search that no index answers looks at a limited number of tasks for each page. Such a page may be
    short, even empty, and still have a `Link`: following it searches on through older tasks.
    Of a long value a list holds the beginning, and `cut` names it.
    """
    caller = authorize(request, VIEW)
    refuse_unknown(request, TaskFilter)
    page = chosen.page(unmasked=caller.may(OPERATE))
    link_next(request, response, page.following)
    return [TaskSummary.of(found) for found in page.tasks]


@router.post("/cancel", response=CancelAnswer, summary="Cancel tasks", operation_id="cancel_tasks", auth=requires(OPERATE))
def cancel_many(request: HttpRequest, body: CancelMany) -> CancelAnswer:
    """Cancel the named tasks, or the open ones that match. `dry_run` only counts them."""
    caller = known_caller(request)
    ids, more = (list(dict.fromkeys(body.ids)), False) if body.ids else _matching(body)
    if body.dry_run:
        open_ones = len(open_among(ids))
        return CancelAnswer(matched=open_ones, revoked=0, running=0, finished=0, more=more, dry_run=True)
    known = list(Task.objects.filter(id__in=ids).values_list("id", flat=True)) if body.ids else ids
    done = cancel(sorted(known), by=caller.name, force=body.force)
    audit_details(request, revoked=done.revoked, running=done.running)
    return CancelAnswer.of(done, matched=done.revoked + done.running, more=more)


@router.post(
    "/{name:task_id}/cancel", response=CancelAnswer, summary="Cancel one task", operation_id="cancel_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), auth=requires(OPERATE),
)  # fmt: skip
def cancel_task(request: HttpRequest, task_id: str, body: CancelOne | None = None) -> CancelAnswer:
    """Cancel it for good. What runs goes on to its end (but is not tried again), unless `force` kills it."""
    caller = known_caller(request)
    task = _task(task_id)
    done = cancel([task.id], by=caller.name, force=bool(body and body.force))
    if done == Cancelled(0, 0, 1):
        raise StateConflictError(f"It has ended already: it is {_status(task)}.")
    return CancelAnswer.of(done, matched=1)


@router.post(
    "/{name:task_id}/retry", response={201: RetryAnswer}, summary="Run a task again", operation_id="retry_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), auth=requires(OPERATE),
)  # fmt: skip
def retry_task(
    request: HttpRequest,
    response: HttpResponse,
    task_id: str,
    body: RetryRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Send a task that ended once more, as a new task with the same arguments that points back at it.

    A dead letter that it left is replayed by this. It is done once, unless it is `forced`, which counts as a trigger.
    """
    caller = known_caller(request)
    asked = body or RetryRequest()
    if asked.forced:
        admit_trigger(request, caller)
    key = _task(task_id).id

    def act() -> RetryAnswer:
        new = run_again(key, _origin(caller), forced=asked.forced)
        if new is None:
            raise _unknown(task_id)
        audit_details(request, task=str(key), sent=str(new))
        return RetryAnswer(task_id=new, replay_of=key)

    return Status(HTTPStatus.CREATED, answer_once(request, response, caller, idempotency_key, asked, act))


@router.get(
    "/{name:task_id}/values/{value}", response=Any, summary="Show one value of a task in full", operation_id="show_task_value",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_value(request: HttpRequest, task_id: str, value: str) -> Any:
    """Return its `args`, `kwargs`, `result`, `error` or `traceback` as JSON, however long, without secrets. `cut` leads here."""
    authorize(request, VIEW)
    task = named(task_id).first()
    if task is None:
        raise _unknown(task_id)
    try:
        found = whole(task, value)
    except LookupError:
        raise Http404(f"This task has no {value[:50]!r}; there may be: {', '.join(NAMES)}.") from None
    return HttpResponse(json.dumps(found, ensure_ascii=False), content_type="application/json")


# An id takes slashes, so these stand behind the routes that go on after it.
@router.get(
    "/{name:task_id}", response=TaskDetailAnswer, summary="Show one task in full", operation_id="show_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_task(request: HttpRequest, task_id: str) -> TaskDetailAnswer:
    """Return the task with its timeline, its runs, its relatives, and why it is where it is."""
    authorize(request, VIEW)
    return _detail(task_id)


@router.patch(
    "/{name:task_id}", response=TaskDetailAnswer, summary="Change a scheduled task", operation_id="edit_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), auth=requires(OPERATE),
)  # fmt: skip
def edit_task(request: HttpRequest, task_id: str, body: EditRequest) -> TaskDetailAnswer:
    """Change when it is due, where it goes, or its arguments, as long as it is SCHEDULED; the timeline says by whom."""
    caller = known_caller(request)
    task = _task(task_id)
    if edit(task.id, body.to_changes(), by=caller.name) is None:
        raise StateConflictError(f"Only a scheduled task that nobody cancelled can be changed; this one is {_status(task)}.")
    return _detail(task_id)


def _matching(body: CancelMany) -> tuple[list[UUID], bool]:
    """Return the open tasks that a filter means, and whether more match."""
    if body.filter is None:
        return [], False
    found = body.filter.to_filter().open_ids(MAX_CANCELLED + 1)
    return found[:MAX_CANCELLED], len(found) > MAX_CANCELLED


def _origin(caller: Caller) -> Origin:
    return Origin(source="api", sent_by=caller.name, user_id=caller.user.pk)


def _detail(task_id: str) -> TaskDetailAnswer:
    found = detail(task_id, SHOWN_ALONE)
    if found is None:
        raise _unknown(task_id)
    return TaskDetailAnswer.of_detail(found)


def _task(task_id: str) -> Task:
    found = named(task_id).defer("args", "kwargs").first()
    if found is None:
        raise _unknown(task_id)
    return found


def _status(task: Task) -> str:
    task.refresh_from_db(fields=["status"])
    return task.status


def _unknown(task_id: str) -> Http404:
    return Http404(f"There is no task {task_id[:100]!r}.")
