"""The original's task paths: trigger, list, one. Scripts written for it call these."""

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router

from tasks_app.api.quota import admit_trigger
from tasks_app.api.schemas import TaskAnswer, TriggerAnswer, TriggerRequest
from tasks_app.dispatch.create import Origin, dispatch
from tasks_app.queries import tasks
from tasks_app.queries.tasks import TaskFilter
from zenith_site.auth.api import requires
from zenith_site.common.callers import DISPATCH, OPERATE, VIEW, audit_details, authorize, known_caller
from zenith_site.common.idempotency import REPLAYED, IdempotencyKey
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.common.previews import SHOWN_ALONE

router = Router(tags=["tasks"])


@router.post(
    "/tasks/trigger",
    response=TriggerAnswer,
    summary="Dispatch tasks",
    operation_id="trigger",
    auth=requires(DISPATCH),
)
def trigger(
    request: HttpRequest,
    response: HttpResponse,
    body: TriggerRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> TriggerAnswer:
    """Write the tasks and send them to their queue.

    Limited per caller; the `RateLimit` field says what is left. With an `Idempotency-Key` the
    same request can be sent again within a day: it gets the first one's answer, marked with
    `Idempotent-Replayed: true`, and nothing is dispatched twice.
    """
    caller = known_caller(request)
    admit_trigger(request, caller)
    done = dispatch(
        (body or TriggerRequest()).to_dispatch(),
        Origin(
            source="api",
            sent_by=caller.name,
            user_id=caller.user.pk,
            idempotency_key=idempotency_key,
        ),
    )
    audit_details(request, tasks=len(done.ids), batch=str(done.batch_id))
    if done.repeated:
        response[REPLAYED] = "true"
    return TriggerAnswer.of(done)


@router.get(
    "/tasks/all",
    response=list[TaskAnswer],
    summary="List tasks, newest first",
    operation_id="list_tasks",
)
def list_tasks(request: HttpRequest, response: HttpResponse, chosen: Query[TaskFilter]) -> list[TaskAnswer]:
    """Return one page; the field `Link: <…>; rel="next"` leads to the next where there is one.

    Of a long value a list holds the beginning, and `cut` names it.
    """
    caller = authorize(request, VIEW)
    refuse_unknown(request, TaskFilter)
    page = chosen.page(unmasked=caller.may(OPERATE))
    link_next(request, response, page.following)
    return [TaskAnswer.of(found) for found in page.tasks]


@router.get(
    "/task-status/{name:task_id}",
    response=TaskAnswer,
    summary="Show one task",
    operation_id="task_status",
)
def task_status(request: HttpRequest, task_id: str) -> TaskAnswer:
    """Return the task with this id. Of a value of more than a million characters it holds the beginning, and `cut` names it."""
    authorize(request, VIEW)
    found = tasks.find(task_id, SHOWN_ALONE)
    if found is None:
        raise Http404(f"There is no task {task_id[:100]!r}.")
    return TaskAnswer.of(found)
