"""`/api/v1/applications`: Zenith's own application, those whose workers report to it, and those that it watches."""

from datetime import datetime
from http import HTTPStatus

from django.http import Http404, HttpRequest
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.diagnosis.diagnose import Diagnosis
from tasks_app.diagnosis.findings import Finding, Severity, Subject
from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.models import Application
from tasks_app.models.application import Kind
from tasks_app.queries import applications
from tasks_app.queries.applications import ApplicationView
from tasks_app.queries.status_counts import COUNTED_TO
from tasks_app.search.parameters import FilterText
from tasks_app.watching.brokers import serializers_of
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.openapi import problem_responses
from zenith_site.common.paging import refuse_unknown
from zenith_worker.wire.states import Status

router = Router(tags=["applications"])


class ObserverAnswer(BaseModel):
    """What the observer of a watched application says of itself."""

    listens: bool = Field(description="Whether it is connected to the application's broker.")
    reason: str = Field(description="Why it is not, or what it cannot do.")
    events: int = Field(ge=0, description="Events that it has received since it started.")
    lost: int = Field(ge=0, description="How many of them were dropped because Zenith could not keep up.")
    odd: int = Field(ge=0, description="How many of them were not as Celery writes them.")


class WatchingAnswer(BaseModel):
    """How an application is watched; nothing of its broker's URL."""

    has_url: bool = Field(description="Whether its broker's URL is stored; false: it is not watched any more.")
    key_prefix: str
    serializers: list[str]
    enable_events: bool = Field(description="Whether Zenith asks its workers to send events.")


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
    watching: WatchingAnswer | None = Field(description="Null unless the application is watched.")
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
            watching=WatchingAnswer.model_construct(
                has_url=bool(row.broker), key_prefix=row.key_prefix, serializers=list(serializers_of(row)),
                enable_events=row.enables_events,
            )
            if row.is_watched
            else None,
            observer=None
            if state is None
            else ObserverAnswer.model_construct(
                listens=state.listens, reason=state.reason, events=state.events, lost=state.lost, odd=state.odd
            ),
        )  # fmt: skip


class FindingAnswer(BaseModel):
    """One thing that is wrong with an application."""

    rule: str = Field(description="The id of the rule that found it; docs/diagnosis.md lists them.", examples=["no-consumer"])
    severity: Severity = Field(description="; ".join(f"`{one.value}`: {one.sentence}" for one in Severity))
    title: str
    sentence: str = Field(description="What is wrong, with its numbers, and what it means for tasks.")
    proof: str = Field(description="How to see that it is so.")
    mend: str = Field(description="What to do.")
    subject: Subject = Field(description="What it is about.")
    name: str = Field(description="The name of the queue, worker, task or schedule that it is about; empty for other subjects.")

    @classmethod
    def of(cls, finding: Finding) -> "FindingAnswer":
        """Return the response for a finding."""
        return cls.model_construct(**{name: getattr(finding, name) for name in cls.model_fields})


class CheckAnswer(BaseModel):
    """A check that found nothing, or could not be made."""

    rule: str
    checks: str = Field(description="What holds if it finds nothing.")


class DiagnosisAnswer(BaseModel):
    """What is wrong with an application now."""

    application: str
    findings: list[FindingAnswer] = Field(description="The worst first, and of those the most direct cause first.")
    passed: list[CheckAnswer] = Field(description="The checks that found nothing.")
    unknown: list[CheckAnswer] = Field(
        description="The checks that could not be made, since nobody told the facts that they need."
    )
    left_out: int = Field(ge=0, description="How many more findings there are.")
    missed: list[str] = Field(description="Facts that could not be read, within the time or since the broker's user may not.")

    @classmethod
    def of(cls, found: Diagnosis, queue: str) -> "DiagnosisAnswer":
        """Return the response for a diagnosis; with a queue, only the findings that explain why its tasks wait."""
        findings = found.of_queue(queue) if queue else found.findings
        passed, unknown = (
            [CheckAnswer.model_construct(rule=rule.id, checks=rule.checks) for rule in rules]
            for rules in (found.passed, found.unknown)
        )
        return cls.model_construct(
            application=found.facts.application, findings=[FindingAnswer.of(finding) for finding in findings], passed=passed,
            unknown=unknown, left_out=found.left_out, missed=list(found.facts.missed),
        )  # fmt: skip


class DiagnosisFilter(BaseModel):
    """Which findings to return."""

    model_config = ConfigDict(extra="forbid")

    queue: FilterText = Field(default="", description="Only those that explain why the tasks of this queue wait.")


@router.get("", response=list[ApplicationAnswer], summary="List applications", operation_id="list_applications")
def list_applications(request: HttpRequest) -> list[ApplicationAnswer]:
    """Return Zenith's own application, then the others, by name."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    return [ApplicationAnswer.of(view) for view in applications.applications(caller.applications)]


# Before the next route, whose names may hold slashes.
@router.get(
    "/{name:name}/diagnosis", response=DiagnosisAnswer, summary="Diagnose an application", operation_id="diagnose_application",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def diagnose_application(request: HttpRequest, name: str, wanted: Query[DiagnosisFilter]) -> DiagnosisAnswer:
    """Return why tasks of the application with this name wait, are lost or run twice, with what proves it and what mends it.

    The facts are gathered now, within a few seconds.
    """
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, DiagnosisFilter)
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return DiagnosisAnswer.of(diagnosis_of(application), wanted.queue)


@router.get("/{name:name}", response=ApplicationAnswer, summary="Show one application", operation_id="show_application")
def show_application(request: HttpRequest, name: str) -> ApplicationAnswer:
    """Return the application with this name."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    view = applications.find(name) if caller.sees(name) else None
    if view is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return ApplicationAnswer.of(view)
