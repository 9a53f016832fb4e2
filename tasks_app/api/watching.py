"""`/api/v1/applications/{name}/watching`: begin to watch an application, change how, and end it; for whoever may administer."""

from http import HTTPStatus
from typing import Annotated, Final

from django.http import Http404, HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tasks_app.api.applications import ApplicationAnswer
from tasks_app.control import watching
from tasks_app.models import Application
from tasks_app.queries import applications as queries
from tasks_app.watching.applications import Watch, remove
from tasks_app.watching.brokers import SERIALIZERS
from zenith_site.auth.api import requires
from zenith_site.common.callers import ADMINISTER, Shows, audit_attempt, audit_details
from zenith_site.common.openapi import problem_responses

router = Router(tags=["applications"])

_ADMINISTERS: Final = requires(ADMINISTER, Shows.EVERYTHING)
_PROBLEMS: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

KeyPrefix = Annotated[str, Field(max_length=100)]
Serializers = Annotated[list[Annotated[str, Field(max_length=20)]], Field(min_length=1, max_length=len(SERIALIZERS))]


class _Body(BaseModel):
    """What creating and changing share."""

    model_config = ConfigDict(extra="forbid", strict=True)

    test: bool = Field(
        default=True,
        description="Have an engine connect first, within 20 s. If it cannot, nothing is changed, and `errors` says why.",
    )


class WatchRequest(_Body):
    """How to watch an application."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "redis://:PASSWORD@broker.example.com:6379/0"}]})

    url: SecretStr = Field(
        min_length=1, max_length=4096, description="The broker's URL as engines reach it. It is encrypted, and never returned."
    )
    key_prefix: KeyPrefix = Field(default="", description="The application's `global_keyprefix`, on Redis.")
    serializers: Serializers = Field(
        default=["json"], description=f"What its workers write; Zenith writes the first. Some of {', '.join(SERIALIZERS)}."
    )
    enable_events: bool = Field(default=True, description="Ask its workers to send events every ten seconds.")


class ChangeRequest(_Body):
    """What to change. Members that are omitted stay as they are; without any, only the connection is tested."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enable_events": False}]})

    url: SecretStr | None = Field(default=None, min_length=1, max_length=4096, description="Another URL of its broker.")
    key_prefix: KeyPrefix | None = None
    serializers: Serializers | None = None
    enable_events: bool | None = None


class RemovalAnswer(BaseModel):
    """What the end of watching removed. The broker's URL is forgotten in any case."""

    name: str
    workers: int = Field(ge=0, description="Workers that were in its list.")
    unread: int = Field(ge=0, description="Reports that are still to be recorded.")
    is_removed: bool = Field(
        description="Whether the application itself is gone: nothing was ever recorded for it. If not, what was recorded stays"
        " until it is older than ZENITH_RETENTION_DAYS."
    )


@router.post(
    "/{name:name}/watching", response={HTTPStatus.CREATED: ApplicationAnswer}, summary="Watch an application",
    operation_id="watch_application", auth=_ADMINISTERS, openapi_extra=problem_responses(HTTPStatus.CONFLICT),
)  # fmt: skip
def begin_watching(request: HttpRequest, name: str, body: WatchRequest) -> Status[ApplicationAnswer]:
    """Watch the application with this broker from now on, under this name. An engine begins within seconds."""
    _audit(request, name, body, new_url=True)
    row = watching.begin(name, _watch(body), test=body.test)
    return Status(HTTPStatus.CREATED, _answer(row))


@router.patch(
    "/{name:name}/watching", response=ApplicationAnswer, summary="Change how an application is watched",
    operation_id="change_watching", auth=_ADMINISTERS, openapi_extra=_PROBLEMS,
)  # fmt: skip
def change_watching(request: HttpRequest, name: str, body: ChangeRequest) -> ApplicationAnswer:
    """Change how a watched application is watched; its observer connects again within seconds."""
    row = _watched(name)
    _audit(request, name, body, new_url=body.url is not None)
    return _answer(watching.change(row, _watch(body), test=body.test))


@router.delete(
    "/{name:name}/watching", response=RemovalAnswer, summary="Stop watching an application", operation_id="end_watching",
    auth=_ADMINISTERS, openapi_extra=_PROBLEMS,
)  # fmt: skip
def end_watching(request: HttpRequest, name: str) -> RemovalAnswer:
    """Forget the broker's URL and the list of workers. The broker and the workers stay as they are."""
    told = remove(_watched(name).name)
    audit_details(request, application=told.name, workers=told.workers)
    return RemovalAnswer.model_construct(name=told.name, workers=told.workers, unread=told.unread, is_removed=told.row)


def _audit(request: HttpRequest, name: str, body: _Body, *, new_url: bool) -> None:
    tells = audit_attempt if body.test else audit_details
    tells(request, application=name[:50], new_url=new_url, tested=body.test)


def _watch(body: WatchRequest | ChangeRequest) -> Watch:
    return Watch(
        url=None if body.url is None else body.url.get_secret_value(), key_prefix=body.key_prefix,
        serializers=body.serializers, enables_events=body.enable_events,
    )  # fmt: skip


def _watched(name: str) -> Application:
    row = watching.watched(name)
    if row is None:
        raise Http404(f"There is no watched application {name[:50]!r}.")
    return row


def _answer(row: Application) -> ApplicationAnswer:
    view = queries.find(row.name)
    if view is None:
        raise Http404(f"{row.name} was removed meanwhile.")
    return ApplicationAnswer.of(view)
