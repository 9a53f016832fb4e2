"""`/api/v1/tasks`: dispatch, search, show, cancel, run again and change tasks."""

import json
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status

from tasks_app.api.quota import admit_trigger
from tasks_app.api.task_log_schemas import TaskLogAnswer, TaskLogQuery
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
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.cancelled import Cancelled
from tasks_app.dispatch.create import Origin, dispatch_many
from tasks_app.dispatch.rerun import run_again
from tasks_app.dispatch.schedule import edit
from tasks_app.models import Task
from tasks_app.models.application import Visible
from tasks_app.models.task_keys import first_meant
from tasks_app.queries.detail import detail
from tasks_app.queries.task_logs import read_forward
from tasks_app.queries.tasks import TaskFilter, named, open_among
from tasks_app.queries.values import NAMES, whole
from zenith_site.auth.api import requires
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, Caller, Shows, audit_details, authorize, known_caller
from zenith_site.common.errors import StateConflictError
from zenith_site.common.idempotency import IdempotencyKey, answer_once
from zenith_site.common.openapi import link_header, problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.common.previews import SHOWN_ALONE

router = Router(tags=["tasks"])


@router.post(
    "", response={201: DispatchAnswer}, summary="Dispatch tasks", operation_id="dispatch_tasks",
    openapi_extra=problem_responses(HTTPStatus.TOO_MANY_REQUESTS), auth=requires(DISPATCH, Shows.FILTERED),
)  # fmt: skip
def dispatch_tasks(
    request: HttpRequest, response: HttpResponse, body: DispatchRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Store one dispatch or several, in one transaction, and send the tasks to their queues.

    Counts as one trigger against the caller's rate limit.
    """
    caller = known_caller(request)
    admit_trigger(request, caller)
    dispatches = [item.to_dispatch() for item in body.dispatches]

    def act() -> DispatchAnswer:
        batches = dispatch_many(dispatches, Origin.of(caller, "api"))
        audit_details(request, dispatches=len(dispatches), tasks=sum(len(batch.ids) for batch in batches))
        return DispatchAnswer.of(batches)

    answer = answer_once(request, response, caller, idempotency_key, body, act)
    return Status(HTTPStatus.CREATED, answer)


@router.get(
    "",
    response=list[TaskSummary],
    summary="List and search tasks, newest first",
    operation_id="search_tasks",
    openapi_extra=link_header(),
)
def list_tasks(request: HttpRequest, response: HttpResponse, query: Query[TaskFilter]) -> list[TaskSummary]:
    """Return one page. The header `Link: <…>; rel="next"` points to the next page, if any.

    A search that no index supports scans a limited number of tasks per page. Such a page may be short or even
    empty and still have a `Link`: follow it to continue with older tasks.
    Long values are cut to their beginning; `cut` names them.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, TaskFilter)
    page = query.limited_to(caller.applications).page(unmasked=caller.may(OPERATE))
    link_next(request, response, page.following)
    return [TaskSummary.of(item) for item in page.tasks]


@router.post(
    "/cancel", response=CancelAnswer, summary="Cancel tasks", operation_id="cancel_tasks",
    openapi_extra=problem_responses(HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT), auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def cancel_many(request: HttpRequest, body: CancelMany) -> CancelAnswer:
    """Cancel the tasks with these ids, or the open tasks that match a filter. With `dry_run`, only count them."""
    caller = known_caller(request)
    visible = caller.applications
    ids, more = (first_meant(body.ids, visible), False) if body.ids else _matching(body, visible)
    if body.dry_run:
        open_count = len(open_among(ids))
        return CancelAnswer(matched=open_count, revoked=0, running=0, finished=0, more=more, dry_run=True)
    result = cancel(sorted(ids), by=caller.name, force=body.force)
    audit_details(request, revoked=result.revoked, running=result.running, requested=result.requested)
    return CancelAnswer.of(result, matched=result.revoked + result.running + result.requested, more=more)


@router.post(
    "/{name:task_id}/cancel", response=CancelAnswer, summary="Cancel one task", operation_id="cancel_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT),
    auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def cancel_task(request: HttpRequest, task_id: str, body: CancelOne | None = None) -> CancelAnswer:
    """Cancel a task for good. A running task finishes, but is not retried; `force` kills it.

    The workers of another application are asked to refuse its task; they tell when they have. Those of a watched one are asked
    now or not at all.
    """
    caller = known_caller(request)
    task = _task(task_id, caller)
    result = cancel([task.id], by=caller.name, force=bool(body and body.force))
    if result == Cancelled(0, 0, 1):
        raise StateConflictError(f"This task has already ended: it is {_status(task)}.")
    return CancelAnswer.of(result, matched=1)


@router.post(
    "/{name:task_id}/retry", response={201: RetryAnswer}, summary="Run a task again", operation_id="retry_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def retry_task(
    request: HttpRequest,
    response: HttpResponse,
    task_id: str,
    body: RetryRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Dispatch a new task with the arguments of one that has ended; `replay_of` names the old task.

    If the task left a dead letter, this replays it. A task is run again once, unless the request is `forced`, which
    counts as a trigger.
    """
    caller = known_caller(request)
    options = body or RetryRequest()
    if options.forced:
        admit_trigger(request, caller)
    key = _task(task_id, caller).id

    def act() -> RetryAnswer:
        new_id = run_again(key, Origin.of(caller, "api"), forced=options.forced)
        if new_id is None:
            raise _unknown(task_id)
        audit_details(request, task=str(key), sent=str(new_id))
        return RetryAnswer(task_id=new_id, replay_of=key)

    return Status(HTTPStatus.CREATED, answer_once(request, response, caller, idempotency_key, options, act))


@router.get(
    "/{name:task_id}/values/{value}", response=Any, summary="Show one value of a task in full", operation_id="show_task_value",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_value(request: HttpRequest, task_id: str, value: str) -> Any:
    """Return `args`, `kwargs`, `result`, `error` or `traceback` in full, as JSON; secrets are masked. `cut` points here."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    task = named(task_id, caller.applications).first()
    if task is None:
        raise _unknown(task_id)
    try:
        whole_value = whole(task, value)
    except LookupError:
        raise Http404(f"This task has no {value[:50]!r}; possible values are {', '.join(NAMES)}.") from None
    return HttpResponse(json.dumps(whole_value, ensure_ascii=False), content_type="application/json")


@router.get(
    "/{name:task_id}/logs", response=TaskLogAnswer, summary="Read what a task logged", operation_id="read_task_log",
    openapi_extra={"responses": {**problem_responses(HTTPStatus.NOT_FOUND)["responses"], **link_header()["responses"]}},
)  # fmt: skip
def read_log(request: HttpRequest, response: HttpResponse, task_id: str, query: Query[TaskLogQuery]) -> TaskLogAnswer:
    """Return lines, oldest first, with secrets masked. To go on, or to follow the log, ask again with `after`.

    The header `Link: <…>; rel="next"` points to the next page, if there are more lines by now. Lines are kept for
    `ZENITH_TASK_LOG_DAYS`, the newest of each task; a task of a watched application has none.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, TaskLogQuery)
    page = read_forward(_task(task_id, caller), query.after, query.limit, query.to_filter())
    link_next(request, response, query.model_copy(update={"after": page.after}) if page.more else None)
    return TaskLogAnswer.of(page)


# An id may contain slashes, so these routes come after the more specific ones.
@router.get(
    "/{name:task_id}", response=TaskDetailAnswer, summary="Show one task in full", operation_id="show_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_task(request: HttpRequest, task_id: str) -> TaskDetailAnswer:
    """Return the task with its timeline, its runs, its relatives, and an explanation of its status."""
    return _detail(task_id, authorize(request, VIEW, Shows.FILTERED))


@router.patch(
    "/{name:task_id}", response=TaskDetailAnswer, summary="Change a scheduled task", operation_id="edit_task",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def edit_task(request: HttpRequest, task_id: str, body: EditRequest) -> TaskDetailAnswer:
    """Change a SCHEDULED task's time, queue, priority or arguments. The timeline records who changed it."""
    caller = known_caller(request)
    task = _task(task_id, caller)
    if edit(task.id, body.to_changes(), by=caller.name) is None:
        raise StateConflictError(f"Only a scheduled task that is not cancelled can be changed; this one is {_status(task)}.")
    return _detail(task_id, caller)


def _matching(body: CancelMany, visible: Visible) -> tuple[list[UUID], bool]:
    """Return the ids of the open tasks that match the filter, and whether there are more."""
    if body.filter is None:
        return [], False
    ids = body.filter.to_filter().limited_to(visible).open_ids(MAX_CANCELLED + 1)
    return ids[:MAX_CANCELLED], len(ids) > MAX_CANCELLED


def _detail(task_id: str, caller: Caller) -> TaskDetailAnswer:
    task_detail = detail(task_id, SHOWN_ALONE, caller.applications)
    if task_detail is None:
        raise _unknown(task_id)
    return TaskDetailAnswer.of_detail(task_detail)


def _task(task_id: str, caller: Caller) -> Task:
    task = named(task_id, caller.applications).defer("args", "kwargs").first()
    if task is None:
        raise _unknown(task_id)
    return task


def _status(task: Task) -> str:
    task.refresh_from_db(fields=["status"])
    return task.status


def _unknown(task_id: str) -> Http404:
    return Http404(f"There is no task {task_id[:100]!r}.")
