"""`/api/v1/applications`: Zenith's own application, those whose workers report to it, and those that it watches."""

from datetime import datetime

from django.http import Http404, HttpRequest
from ninja import Router
from pydantic import BaseModel, Field

from tasks_app.models.application import Kind
from tasks_app.queries import applications
from tasks_app.queries.applications import ApplicationView
from tasks_app.queries.status_counts import COUNTED_TO
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_worker.wire.states import Status

router = Router(tags=["applications"])


class ObserverAnswer(BaseModel):
    """What the observer of a watched application says of itself."""

    listens: bool = Field(description="Whether it is connected to the application's broker.")
    reason: str = Field(description="Why it is not, or what it cannot do.")
    events: int = Field(ge=0, description="Events that it has received since it started.")
    lost: int = Field(ge=0, description="How many of them were dropped because Zenith could not keep up.")
    odd: int = Field(ge=0, description="How many of them were not as Celery writes them.")


class ApplicationAnswer(BaseModel):
    """A Celery application."""

    name: str
    kind: Kind = Field(
        description="`native`: Zenith's own. `attached`: its workers report to Zenith. `watched`: Zenith listens to what its"
        " workers tell everybody, and sends it nothing."
    )
    main: str = Field(description="The main name of the Celery app; empty if it has none.")
    celery_version: str = Field(description="As its newest process announced it.")
    python_version: str = Field(description="As its newest process announced it.")
    isolated: bool = Field(description="Whether it has a Redis user of its own, which may write nothing else.")
    first_heard_at: datetime | None
    last_heard_at: datetime | None
    workers_online: int = Field(ge=0, description="Workers with a recent heartbeat.")
    tasks_by_status: dict[Status, int] | None = Field(
        description=f"How many of its tasks are in each status, up to {COUNTED_TO:,} each, without empty statuses; null for"
        " Zenith's own application (`/analytics/stats` has figures)."
    )
    reports_dropped: int = Field(
        ge=0, description="Reports that its processes dropped because Zenith's Redis was unreachable for too long."
    )
    guards: list[str] | None = Field(
        description="The guards that each of its workers online has, such as `claims`, `claims:closed`, `recovery` and `retries`;"
        " null if no worker is online, for watched applications, and for Zenith's own, whose workers do all of that without being"
        " asked."
    )
    guards_partial: list[str] = Field(
        description="The guards that only some of its workers online have, such as during a rolling deploy: nothing can rely on"
        " them."
    )
    observer: ObserverAnswer | None = Field(description="Null unless the application is watched and its observer runs.")

    @classmethod
    def of(cls, view: ApplicationView) -> "ApplicationAnswer":
        """Return the response for an application."""
        row, guards, state = view.application, view.guards, view.observer
        return cls.model_construct(
            name=row.name, kind=Kind(row.kind), main=row.main, celery_version=row.celery_version,
            python_version=row.python_version, isolated=row.isolated, first_heard_at=row.first_heard_at,
            last_heard_at=row.last_heard_at, workers_online=view.online,
            tasks_by_status=None if view.by_status is None else dict(view.by_status), reports_dropped=view.dropped,
            guards=list(guards.shared) if guards and guards.workers else None,
            guards_partial=list(guards.partial if guards else ()),
            observer=None
            if state is None
            else ObserverAnswer.model_construct(
                listens=state.listens, reason=state.reason, events=state.events, lost=state.lost, odd=state.odd
            ),
        )  # fmt: skip


@router.get("", response=list[ApplicationAnswer], summary="List applications", operation_id="list_applications")
def list_applications(request: HttpRequest) -> list[ApplicationAnswer]:
    """Return Zenith's own application, then the others, by name."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    return [ApplicationAnswer.of(view) for view in applications.applications(caller.applications)]


@router.get("/{name:name}", response=ApplicationAnswer, summary="Show one application", operation_id="show_application")
def show_application(request: HttpRequest, name: str) -> ApplicationAnswer:
    """Return the application with this name."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    view = applications.find(name) if caller.sees(name) else None
    if view is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return ApplicationAnswer.of(view)
