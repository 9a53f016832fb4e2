"""The list of tasks, and one task, with their results."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django_celery_results.models import TaskResult
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tasks_app import jsonsafe
from tasks_app.insight.arguments import shown_arguments
from tasks_app.masking import mask, mask_text
from tasks_app.models import Task
from tasks_app.states import Status

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


def storable(text: str) -> str:
    """Refuse what PostgreSQL would refuse, while the parameter's name is still known."""
    for problem in jsonsafe.problems(text):
        raise ValueError(problem.detail)
    return text


def _known_cursor(cursor: str) -> str:
    if cursor:
        _decode(cursor)
    return cursor


#: A form sends every field, the empty ones too.
FilterText = Annotated[str, Field(max_length=200), AfterValidator(storable)]
_Cursor = Annotated[str, AfterValidator(_known_cursor)]
_Status = Annotated[Status | None, BeforeValidator(lambda value: value or None)]


@dataclass(frozen=True)
class TaskPage:
    """Some tasks, newest first, and the filter that continues after them, if there are more."""

    tasks: "list[TaskWithResult]"
    following: "TaskFilter | None"


class TaskFilter(BaseModel):
    """Which tasks to list. Owns the query and the links, for the page and the API alike.

    Pages go by key, never by offset: the tenth page costs what the first does, and no task is
    shown twice or skipped while new ones come in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: _Cursor = Field(default="", description="Where to go on; taken from the `Link` of a page.")
    status: _Status = Field(default=None, description="Only tasks in this status.")
    task: FilterText = Field(default="", description="Only tasks of this name.")
    q: FilterText = Field(
        default="",
        description="Only the task with this id, or tasks whose error or worker has this text.",
    )

    def page(self) -> TaskPage:
        """Return the tasks and what they returned, in two queries."""
        tasks = list(self._query()[: self.limit + 1])
        following = None
        if len(tasks) > self.limit:
            tasks.pop()
            following = self.model_copy(update={"cursor": _encode(tasks[-1].id)})
        return TaskPage(list(with_results(tasks)), following)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _query(self) -> QuerySet[Task]:
        query = Task.objects.order_by("-id")
        if self.status:
            query = query.filter(status=self.status)
        if self.task:
            query = query.filter(name=self.task)
        if self.q:
            query = query.filter(_matching(self.q))
        if self.cursor:
            query = query.filter(id__lt=_decode(self.cursor))
        return query


@dataclass(frozen=True)
class TaskWithResult:
    """A task and what it returned (None until it has); in what its properties show, secrets are hidden."""

    task: Task
    result: Any

    @property
    def data(self) -> Any:
        """The task's first argument."""
        args, kwargs = shown_arguments(self.task)
        return args[0] if args else next(iter(kwargs.values()), None)

    @property
    def error(self) -> str | None:
        """The exception that ended the task or its newest attempt, as `Type: message`."""
        if not self.task.error_type:
            return None
        return f"{self.task.error_type}: {mask_text(self.task.error_message)}"

    @property
    def attempts(self) -> int:
        """How often the task was started."""
        started = self.task.started_at is not None
        return self.task.attempt if started else self.task.attempt - 1


def find(task_id: str) -> TaskWithResult | None:
    """Return one task with its result, or None for an id that names none."""
    try:
        key = UUID(task_id)
    except ValueError:
        return None
    return next(with_results(Task.objects.filter(id=key)), None)


def with_results(tasks: Iterable[Task]) -> Iterator[TaskWithResult]:
    """Yield the tasks, each with its result, which one query fetches for all of them."""
    tasks = list(tasks)
    succeeded = [str(task.id) for task in tasks if task.status == Status.SUCCESS]
    results = dict(TaskResult.objects.filter(task_id__in=succeeded).values_list("task_id", "result"))
    for task in tasks:
        yield TaskWithResult(task, _value(results.get(str(task.id))))


def _value(text: str | None) -> Any:
    """Return what a stored result holds, its secrets hidden; Zenith's backend writes JSON, other code may not."""
    if text is None:
        return None
    try:
        return mask(json.loads(text))
    except ValueError:
        return mask_text(text)


def _matching(text: str) -> Q:
    found = Q(error_type__icontains=text) | Q(error_message__icontains=text)
    found |= Q(worker__icontains=text)
    try:
        return found | Q(id=UUID(text))
    except ValueError:
        return found


def _encode(task_id: UUID) -> str:
    return base64.urlsafe_b64encode(task_id.bytes).decode().rstrip("=")


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(f"{cursor}==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise ValueError("is not a cursor that an earlier page gave") from None
