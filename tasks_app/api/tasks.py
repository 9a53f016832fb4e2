"""The original's task paths: trigger, list, one. Scripts written for it call these."""

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router

from tasks_app.api.quota import admit_trigger
from tasks_app.api.schemas import TaskAnswer, TriggerAnswer, TriggerRequest
from tasks_app.dispatch.create import Origin, dispatch
from tasks_app.queries import tasks
from tasks_app.queries.tasks import TaskFilter
from zenith_site.auth.api import requires
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.idempotency import REPLAYED, IdempotencyKey
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.common.previews import SHOWN_ALONE

router = Router(tags=["tasks"])


@router.post(
    "/tasks/trigger",
    response=TriggerAnswer,
    summary="Dispatch tasks",
    operation_id="trigger",
    auth=requires(DISPATCH, Shows.FILTERED),
)
def trigger(
    request: HttpRequest,
    response: HttpResponse,
    body: TriggerRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> TriggerAnswer:
    """Store the tasks and send them to their queue.

    The number of requests per caller is limited; the `RateLimit` header gives the remaining quota. With an
    `Idempotency-Key`, the request can be repeated within a day: it gets the first request's response, marked with
    `Idempotent-Replayed: true`, and nothing is dispatched twice.
    """
    caller = known_caller(request)
    admit_trigger(request, caller)
    batch = dispatch(
        (body or TriggerRequest()).to_dispatch(),
        Origin.of(caller, "api", idempotency_key=idempotency_key),
    )
    audit_details(request, tasks=len(batch.ids), batch=str(batch.batch_id))
    if batch.repeated:
        response[REPLAYED] = "true"
    return TriggerAnswer.of(batch)


@router.get(
    "/tasks/all",
    response=list[TaskAnswer],
    summary="List tasks, newest first",
    operation_id="list_tasks",
)
def list_tasks(request: HttpRequest, response: HttpResponse, query: Query[TaskFilter]) -> list[TaskAnswer]:
    """Return one page. The header `Link: <…>; rel="next"` points to the next page, if any.

    Long values are cut to their beginning; `cut` names them.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, TaskFilter)
    page = query.limited_to(caller.applications).page(unmasked=caller.may(OPERATE))
    link_next(request, response, page.following)
    return [TaskAnswer.of(item) for item in page.tasks]


@router.get(
    "/task-status/{name:task_id}",
    response=TaskAnswer,
    summary="Show one task",
    operation_id="task_status",
)
def task_status(request: HttpRequest, task_id: str) -> TaskAnswer:
    """Return the task with this id. Values of more than a million characters are cut to their beginning; `cut` names them."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    item = tasks.find(task_id, SHOWN_ALONE, caller.applications)
    if item is None:
        raise Http404(f"There is no task {task_id[:100]!r}.")
    return TaskAnswer.of(item)
