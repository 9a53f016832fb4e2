"""`/api/v1/batches`: the progress of each batch, and cancelling its open tasks."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Self
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from tasks_app.api.task_schemas import CancelAnswer, CancelOne
from tasks_app.dispatch.cancel import cancel
from tasks_app.queries import batches
from tasks_app.queries.batches import BatchDetail, BatchFilter, Progress
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Caller, Shows, audit_details, authorize, known_caller
from zenith_site.common.openapi import link_header, problem_responses
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_worker.wire.states import Status

router = Router(tags=["batches"])


class BatchAnswer(BaseModel):
    """A batch and its progress."""

    batch_id: UUID
    task_type: str
    source: str
    sent_by: str | None
    created_at: datetime
    total: int = Field(description="Number of tasks that were dispatched.")
    finished: int = Field(description="Number of tasks that have ended, with any outcome.")
    by_status: dict[Status, int] = Field(description="Number of tasks by status; a status without tasks is left out.")

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Return the response for a batch."""
        return cls.model_construct(**_members(progress))


class BatchDetailAnswer(BatchAnswer):
    """A batch in full."""

    finished_at: datetime | None = Field(description="When its last task ended; null while any task is open.")
    eta: datetime | None = Field(
        description="When the batch will finish at the last minute's pace; null if no task ended in that minute."
    )

    @classmethod
    def of_detail(cls, detail: BatchDetail) -> Self:
        """Return the response for a batch."""
        return cls.model_construct(**_members(detail.progress), finished_at=detail.finished_at, eta=detail.eta)


def _members(progress: Progress) -> dict[str, Any]:
    batch = progress.batch
    return {
        "batch_id": batch.id, "task_type": batch.task_name, "source": batch.source, "sent_by": batch.sent_by or None,
        "created_at": batch.created_at, "total": progress.total, "finished": progress.finished, "by_status": progress.counts,
    }  # fmt: skip


@router.get(
    "", response=list[BatchAnswer], summary="List batches, newest first", operation_id="list_batches", openapi_extra=link_header()
)
def list_batches(request: HttpRequest, response: HttpResponse, query: Query[BatchFilter]) -> list[BatchAnswer]:
    """Return one page of batches with their progress. The header `Link: <…>; rel="next"` points to the next page, if any."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, BatchFilter)
    page = query.limited_to(caller.applications).page()
    link_next(request, response, page.following)
    return [BatchAnswer.of(progress) for progress in page.batches]


@router.get(
    "/{batch_id}", response=BatchDetailAnswer, summary="Show one batch", operation_id="show_batch",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show_batch(request: HttpRequest, batch_id: str) -> BatchDetailAnswer:
    """Return the batch's progress, and an estimate of when it will finish."""
    return BatchDetailAnswer.of_detail(_batch(batch_id, authorize(request, VIEW, Shows.FILTERED)))


@router.post(
    "/{batch_id}/cancel", response=CancelAnswer, summary="Cancel the open tasks of a batch", operation_id="cancel_batch",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND), auth=requires(OPERATE, Shows.FILTERED),
)  # fmt: skip
def cancel_batch(request: HttpRequest, batch_id: str, body: CancelOne | None = None) -> CancelAnswer:
    """Cancel every open task of the batch. Running tasks finish, unless `force` kills them."""
    caller = known_caller(request)
    batch = _batch(batch_id, caller).progress.batch
    ids = batches.open_ids(batch.id)
    result = cancel(ids, by=caller.name, force=bool(body and body.force))
    audit_details(request, revoked=result.revoked, running=result.running, requested=result.requested)
    return CancelAnswer.of(result, matched=len(ids))


def _batch(batch_id: str, caller: Caller) -> BatchDetail:
    try:
        batch = batches.find(UUID(batch_id), caller.applications)
    except ValueError:
        batch = None
    if batch is None:
        raise Http404(f"There is no batch {batch_id[:100]!r}.")
    return batch
