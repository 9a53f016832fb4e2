"""Batches and their progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, Q
from django.utils import timezone
from pydantic import ConfigDict, Field

from tasks_app.models import Batch, Task
from tasks_app.models.application import Visible, of_application, of_visible
from tasks_app.models.places import Place
from tasks_app.queries.tasks import Cursor
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.parameters import FilterText
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import OPEN, TERMINAL, Status

DEFAULT_LIMIT: Final = 20
#: Each batch's tasks are counted: ten thousand at most.
MAX_LIMIT: Final = 100
#: The time over which a batch's speed is measured, to estimate when it ends.
WINDOW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch's progress. `counts`: the number of its tasks in each status that any of them has."""

    batch: Batch
    counts: dict[Status, int]

    @property
    def total(self) -> int:
        """How many tasks were dispatched."""
        return self.batch.size

    @property
    def finished(self) -> int:
        """How many tasks have ended, with any outcome."""
        return sum(count for status, count in self.counts.items() if status in TERMINAL)


@dataclass(frozen=True, slots=True)
class BatchDetail:
    """One batch. `finished_at` is None while any of its tasks is open; `eta` is None if no task ended recently."""

    progress: Progress
    finished_at: datetime | None
    eta: datetime | None


@dataclass(frozen=True)
class BatchPage:
    """A page of batches, newest first, and the filter for the next page, if there is one."""

    batches: list[Progress]
    following: "BatchFilter | None"


class BatchFilter(LimitedFilter):
    """Which batches to list. Owns the query and the links, for the page and the API alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: Cursor = Field(default="", description="Where to continue: taken from the `Link` of a page.")
    task: FilterText = Field(default="", description="Only batches of tasks of this name.")
    application: FilterText = Field(default="", description="Only batches of tasks of the application with this name.")

    def page(self) -> BatchPage:
        """Return the batches and their progress, in two queries."""
        query = Batch.objects.order_by("-id")
        if self.task:
            query = query.filter(task_name=self.task)
        if self.cursor:
            query = query.filter(id__lt=Place.of_cursor(self.cursor).id)
        if self.application or self._visible is not None:
            query = query.filter(self._has_application())
        rows = list(query[: self.limit + 1])
        batches = rows[: self.limit]
        has_more = len(rows) > self.limit
        following = self.model_copy(update={"cursor": Place(batches[-1].created_at, batches[-1].id).cursor}) if has_more else None
        return BatchPage(_with_progress(batches), following)

    def _has_application(self) -> Q:
        """Return the condition that the application of a batch's tasks, which is the same for all, is requested and visible."""
        tasks = Task.objects.filter(of_visible(self._visible))
        if self.application:
            tasks = tasks.filter(of_application(self.application))
        has_native = self.application in ("", NATIVE_NAME) and (self._visible is None or NATIVE_NAME in self._visible)
        if has_native or self.task:
            return Q(Exists(tasks.filter(batch=OuterRef("id"))))
        # Few of all batches may be of another application, so its tasks are read and not the batches.
        tasks = tasks.filter(batch__isnull=False)
        if self.cursor:
            tasks = tasks.filter(batch_id__lt=Place.of_cursor(self.cursor).id)
        return Q(id__in=tasks.order_by("-batch_id").values("batch_id").distinct()[: self.limit + 1])

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))


def find(batch_id: UUID, visible: Visible = None) -> BatchDetail | None:
    """Return one batch, in three queries, or None for an unknown id, or one of tasks that the caller may not see."""
    batches = Batch.objects.filter(id=batch_id)
    if visible is not None:
        batches = batches.filter(Exists(Task.objects.filter(of_visible(visible), batch=OuterRef("id"))))
    batch = batches.first()
    if batch is None:
        return None
    (progress,) = _with_progress([batch])
    now = timezone.now()
    ended = Task.objects.filter(batch=batch, status__in=TERMINAL).aggregate(
        last=Max("finished_at"), recent=Count("id", filter=Q(finished_at__gt=now - WINDOW))
    )
    unfinished = sum(count for status, count in progress.counts.items() if status in OPEN)
    eta = now + WINDOW * (unfinished / ended["recent"]) if unfinished and ended["recent"] else None
    return BatchDetail(progress, None if unfinished else ended["last"], eta)


def open_ids(batch_id: UUID) -> list[UUID]:
    """Return the ids of a batch's tasks that have not ended."""
    return list(Task.objects.filter(batch_id=batch_id, status__in=OPEN).order_by("id").values_list("id", flat=True))


def _with_progress(batches: Sequence[Batch]) -> list[Progress]:
    counts: dict[UUID, dict[Status, int]] = {batch.id: {} for batch in batches}
    rows = Task.objects.filter(batch__in=batches).order_by().values_list("batch_id", "status").annotate(Count("id"))
    for batch_id, status, count in rows:
        if batch_id is not None:
            counts[batch_id][Status(status)] = count
    return [Progress(batch, counts[batch.id]) for batch in batches]
