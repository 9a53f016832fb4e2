"""The events of all tasks, in the order in which they were committed: after one, before one, or the newest."""

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlencode

from django.db.models import Max, Min, Q, QuerySet
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from tasks_app.models import TaskEvent
from tasks_app.models.application import of_application, of_visible
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.parameters import DEFAULT_LIMIT, MAX_LIMIT, FilterStatus, FilterText
from zenith_site.common.errors import InvalidQueryError, Problem

#: The most events that one page reads: a filter that few events match must not read the whole history.
MAX_SCANNED: Final = 20_000
#: PostgreSQL's greatest bigint.
MAX_ID: Final = 2**63 - 1 - MAX_SCANNED

#: An id or, as forms send it, nothing.
_Id = Annotated[
    int | None,
    Field(ge=0, le=MAX_ID),
    BeforeValidator(lambda value: None if value == "" else value),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_ID}, {"type": "string", "enum": [""]}]}),
]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events by their ids, ascending.

    Attributes:
        after: the id to continue after, also if the page is empty.
        before: the id to go back before, or None if nothing older is kept.
        more: whether there are more events in the requested direction.
    """

    events: list[TaskEvent]
    after: int
    before: int | None
    more: bool


class EventFilter(LimitedFilter):
    """Which events to list. Ids follow the commits, so "after N" never misses one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: _Id = Field(default=None, description="Only events after the one with this id, oldest first.")
    before: _Id = Field(default=None, description="Only events before the one with this id: the newest of them.")
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    task: FilterText = Field(default="", description="Only events of tasks with this name.")
    status: FilterStatus = Field(default=None, description="Only events with this status.")
    queue: FilterText = Field(default="", description="Only events of tasks in this queue.")
    worker: FilterText = Field(default="", description="Only events at this worker.")
    application: FilterText = Field(default="", description="Only events of tasks of the application with this name.")

    @model_validator(mode="after")
    def _one_way(self) -> "EventFilter":
        if self.after is not None and self.before is not None:
            raise InvalidQueryError(Problem("before", "use either this or `after`, not both"))
        return self

    def page(self) -> EventPage:
        """Return one page: after an id, before one, or the newest; two queries.

        A page reads MAX_SCANNED ids at most, so it may be short; `more` and the ids tell where to continue.
        """
        return self._following(self.after) if self.after is not None else self._preceding()

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _following(self, after: int) -> EventPage:
        oldest, newest = _kept_ids()
        # Ids older than everything kept need not be scanned.
        after = max(after, oldest - 1) if self._filters() else after
        last = min(after + MAX_SCANNED, newest) if self._filters() else newest
        events = list(self._query(id__gt=after, id__lte=last).order_by("id")[: self.limit + 1])
        full = len(events) > self.limit
        events = events[: self.limit]
        # No id up to `last` matches. Never go back, even if the given id does not exist yet.
        reached = events[-1].id if full else max(after, last)
        return EventPage(events, reached, after + 1, full or reached < newest)

    def _preceding(self) -> EventPage:
        oldest, newest = _kept_ids()
        end = newest + 1 if self.before is None else min(self.before, newest + 1)
        first = max(0, end - 1 - MAX_SCANNED) if self._filters() else 0
        events = list(self._query(id__lt=end, id__gt=first).order_by("-id")[: self.limit + 1])
        full = len(events) > self.limit
        events = events[: self.limit][::-1]
        reached = events[0].id if full else first + 1
        more = full or first >= oldest
        return EventPage(events, end - 1, reached if more else None, more)

    def _filters(self) -> bool:
        return bool(self.task or self.status or self.queue or self.worker or self.application or self._visible is not None)

    def _query(self, **bounds: int) -> QuerySet[TaskEvent]:
        columns = {"task__name": self.task, "status": self.status, "task__queue": self.queue, "worker": self.worker}
        filters = {name: value for name, value in columns.items() if value}
        owned = of_application(self.application, "task__application") if self.application else Q()
        seen = of_visible(self._visible, "task__application")
        return (
            TaskEvent.objects.filter(owned, seen, **bounds, **filters)
            .select_related("task")
            .only(
                "id",
                "task_id",
                "status",
                "position",
                "at",
                "worker",
                "message",
                "task__name",
                "task__queue",
                "task__text_id",
                "task__application_id",
            )
        )


def _kept_ids() -> tuple[int, int]:
    """Return the ids of the oldest and the newest event, or 1 and 0 if there is none."""
    ids = TaskEvent.objects.aggregate(oldest=Min("id"), newest=Max("id"))
    return ids["oldest"] or 1, ids["newest"] or 0
