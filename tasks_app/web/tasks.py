"""The list of tasks: tabs, search, pages, files, and what can be done with what is selected or with all that match."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import redis
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from pydantic import ValidationError

from tasks_app import catalog
from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import discard, open_letters
from tasks_app.dispatch.rerun import run_again
from tasks_app.models import Task
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.tasks import COUNTED_TO, TaskFilter, TaskWithResult, open_among, status_counts
from tasks_app.search.parser import quoted
from tasks_app.search.sorting import SORTED_AMONG
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import OPERATE, VIEW, Caller, audit_details, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.errors import InvalidQueryError, StateConflictError
from zenith_site.common.pages import answer, confirm, render_page
from zenith_worker.wire.heartbeat import read_all
from zenith_worker.wire.states import TERMINAL, Status

PAGE: Final = 50
#: Queues, and workers, that the search box offers.
MOST_SUGGESTED: Final = 50
#: What one action takes at most; its answer says when more match.
MOST_CANCELLED: Final = 10_000
MOST_RUN_AGAIN: Final = 1000
#: The tabs, in the order in which a task goes through them.
TABS: Final = (
    Status.STARTED, Status.RECEIVED, Status.QUEUED, Status.PENDING, Status.SCHEDULED, Status.RETRY, Status.FAILURE,
    Status.SUCCESS, Status.REVOKED, Status.REPLACED, Status.IGNORED,
)  # fmt: skip
COLUMNS: Final[list[tuple[str, Callable[[TaskWithResult], Any]]]] = [
    ("id", lambda found: found.task.celery_id),
    ("name", lambda found: found.task.name),
    ("status", lambda found: found.task.status),
    ("queue", lambda found: found.task.queue),
    ("worker", lambda found: found.task.worker),
    ("attempts", lambda found: found.attempts),
    ("error", lambda found: found.error),
    ("created_at", lambda found: found.task.created_at),
    ("started_at", lambda found: found.task.started_at),
    ("finished_at", lambda found: found.task.finished_at),
    ("runtime_seconds", lambda found: found.task.runtime),
    ("data", lambda found: found.data),
    ("result", lambda found: found.result),
    # Of long values a file has the beginning, as the lists of the API have.
    ("cut", lambda found: " ".join(name for name in ("error", "data", "result") if name in found.cut)),
]


class Asked(NamedTuple):
    """The filter that the address names, and what is wrong with it."""

    filter: TaskFilter
    problem: str


@require_safe
@with_event_cursor
def task_list(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Tasks, newest first."""
    unmasked = authorize(request, VIEW).may(OPERATE)
    asked = _asked(request, unmasked)
    if (kind := requested_format(request)) and not asked.problem:
        # All that match, so in the order that has all.
        return download(kind, "tasks", COLUMNS, _rows(asked.filter.model_copy(update={"sort": ""}), unmasked))
    page = None if asked.problem else asked.filter.page(bare=True, unmasked=unmasked)
    context = {
        "problem": asked.problem,
        "tasks": page.tasks if page else [],
        "q": request.GET.get("q", ""),
        "status": asked.filter.status or "",
        "sort": asked.filter.sort,
        "order": _order(asked.filter.sort, more=bool(page and page.more_unsorted)),
        "tabs": _tabs(asked.filter),
        "filtered": bool(asked.filter.status or asked.filter.q or asked.filter.task or asked.problem),
        "next_url": f"?{page.following.query_string()}" if page and page.following else "",
        "first_url": f"?{_first(asked.filter)}" if asked.filter.cursor else "",
        "searched_to": page.searched_to if page else None,
        "matching": len(page.tasks) + 1 if page and page.following else 0,
        "file_query": _first(asked.filter),
        "suggestions": _suggestions(),
    }
    return render_page(request, "tasks/list.html", context, fragments=["tasks/_list.html"])


class Verb(NamedTuple):
    """What can be done with tasks. `ids` returns those of a filter, at most `most`; `act` does it and says what was done."""

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
    """Ask before something is done with tasks (GET), and do it (POST): the named ones, or all that match a filter."""
    caller = authorize(request, OPERATE)
    doing = VERBS.get(verb)
    if doing is None:
        raise Http404(f"Nothing can be done by {verb!r}.")
    sent = request.POST if request.method == "POST" else request.GET
    ids = _chosen(sent, doing)
    if not ids:
        messages.warning(request, "None of these tasks is in a state for that.")
        return answer(request, "tasks:list")
    if request.method == "POST":
        messages.success(request, doing.act(ids, caller))
        audit_details(request, tasks=len(ids))
        return answer(request, "tasks:list")
    several = "1 task" if len(ids) == 1 else f"{len(ids):,} tasks"
    more = f" More may match: {doing.most:,} are taken at a time." if len(ids) >= doing.most else ""
    fields: list[tuple[str, object]] = [("id", id_) for id_ in sent.getlist("id")]
    if sent.get("all"):
        fields = [("all", "1"), ("q", sent.get("q", "")), ("status", sent.get("status", ""))]
    if sent.get("force"):
        fields.append(("force", "1"))
    return confirm(
        request, title=doing.title, sentence=doing.sentence.format(several) + more, action=reverse("tasks:act", args=[verb]),
        button=f"{doing.button} {several}", back="tasks:list", fields=fields, danger=doing.danger,
    )  # fmt: skip


def _asked(request: HttpRequest, unmasked: bool) -> Asked:
    given = {name: request.GET[name] for name in ("status", "task", "q", "cursor", "sort") if request.GET.get(name)}
    try:
        chosen = TaskFilter(limit=PAGE, **given)  # type: ignore[arg-type]
        chosen.search(unmasked=unmasked)
        return Asked(chosen, "")
    except InvalidQueryError as error:
        return Asked(TaskFilter(limit=PAGE), str(error))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        return Asked(TaskFilter(limit=PAGE), f"{first['loc'][0]}: {reason}")


def _order(sort: str, *, more: bool) -> str:
    """Return in which order the list is, in words."""
    if not sort:
        return "Newest first"
    word = "oldest first" if sort == "created" else f"by {sort.removeprefix('-')}"
    return f"{word.capitalize()}, of the newest {SORTED_AMONG:,} that match" if more else word.capitalize()


def _suggestions() -> list[str]:
    """Return words that the search box offers: of the language, and what there is now. They take no query."""
    try:
        workers = read_all()
    except redis.RedisError:
        workers = []
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return [
        *(f"status:{status.value}" for status in TABS),
        *(f"name:{quoted(name)}" for name in sorted(catalog.entries())),
        *(f"queue:{quoted(queue)}" for queue in queues[:MOST_SUGGESTED]),
        *(f"worker:{quoted(worker.name)}" for worker in workers[:MOST_SUGGESTED]),
        *(f"since:{span}" for span in ("15m", "1h", "1d", "7d")),
        *("error:", "args.", "batch:", "parent:", "id:", "until:", "ended_since:", "-status:SUCCESS"),
    ]


def _rows(chosen: TaskFilter, unmasked: bool) -> Any:
    left = MOST
    following: TaskFilter | None = chosen.model_copy(update={"limit": 1000})
    while following and left > 0:
        page = following.page(unmasked=unmasked)
        yield from page.tasks[:left]
        left -= len(page.tasks)
        following = page.following


def _tabs(chosen: TaskFilter) -> list[dict[str, Any]]:
    counts = status_counts()
    base = {"q": chosen.q, "task": chosen.task, "sort": chosen.sort}

    def url(**more: str) -> str:
        return "?" + urlencode({name: value for name, value in {**base, **more}.items() if value})

    tabs = [{"label": "All", "url": url(), "count": None, "current": chosen.status is None, "status": ""}]
    return tabs + [
        {
            "label": status.label, "url": url(status=status.value), "count": counts[status], "status": status.value,
            "capped": counts[status] >= COUNTED_TO, "current": chosen.status == status,
        }
        for status in TABS
        if counts[status] or chosen.status == status
    ]  # fmt: skip


def _first(chosen: TaskFilter) -> str:
    return chosen.model_copy(update={"cursor": "", "limit": TaskFilter().limit}).query_string()


def _chosen(sent: Any, doing: Verb) -> list[UUID]:
    """Return the ids that are meant, as far as they are in a state for it."""
    if sent.get("all"):
        try:
            chosen = TaskFilter(q=sent.get("q", ""), status=sent.get("status", ""))
        except ValidationError:
            raise Http404("This filter cannot be understood.") from None
        return doing.ids(chosen, doing.most)
    ids = []
    for text in sent.getlist("id")[: doing.most]:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise Http404(f"{text[:100]!r} is no id of a task.") from None
    known = doing.among(ids)
    return [id_ for id_ in dict.fromkeys(ids) if id_ in known]


def _ended_among(ids: Sequence[UUID]) -> set[UUID]:
    return set(Task.objects.filter(id__in=ids, status__in=TERMINAL).values_list("id", flat=True))


def _dead_among(ids: Sequence[UUID]) -> set[UUID]:
    return set(open_letters(Selection(task_ids=tuple(ids))).values_list("task_id", flat=True))


def _dead_ids(chosen: TaskFilter, most: int) -> list[UUID]:
    failed = chosen.ended_ids(most)
    dead = _dead_among(failed)
    return [id_ for id_ in failed if id_ in dead]


def _origin(caller: Caller) -> Origin:
    return Origin(source="page", sent_by=caller.name, user_id=caller.user.pk)


def _cancel(ids: Sequence[UUID], caller: Caller, *, force: bool = False) -> str:
    done = cancel(sorted(ids), by=caller.name, force=force)
    running = f" {done.running:,} {'are stopped' if force else 'run on to their end'}." if done.running else ""
    return f"{done.revoked:,} cancelled.{running}"


def _run_again(ids: Sequence[UUID], caller: Caller) -> str:
    origin, sent = _origin(caller), 0
    for id_ in reversed(ids):
        try:
            sent += run_again(id_, origin) is not None
        except StateConflictError:
            continue
    passed = len(ids) - sent
    return f"{sent:,} sent again." + (f" {passed:,} left alone: they had been before, or cannot be." if passed else "")


def _discard(ids: Sequence[UUID], caller: Caller) -> str:
    return f"{discard(Selection(task_ids=tuple(ids)), '', _origin(caller)):,} dead letters discarded."


VERBS: Final = {
    "cancel": Verb(
        "Cancel tasks?", "Cancel", "{} will not run. What runs already goes on to its end.",
        MOST_CANCELLED, TaskFilter.open_ids, lambda ids: open_among(ids), _cancel,
    ),
    "stop": Verb(
        "Stop running tasks?", "Stop", "{} will be killed where they run, and do not run again.",
        MOST_CANCELLED, TaskFilter.open_ids, lambda ids: open_among(ids), lambda ids, caller: _cancel(ids, caller, force=True),
    ),
    "again": Verb(
        "Run tasks again?", "Run again", "{} that ended are sent once more, as new tasks with the same arguments.",
        MOST_RUN_AGAIN, TaskFilter.ended_ids, _ended_among, _run_again, danger=False,
    ),
    "discard": Verb(
        "Discard dead letters?", "Discard", "The dead letters of {} are discarded. The tasks and their errors stay.",
        MOST_CANCELLED, _dead_ids, _dead_among, _discard,
    ),
}  # fmt: skip
