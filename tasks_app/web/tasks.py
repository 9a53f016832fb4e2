"""The list of tasks: tabs, search, pages, downloads, and actions on the selected tasks or on all that match."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import redis
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from pydantic import ValidationError

from tasks_app import catalog
from tasks_app.control.saved_views import views_of
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import discard, open_letters
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError
from tasks_app.models import Task
from tasks_app.models.application import Visible
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.application_names import several_names
from tasks_app.queries.tasks import TaskFilter, TaskWithResult, open_among, tasks_seen_among
from tasks_app.search.parser import quoted
from tasks_app.search.sorting import SORTED_AMONG
from tasks_app.web.application_switch import narrowed
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.nav_counts import applications_to_choose
from tasks_app.web.saved_views import view_query, view_tabs
from tasks_app.web.task_columns import COLUMNS, PARAMETER, chosen_columns, columns_query, shown_columns
from tasks_app.web.task_tabs import TABS, list_url, status_tabs
from zenith_site.common.callers import OPERATE, VIEW, Caller, Shows, audit_details, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.errors import InvalidQueryError, StateConflictError
from zenith_site.common.pages import answer, confirm, render_page, wants_fragments
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import read_all
from zenith_worker.wire.states import TERMINAL

PAGE: Final = 50
#: Queues, and workers, that the search box suggests.
MOST_SUGGESTED: Final = 50
#: The parameters of the address that select tasks, for the list and for an action on all that match.
SELECTED: Final = ("status", "task", "application", "q")
#: Tasks that one action takes at most; its confirmation says whether more may match.
MOST_CANCELLED: Final = 10_000
MOST_RUN_AGAIN: Final = 1000
FILE_COLUMNS: Final[list[tuple[str, Callable[[TaskWithResult], Any]]]] = [
    ("id", lambda item: item.task.celery_id),
    ("name", lambda item: item.task.name),
    ("status", lambda item: item.task.status),
    ("queue", lambda item: item.task.queue),
    ("worker", lambda item: item.task.worker),
    ("application", lambda item: item.application),
    ("attempts", lambda item: item.attempts),
    ("error", lambda item: item.error),
    ("created_at", lambda item: item.task.created_at),
    ("started_at", lambda item: item.task.started_at),
    ("finished_at", lambda item: item.task.finished_at),
    ("runtime_seconds", lambda item: item.task.runtime),
    ("data", lambda item: item.data),
    ("result", lambda item: item.result),
    # Long values are cut to their beginning, as in the API's lists.
    ("cut", lambda item: " ".join(name for name in ("error", "data", "result") if name in item.cut)),
]


class ParsedQuery(NamedTuple):
    """The filter in the page's address, and the problem with it if it is invalid."""

    filter: TaskFilter
    problem: str


@require_safe
@narrowed()
@with_event_cursor
def task_list(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """List tasks, newest first."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    unmasked, visible = caller.may(OPERATE), caller.applications
    task_filter, problem = _parse_query(request, unmasked)
    task_filter = task_filter.limited_to(visible)
    if (kind := requested_format(request)) and not problem:
        # In the default order, the only one that reaches every match.
        return download(kind, "tasks", FILE_COLUMNS, _rows(task_filter.model_copy(update={"sort": ""}), unmasked))
    page = None if problem else task_filter.page(lines=True, unmasked=unmasked)
    applications = several_names(visible) if wants_fragments(request) else applications_to_choose(request)
    columns = chosen_columns(request.GET)
    kept = columns_query(columns)
    query = view_query(task_filter, columns)
    context = {
        "problem": problem,
        "tasks": page.tasks if page else [],
        "q": request.GET.get("q", ""),
        "status": task_filter.status or "",
        "sort": task_filter.sort,
        "order": _order(task_filter.sort, more=bool(page and page.more_unsorted)),
        "task": task_filter.task,
        "application": task_filter.application,
        "tabs": status_tabs(task_filter, visible, kept),
        "views": view_tabs(list(views_of(caller)), query, caller),
        "view_query": "" if problem else query,
        "columns": shown_columns(columns, several_applications=bool(applications)),
        "all_columns": shown_columns(tuple(column.key for column in COLUMNS), several_applications=bool(applications)),
        "shows": columns,
        "kept_columns": kept.get(PARAMETER, ""),
        "filtered": bool(task_filter.status or task_filter.q or task_filter.task or task_filter.application or problem),
        "next_url": list_url(page.following.query_string(), kept) if page and page.following else "",
        "first_url": list_url(_first_page(task_filter), kept) if task_filter.cursor else "",
        "searched_to": page.searched_to if page else None,
        "matching": len(page.tasks) + 1 if page and page.following else 0,
        "file_query": _first_page(task_filter),
        "suggestions": _suggestions(applications, caller),
        "applications": applications,
    }
    return render_page(request, "tasks/list.html", context, fragments=["tasks/_list.html"])


class Verb(NamedTuple):
    """An action on tasks. `ids` returns at most `most` ids for a filter; `act` performs the action and returns a message."""

    title: str
    button: str
    sentence: str
    most: int
    ids: Callable[[TaskFilter, int], list[UUID]]
    among: Callable[[Sequence[UUID]], set[UUID]]
    act: Callable[[Sequence[UUID], Caller], str]
    danger: bool = True


@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, verb: str) -> HttpResponse:
    """Confirm an action (GET), and perform it (POST), on the given tasks or on all that match a filter."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    action = VERBS.get(verb)
    if action is None:
        raise Http404(f"There is no action {verb!r}.")
    parameters = request.POST if request.method == "POST" else request.GET
    ids = _selected_ids(parameters, action, caller.applications)
    if not ids:
        messages.warning(request, "None of these tasks has a status that allows this.")
        return answer(request, "tasks:list")
    if request.method == "POST":
        messages.success(request, action.act(ids, caller))
        audit_details(request, tasks=len(ids))
        return answer(request, "tasks:list")
    several = "1 task" if len(ids) == 1 else f"{len(ids):,} tasks"
    more = f" More may match: one action takes at most {action.most:,}." if len(ids) >= action.most else ""
    fields: list[tuple[str, object]] = [("id", id_) for id_ in parameters.getlist("id")]
    if parameters.get("all"):
        fields = [("all", "1"), *((name, parameters.get(name, "")) for name in SELECTED)]
    if parameters.get("force"):
        fields.append(("force", "1"))
    return confirm(
        request, title=action.title, sentence=action.sentence.format(several) + more, action=reverse("tasks:act", args=[verb]),
        button=f"{action.button} {several}", back="tasks:list", fields=fields, danger=action.danger,
    )  # fmt: skip


def _parse_query(request: HttpRequest, unmasked: bool) -> ParsedQuery:
    values = {name: request.GET[name] for name in (*SELECTED, "cursor", "sort") if request.GET.get(name)}
    try:
        task_filter = TaskFilter(limit=PAGE, **values)  # type: ignore[arg-type]
        task_filter.search(unmasked=unmasked)
        return ParsedQuery(task_filter, "")
    except InvalidQueryError as error:
        return ParsedQuery(TaskFilter(limit=PAGE), str(error))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        return ParsedQuery(TaskFilter(limit=PAGE), f"{first['loc'][0]}: {reason}")


def _order(sort: str, *, more: bool) -> str:
    """Return the list's order in words."""
    if not sort:
        return "Newest first"
    word = "oldest first" if sort == "created" else f"by {sort.removeprefix('-')}"
    return f"{word.capitalize()}, of the newest {SORTED_AMONG:,} that match" if more else word.capitalize()


def _suggestions(applications: Sequence[str], caller: Caller) -> list[str]:
    """Return suggestions for the search box: words of the language, and current names. Runs a query every few seconds at most."""
    sees_native = caller.sees(NATIVE_NAME)
    try:
        workers = read_all() if sees_native else []
    except redis.RedisError:
        workers = []
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return [
        *(f"status:{status.value}" for status in TABS),
        *(f"name:{quoted(name)}" for name in (catalog.suggested() if sees_native else ())),
        *(f"queue:{quoted(queue)}" for queue in queues[:MOST_SUGGESTED]),
        *(f"worker:{quoted(worker.name)}" for worker in workers[:MOST_SUGGESTED]),
        *(f"application:{name}" for name in applications[:MOST_SUGGESTED]),
        *(f"since:{span}" for span in ("15m", "1h", "1d", "7d")),
        *("error:", "args.", "batch:", "parent:", "id:", "until:", "ended_since:", "-status:SUCCESS"),
    ]


def _rows(task_filter: TaskFilter, unmasked: bool) -> Any:
    remaining = MOST
    following: TaskFilter | None = task_filter.model_copy(update={"limit": 1000})
    while following and remaining > 0:
        page = following.page(unmasked=unmasked)
        yield from page.tasks[:remaining]
        remaining -= len(page.tasks)
        following = page.following


def _first_page(task_filter: TaskFilter) -> str:
    return task_filter.model_copy(update={"cursor": "", "limit": TaskFilter().limit}).query_string()


def _selected_ids(parameters: Any, action: Verb, visible: Visible) -> list[UUID]:
    """Return the ids of the selected tasks that the caller may see and whose status allows the action."""
    if parameters.get("all"):
        try:
            task_filter = TaskFilter(**{name: parameters.get(name, "") for name in SELECTED})
        except ValidationError:
            raise Http404("This filter is invalid.") from None
        return action.ids(task_filter.limited_to(visible), action.most)
    ids = []
    for text in parameters.getlist("id")[: action.most]:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise Http404(f"{text[:100]!r} is not a task id.") from None
    ids = tasks_seen_among(ids, visible)
    eligible = action.among(ids)
    return [id_ for id_ in dict.fromkeys(ids) if id_ in eligible]


def _ended_among(ids: Sequence[UUID]) -> set[UUID]:
    return set(Task.objects.filter(id__in=ids, status__in=TERMINAL).values_list("id", flat=True))


def _dead_among(ids: Sequence[UUID]) -> set[UUID]:
    return set(open_letters(Selection(task_ids=tuple(ids))).values_list("task_id", flat=True))


def _dead_ids(task_filter: TaskFilter, most: int) -> list[UUID]:
    failed = task_filter.ended_ids(most)
    dead = _dead_among(failed)
    return [id_ for id_ in failed if id_ in dead]


def _cancel(ids: Sequence[UUID], caller: Caller, *, force: bool = False) -> str:
    try:
        result = cancel(sorted(ids), by=caller.name, force=force)
    except (StateConflictError, CommandWithdrawnError, WorkerSilentError) as error:
        return str(error)
    running = f" {result.running:,} {'being stopped' if force else 'still running'}." if result.running else ""
    passed_on = f" {result.requested:,} passed on to their applications." if result.requested else ""
    return " ".join([f"{result.revoked:,} cancelled.{running}{passed_on}", *result.problems])


def _run_again(ids: Sequence[UUID], caller: Caller) -> str:
    origin, sent = Origin.of(caller, "page"), 0
    for id_ in reversed(ids):
        try:
            sent += run_again(id_, origin) is not None
        except StateConflictError:
            continue
    skipped = len(ids) - sent
    reason = f" {skipped:,} skipped: already run again before, or not possible." if skipped else ""
    return f"{sent:,} dispatched again.{reason}"


def _discard(ids: Sequence[UUID], caller: Caller) -> str:
    return f"{discard(Selection(task_ids=tuple(ids)), '', Origin.of(caller, 'page')):,} dead letters discarded."


VERBS: Final = {
    "cancel": Verb(
        "Cancel tasks?", "Cancel", "{} will not run. Tasks that are already running will finish.",
        MOST_CANCELLED, TaskFilter.open_ids, lambda ids: open_among(ids), _cancel,
    ),
    "stop": Verb(
        "Stop running tasks?", "Stop", "{} will be killed if running, and will not run again.",
        MOST_CANCELLED, TaskFilter.open_ids, lambda ids: open_among(ids), lambda ids, caller: _cancel(ids, caller, force=True),
    ),
    "again": Verb(
        "Run tasks again?", "Run again", "{} will be dispatched again, as new tasks with the same arguments.",
        MOST_RUN_AGAIN, TaskFilter.ended_ids, _ended_among, _run_again, danger=False,
    ),
    "discard": Verb(
        "Discard dead letters?", "Discard", "The dead letters of {} are discarded. The tasks and their errors stay.",
        MOST_CANCELLED, _dead_ids, _dead_among, _discard,
    ),
}  # fmt: skip
