"""The list of tasks, and one task, with their results."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Left
from django.utils import timezone
from django_celery_results.models import TaskResult
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from tasks_app.models import Task
from tasks_app.models.application import Visible, of_visible
from tasks_app.models.places import CURSOR_PATTERN, Place, older
from tasks_app.models.task import result_id
from tasks_app.models.task_keys import tasks_meant
from tasks_app.queries.application_names import has_attached, names_of
from tasks_app.queries.arguments import NO_ARGUMENTS, Arguments, argument_line, know_names, preview, with_heads, with_lines
from tasks_app.queries.progress import ProgressView, progress_of
from tasks_app.search import planner
from tasks_app.search.index_scan import Walked
from tasks_app.search.limited import LimitedFilter
from tasks_app.search.masked import refuse_secrets
from tasks_app.search.parameters import DEFAULT_LIMIT, MAX_LIMIT, FilterStatus, FilterText
from tasks_app.search.parser import Search, parse
from tasks_app.search.sorting import COLUMNS, NEWEST_FIRST, SORTED_AMONG, in_order, known_order
from zenith_site.common.errors import InvalidQueryError, Problem
from zenith_site.common.jsonsafe import bounded
from zenith_site.common.masking import mask, mask_text
from zenith_site.common.previews import SHOWN, head_length, read_head, shorten, shorten_text
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.states import OPEN, TERMINAL, Status

SEARCH_HELP: Final = (
    "A search. Words match errors, workers and ids; `status:`, `name:`, `queue:`, `worker:`, `application:`, `args.NAME:`,"
    " `error:`, `since:`, `until:`, `ended_since:`, `ended_until:`, `id:`, `batch:` and `parent:` each filter by one property."
    " See docs/search.md."
)


def _parsable_query(text: str) -> str:
    """Return a search unchanged; raise ValueError if it cannot be parsed, so that the error names the parameter."""
    parse(text, timezone.now())
    return text


def _valid_cursor(cursor: str) -> str:
    if cursor:
        Place.of_cursor(cursor)
    return cursor


QueryText = Annotated[FilterText, AfterValidator(_parsable_query)]
Cursor = Annotated[str, Field(pattern=CURSOR_PATTERN), AfterValidator(_valid_cursor)]
#: An order, or an empty string as forms send it.
Sort = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(known_order),
    WithJsonSchema({"type": "string", "enum": ["", *COLUMNS, *(f"-{name}" for name in COLUMNS)]}),
]


@dataclass(frozen=True)
class TaskPage:
    """A page of tasks, in the filter's order, and the filter for the next page, if there is one.

    `searched_to`: if the search stopped before the page was full because it had read enough rows, the place of the last row
    read; `following` continues from there.
    `more_unsorted`: whether older tasks match too, which were not sorted (orders other than newest first).
    """

    tasks: "list[TaskWithResult]"
    following: "TaskFilter | None"
    searched_to: Place | None = None
    more_unsorted: bool = False


class TaskFilter(LimitedFilter):
    """Which tasks to list. Owns the query and the links, for the page and the API alike.

    Pages go by key, never by offset: the tenth page costs as much as the first, and no task is shown twice or skipped while
    new ones arrive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: Cursor = Field(default="", description="Where to continue: taken from the `Link` of a page.")
    status: FilterStatus = Field(default=None, description="Only tasks in this status.")
    task: FilterText = Field(default="", description="Only tasks of this name.")
    application: FilterText = Field(default="", description="Only tasks of the application with this name.")
    q: QueryText = Field(default="", description=SEARCH_HELP, examples=["status:FAILURE name:report* since:1h"])
    sort: Sort = Field(
        default="",
        description=f"The order; `{NEWEST_FIRST}` by default. Any other order sorts only the newest {SORTED_AMONG:,} tasks that"
        " match.",
    )

    def page(self, *, bare: bool = False, lines: bool = False, unmasked: bool = False) -> TaskPage:
        """Return the tasks of this page with their results: in two queries, or with a filter in about eight.

        Args:
            bare: leave out arguments and results, which saves a query.
            lines: read the arguments in one line each (`TaskWithResult.line`), and no results.
            unmasked: search the stored text and not the masked one, for users who may operate. Otherwise a search for text in
                errors takes another query, or a few if much of what it finds is masked.

        Raises InvalidQueryError for a search for hidden values.
        """
        before = Place.of_cursor(self.cursor) if self.cursor else None
        search = self.search(unmasked=unmasked)
        values = _Values.LINES if lines else _Values.NONE if bare else _Values.WHOLE
        if self.sort:
            return self._sorted(search, before, values)
        if replace(search, unmasked=False) == Search():
            return self._any(before, values)
        walked = planner.find(search, before, self.limit + 1)
        places = walked.places[: self.limit]
        # If the walk returned one more than the limit, its own end does not matter.
        end = self._end_of(walked) if len(walked.places) <= self.limit else places[-1]
        tasks = _newest_first(values).filter(id__in=[place.id for place in places])
        return TaskPage(_shown(tasks, values), self._after(end) if end else None, walked.reached)

    def _end_of(self, walked: Walked) -> Place | None:
        """Return where a search continues that stopped early; the row there may be one that a limited caller may not see."""
        end = walked.reached
        return end if end is None or self._visible is None or end in walked.places else end.blurred

    def _any(self, before: Place | None, values: "_Values") -> TaskPage:
        query = _newest_first(values)
        tasks = list((query.filter(older(before)) if before else query)[: self.limit + 1])
        following = self._after(_place(tasks[self.limit - 1])) if len(tasks) > self.limit else None
        return TaskPage(_shown(tasks[: self.limit], values), following)

    def _sorted(self, search: Search, after: Place | None, values: "_Values") -> TaskPage:
        """Return a sorted page of the newest matching tasks; it continues after the last task of the page before."""
        walked = planner.find(search, None, SORTED_AMONG + 1)
        ids = in_order(walked.ids[:SORTED_AMONG], self.sort)
        start = ids.index(after.id) + 1 if after and after.id in ids else 0
        page_ids = ids[start : start + self.limit]
        task_of = {item.task.id: item for item in _shown(_newest_first(values).filter(id__in=page_ids), values)}
        places = {place.id: place for place in walked.places}
        following = self._after(places[page_ids[-1]]) if start + self.limit < len(ids) else None
        has_more = len(walked.ids) > SORTED_AMONG or walked.reached is not None
        return TaskPage([task_of[id_] for id_ in page_ids if id_ in task_of], following, more_unsorted=has_more)

    def search(self, *, unmasked: bool = False) -> Search:
        """Return the search that all filters together make; see `page`."""
        search = replace(parse(self.q, timezone.now()), unmasked=unmasked, visible=self._visible)
        try:
            refuse_secrets(search)
        except ValueError as error:
            raise InvalidQueryError(Problem("q", str(error))) from None
        if self.status:
            statuses = frozenset(Status) if search.statuses is None else search.statuses
            search = replace(search, statuses=statuses & {self.status})
        if self.task:
            search = replace(search, name=self.task)
        if self.application:
            search = replace(search, application=self.application)
        return search

    def open_ids(self, most: int) -> list[UUID]:
        """Return the ids of up to `most` matching tasks that have not ended, however many pages that takes.

        Stored text is searched unmasked: for users who may operate.
        """
        return self._ids(OPEN, most)

    def _ids(self, among: frozenset[Status], most: int) -> list[UUID]:
        search = self.search(unmasked=True)
        search = replace(search, statuses=among if search.statuses is None else among & search.statuses)
        ids: list[UUID] = []
        before: Place | None = None
        while len(ids) < most:
            walked = planner.find(search, before, min(most - len(ids), MAX_LIMIT))
            ids += walked.ids
            before = walked.reached or (walked.places[-1] if walked.places else None)
            if before is None or (walked.reached is None and len(walked.places) < MAX_LIMIT):
                break
        return ids

    def ended_ids(self, most: int) -> list[UUID]:
        """Return the ids of up to `most` matching tasks that have ended, newest first; searched unmasked, too."""
        return self._ids(TERMINAL, most)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _after(self, place: Place) -> "TaskFilter":
        return self.model_copy(update={"cursor": place.cursor})


@dataclass(frozen=True)
class TaskWithResult:
    """A task with as much of its arguments and result (None until it has one) as is shown; secrets are masked.

    Attributes:
        arguments: empty in a list without them.
        result_cut: whether the result is longer than what is here.
        application: the name of the task's application.
        line: the arguments in one line, in a list that shows them so.
        among_several: whether there are other applications; only known for a task that was read alone.
        limit: how many characters of each value are shown.
    """

    task: Task
    result: Any
    arguments: Arguments = NO_ARGUMENTS
    result_cut: bool = False
    limit: int = SHOWN
    application: str = NATIVE_NAME
    among_several: bool = False
    line: str = ""

    @property
    def data(self) -> Any:
        """The task's first argument."""
        args, kwargs, _ = self.arguments
        return args[0] if args else next(iter(kwargs.values()), None)

    @property
    def error(self) -> str | None:
        """The exception that ended the task or its newest attempt, as `Type: message`."""
        if not self.task.error_type:
            return None
        return f"{self.task.error_type}: {shorten_text(self.task.error_message, self.limit)}"

    @property
    def progress(self) -> ProgressView | None:
        """How far the task is, if it tells."""
        return progress_of(self.task, self.limit)

    @property
    def cut(self) -> dict[str, str]:
        """The fields that are cut, each with the name under which queries/values.py returns the whole value."""
        args, kwargs, cut = self.arguments
        first = "args" if args else "kwargs"
        cut_fields: dict[str, str] = {name: name for name in cut}
        # Values are cut from their end.
        if first in cut and len(args or kwargs) <= 1:
            cut_fields["data"] = first
        if self.result_cut:
            cut_fields["result"] = "result"
        if self.task.error_type and len(self.task.error_message) > self.limit:
            cut_fields["error"] = "error"
        return cut_fields

    @property
    def attempts(self) -> int:
        """How often the task was started."""
        has_started = self.task.started_at is not None
        return self.task.attempt if has_started else self.task.attempt - 1


def find(task_id: str, limit: int = SHOWN, visible: Visible = None) -> TaskWithResult | None:
    """Return one task with its result, by Celery's id or the row's key, or None if the caller may see no such task.

    `limit`: how many characters of each value are read.
    """
    query = with_heads(named(task_id, visible).select_related("batch", "message", "progress"), limit).annotate(
        among_several=has_attached()
    )
    for task in query[:1]:
        return replace(next(with_results([task], limit)), among_several=task.among_several)
    return None


def named(task_id: str, visible: Visible = None) -> QuerySet[Task]:
    """Return the tasks that an id may name, of those that the caller may see; the first is meant."""
    return tasks_meant(task_id).filter(of_visible(visible))


def tasks_seen_among(ids: Sequence[UUID], visible: Visible) -> list[UUID]:
    """Return those of these ids, in their order, that name tasks which the caller may see; no query without a limit."""
    if visible is None:
        return list(ids)
    seen = set(Task.objects.filter(of_visible(visible), id__in=ids).values_list("id", flat=True))
    return [id_ for id_ in ids if id_ in seen]


def open_among(ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these tasks have not ended."""
    return set(Task.objects.filter(id__in=ids, status__in=OPEN).values_list("id", flat=True))


def with_results(tasks: Iterable[Task], limit: int = SHOWN) -> Iterator[TaskWithResult]:
    """Yield tasks that were read `with_heads`, each with its result; one query reads all results."""
    tasks = list(tasks)
    succeeded = [result_id(task.id, task.text_id) for task in tasks if task.status == Status.SUCCESS]
    rows = TaskResult.objects.filter(task_id__in=succeeded)
    results = dict(rows.values_list("task_id", Left("result", head_length(limit) + 1)))
    names = names_of(tasks)
    for task in tasks:
        result, cut = value_of(results.get(result_id(task.id, task.text_id)), limit)
        yield TaskWithResult(task, result, preview(task, limit), cut, limit, names[task.application_id])


class _Values(Enum):
    """What a list reads of its tasks' arguments and results."""

    #: Nothing.
    NONE = auto()
    #: Each task's arguments in one line.
    LINES = auto()
    #: The beginnings of both.
    WHOLE = auto()


def _newest_first(values: _Values) -> QuerySet[Task]:
    query = Task.objects.select_related("progress").order_by("-created_at", "-id")
    if values is _Values.NONE:
        return query.defer("args", "kwargs")
    return with_lines(query) if values is _Values.LINES else with_heads(query)


def _place(task: Task) -> Place:
    return Place(task.created_at, task.id)


def _shown(tasks: Iterable[Task], values: _Values) -> list[TaskWithResult]:
    if values is _Values.WHOLE:
        return list(with_results(tasks))
    tasks = list(tasks)
    names = names_of(tasks)
    if values is _Values.LINES:
        know_names(task.application_id for task in tasks)
    return [
        TaskWithResult(
            task, None, application=names[task.application_id],
            line=argument_line(task, task) if values is _Values.LINES else "",
        )
        for task in tasks
    ]  # fmt: skip


def value_of(text: str | None, limit: int | None = None) -> tuple[Any, bool]:
    """Return a stored result with secrets masked, and whether it was cut; without a `limit` it is whole.

    Zenith's backend writes JSON; other programs may not.
    """
    if text is None:
        return None, False
    try:
        if limit is None:
            return mask(bounded(json.loads(text))), False
        value, is_head = read_head(text, head_length(limit))
        shown, is_cut = shorten(value, limit)
        return mask(bounded(shown)), is_head or is_cut
    except (ValueError, RecursionError):
        return (mask_text(text), False) if limit is None else (shorten_text(text, limit), len(text) > limit)
