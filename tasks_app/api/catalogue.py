"""The catalogue API: which tasks can be dispatched, and which arguments each takes."""

from http import HTTPStatus
from typing import Any

from django.http import Http404, HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, Field

from tasks_app import catalog
from tasks_app.catalog import CatalogEntry
from tasks_app.errors import DrillsOffError
from tasks_app.models import Application
from zenith_site.common.callers import VIEW, Caller, Shows, authorize
from zenith_site.common.openapi import problem_responses
from zenith_site.common.paging import refuse_unknown
from zenith_worker.wire.applications import NATIVE_NAME

router = Router(tags=["catalogue"])


class CatalogueQuery(BaseModel):
    """Whose catalogue."""

    application: str = Field(default=NATIVE_NAME, description="The name of an application; `zenith` is Zenith's own.")


class TaskKindAnswer(BaseModel):
    """A task that can be dispatched."""

    name: str
    application: str = Field(description="The application that runs it.")
    description: str = Field(description="The task's description, from its code.")
    queue: str | None = Field(
        description="The queue that it is sent to, unless a dispatch names another; null if its application did not tell."
    )
    max_retries: int | None = Field(description="Attempts after the first, unless a dispatch says otherwise; null if unlimited.")
    drill: bool = Field(description="Whether the task is a drill, which fails or crashes on purpose.")
    first_argument: str | None = Field(description="The argument that a dispatch fills with `data`.")
    arguments: dict[str, Any] = Field(description="JSON Schema (2020-12) of the task's arguments by name, with their defaults.")
    versions: int = Field(
        ge=0,
        description="How many different versions of the task run: several during a deploy, when arguments must fit all of them"
        " and `arguments` are those of the newest; 0 if no worker online has it; 1 if the web process has its code.",
    )

    @classmethod
    def of(cls, entry: CatalogEntry, application: Application) -> "TaskKindAnswer":
        """Return the response for an entry."""
        return cls.model_construct(
            name=entry.name, application=application.name, description=entry.description, queue=entry.queue,
            max_retries=entry.max_retries, drill=entry.drill, first_argument=entry.first_argument,
            arguments=entry.arguments_schema, versions=entry.versions,
        )  # fmt: skip


@router.get(
    "", response=list[TaskKindAnswer], summary="List the tasks that can be dispatched", operation_id="list_catalogue",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def list_catalogue(request: HttpRequest, query: Query[CatalogueQuery]) -> list[TaskKindAnswer]:
    """Return every task of an application that can be dispatched, by name. Drills only if `ZENITH_DRILLS` is on.

    Workers tell their tasks. With no worker online, these are the tasks of the newest one.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, CatalogueQuery)
    application = _application(query.application, caller)
    return [TaskKindAnswer.of(entry, application) for entry in catalog.offered(application).values()]


@router.get("/{name:name}", response=TaskKindAnswer, summary="Show a catalogue entry", operation_id="show_catalogue_entry")
def show_entry(request: HttpRequest, name: str, query: Query[CatalogueQuery]) -> TaskKindAnswer:
    """Return the catalogue entry with this name."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, CatalogueQuery)
    application = _application(query.application, caller)
    entry = catalog.offered(application).get(name)
    if entry is None and name in catalog.entries(application):
        raise Http404(str(DrillsOffError(name)))
    if entry is None:
        raise Http404(f"No task is called {name[:100]!r}.")
    return TaskKindAnswer.of(entry, application)


def _application(name: str, caller: Caller) -> Application:
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return application
