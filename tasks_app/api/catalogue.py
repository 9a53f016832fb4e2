"""The catalogue API: which tasks can be dispatched, and which arguments each takes."""

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
    description: str = Field(description="The task's description, from its code.")
    queue: str = Field(description="The queue that it is sent to, unless a dispatch names another.")
    max_retries: int | None = Field(description="Attempts after the first, unless a dispatch says otherwise; null if unlimited.")
    drill: bool = Field(description="Whether the task is a drill, which fails or crashes on purpose.")
    first_argument: str | None = Field(description="The argument that a dispatch fills with `data`.")
    arguments: dict[str, Any] = Field(description="JSON Schema (2020-12) of the task's arguments by name, with their defaults.")

    @classmethod
    def of(cls, entry: CatalogEntry) -> "TaskKindAnswer":
        """Return the response for an entry."""
        return cls.model_construct(
            name=entry.name, description=entry.description, queue=queue_of(entry.name), max_retries=entry.max_retries,
            drill=entry.drill, first_argument=entry.first_argument, arguments=entry.arguments_schema,
        )  # fmt: skip


@router.get("", response=list[TaskKindAnswer], summary="List the tasks that can be dispatched", operation_id="list_catalogue")
def list_catalogue(request: HttpRequest) -> list[TaskKindAnswer]:
    """Return every task that can be dispatched, by name. Drills are included only if `ZENITH_DRILLS` is on."""
    authorize(request, VIEW)
    return [TaskKindAnswer.of(entry) for entry in catalog.offered().values()]


@router.get("/{name:name}", response=TaskKindAnswer, summary="Show a catalogue entry", operation_id="show_catalogue_entry")
def show_entry(request: HttpRequest, name: str) -> TaskKindAnswer:
    """Return the catalogue entry with this name."""
    authorize(request, VIEW)
    entry = catalog.offered().get(name)
    if entry is None and name in catalog.entries():
        raise Http404(str(DrillsOffError(name)))
    if entry is None:
        raise Http404(f"No task is called {name[:100]!r}.")
    return TaskKindAnswer.of(entry)
