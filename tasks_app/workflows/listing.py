"""Lists of workflows, newest first, with what became of their tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, Exists, OuterRef, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from tasks_app.models import Task, Workflow
from tasks_app.models.application import of_application, of_visible
from tasks_app.models.places import Place
from tasks_app.queries.tasks import Cursor
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.parameters import FilterText
from tasks_app.workflows.members import DEPTH
from tasks_app.workflows.status import WorkflowStatus, status_of
from zenith_site.common.sql import statements
from zenith_worker.wire.states import TERMINAL, Status

DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100
#: Tasks of one workflow that a list counts.
COUNTED: Final = 2_000
#: Workflows that one page reads to find those in a status.
SEARCHED: Final = 200
_COUNTS: Final = statements(__file__)["counts"].format(depth=DEPTH, most=COUNTED, roots=50_000)

FilterWorkflowStatus = Annotated[
    WorkflowStatus | None,
    BeforeValidator(lambda value: value or None),
    WithJsonSchema({"type": "string", "enum": [*(status.value for status in WorkflowStatus), ""]}),
]


@dataclass(frozen=True)
class Listed:
    """A workflow in a list. `counts`: its tasks by status, of which at most COUNTED are counted; planned parts are not."""

    id: UUID
    name: str
    application: str
    created_at: datetime
    counts: Mapping[Status, int]
    status: WorkflowStatus

    @property
    def total(self) -> int:
        """How many tasks it has."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """How many of them have ended, with any outcome."""
        return sum(count for status, count in self.counts.items() if status in TERMINAL)

    @property
    def capped(self) -> bool:
        """Whether it has more tasks than are counted."""
        return self.total >= COUNTED


@dataclass(frozen=True)
class WorkflowPage:
    """A page of workflows, and the filter for the next, if there is one; `searched_to`: until when, if it is not full."""

    workflows: Sequence[Listed]
    following: "WorkflowFilter | None"
    searched_to: datetime | None = None


class WorkflowFilter(LimitedFilter):
    """Which workflows to list. Owns the query and the links, for the page and the API alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: Cursor = Field(default="", description="Where to continue: taken from the `Link` of a page.")
    application: FilterText = Field(default="", description="Only workflows of the application with this name.")
    status: FilterWorkflowStatus = Field(
        default=None, description=f"Only workflows in this status; a page searches {SEARCHED} workflows for them."
    )

    def page(self) -> WorkflowPage:
        """Return the workflows of this page, in two queries."""
        read_most = SEARCHED if self.status else self.limit
        rows = list(self._rows()[: read_most + 1])
        read = rows[:read_most]
        listed = [item for item in _listed(read) if self.status in (None, item.status)]
        workflows = listed[: self.limit]
        if len(listed) > self.limit:
            return WorkflowPage(workflows, self._after(workflows[-1].created_at, workflows[-1].id))
        if len(rows) <= read_most:
            return WorkflowPage(workflows, None)
        searched_to = read[-1].created_at if len(workflows) < self.limit else None
        return WorkflowPage(workflows, self._after(read[-1].created_at, read[-1].id), searched_to)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _rows(self) -> "QuerySet[Workflow]":
        first = Task.objects.filter(id=OuterRef("id"))
        rows = (
            Workflow.objects.filter(of_visible(self._visible))
            # A part of a group may have a workflow of its own, which is shown in the group's.
            .exclude(Exists(first.filter(root_id__isnull=False)))
            .annotate(first_name=Subquery(first.values("name")[:1]))
            .select_related("application")
            .order_by("-created_at", "-id")
        )
        if self.application:
            rows = rows.filter(of_application(self.application))
        if self.cursor:
            sql = "(tasks_app_workflow.created_at, tasks_app_workflow.id) < (%s, %s)"
            rows = rows.filter(RawSQL(sql, Place.of_cursor(self.cursor), output_field=BooleanField()))  # noqa: S611
        return rows

    def _after(self, created_at: datetime, id_: UUID) -> "WorkflowFilter":
        return self.model_copy(update={"cursor": Place(created_at, id_).cursor})


def _listed(rows: Sequence[Any]) -> list[Listed]:
    counts: dict[UUID, dict[Status, int]] = {row.id: {} for row in rows}
    replayed = dict.fromkeys(counts, 0)
    oldest: dict[UUID, tuple[datetime, str]] = {}
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_COUNTS, {"ids": list(counts)})
            for id_, status, count, again, at, name in cursor.fetchall():
                counts[id_][Status(status)] = count
                replayed[id_] += again
                oldest[id_] = min(oldest.get(id_, (at, name)), (at, name))
    return [
        Listed(
            row.id, row.first_name or (oldest[row.id][1] if row.id in oldest else ""), row.application.name, row.created_at,
            counts[row.id], status_of(counts[row.id], replayed[row.id]),
        )
        for row in rows
    ]  # fmt: skip
