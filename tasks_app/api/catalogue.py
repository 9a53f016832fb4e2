"""The catalogue for programs: which tasks can be dispatched, and what arguments each takes."""

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Router
from pydantic import BaseModel, Field

from tasks_app import catalog
from tasks_app.catalog import CatalogEntry
from tasks_app.dispatch.message import queue_of
from tasks_app.errors import DrillsOffError
from zenith_site.common.callers import VIEW, authorize

router = Router(tags=["catalogue"])


class TaskKindAnswer(BaseModel):
    """A task that can be dispatched."""

    name: str
    description: str = Field(description="What its code says about it.")
    queue: str = Field(description="Where it is sent unless a dispatch names another.")
    max_retries: int | None = Field(description="Attempts after the first, unless a dispatch says otherwise; null for no bound.")
    drill: bool = Field(description="Whether it is there to try failures on purpose.")
    first_argument: str | None = Field(description="The argument that `data` of a dispatch fills.")
    arguments: dict[str, Any] = Field(description="JSON Schema (2020-12) of its arguments by name, with their defaults.")

    @classmethod
    def of(cls, entry: CatalogEntry) -> "TaskKindAnswer":
        """Return the answer for an entry."""
        return cls.model_construct(
            name=entry.name, description=entry.description, queue=queue_of(entry.name), max_retries=entry.max_retries,
            drill=entry.drill, first_argument=entry.first_argument, arguments=entry.arguments_schema,
        )  # fmt: skip


@router.get("", response=list[TaskKindAnswer], summary="List what can be dispatched", operation_id="list_catalogue")
def list_catalogue(request: HttpRequest) -> list[TaskKindAnswer]:
    """Return every task that can be sent here, by name; drills only where `ZENITH_DRILLS` is on."""
    authorize(request, VIEW)
    return [TaskKindAnswer.of(entry) for entry in catalog.offered().values()]


@router.get("/{name:name}", response=TaskKindAnswer, summary="Show one kind of task", operation_id="show_catalogue_entry")
def show_entry(request: HttpRequest, name: str) -> TaskKindAnswer:
    """Return the task of this name."""
    authorize(request, VIEW)
    entry = catalog.offered().get(name)
    if entry is None and name in catalog.entries():
        raise Http404(str(DrillsOffError(name)))
    if entry is None:
        raise Http404(f"No task is called {name[:100]!r}.")
    return TaskKindAnswer.of(entry)
