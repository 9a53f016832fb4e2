"""What a task logged: the card on its page, and a page of its own with all lines and a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from tasks_app.dispatch.applications import of_task
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID, of_visible
from tasks_app.queries.task_logs import LEVELS, LogFilter, LogPage, TaskLogLine, as_text, matching, read_forward, read_newest
from tasks_app.recording import log_watch
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.downloads import text_file
from zenith_site.common.pages import render_page

#: Lines on the page of a log and in one answer to an open page, and in one block of either.
ON_PAGE: Final = 1000
BLOCK: Final = 100
#: Attempts that can be chosen.
MOST_ATTEMPTS: Final = 100
#: How long after its end a task's page still asks for lines: those on the way.
TRAILING: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line as templates/_log_blocks.html shows it; `origin` is its logger, and its attempt if the task has several."""

    line: TaskLogLine
    origin: str

    @property
    def level(self) -> str:
        """Its level, as the classes of the style sheet name it."""
        return "error" if self.line.level == "critical" else self.line.level

    @property
    def text(self) -> str:
        """The message."""
        return self.line.message

    @property
    def left_out(self) -> int:
        """How many lines are missing before it."""
        return self.line.left_out

    @property
    def moment(self) -> str:
        """The exact time."""
        return self.line.at.isoformat(timespec="milliseconds")

    @property
    def time(self) -> str:
        """The time of day."""
        return f"{self.line.at:%H:%M:%S}.{self.line.at.microsecond // 1000:03}"


@require_safe
def log(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """Show what a task logged: as a page, as a text file, or as the lines after a cursor for an open page."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    task = get_object_or_404(Task.objects.defer("args", "kwargs"), of_visible(caller.applications), id=task_id)
    if request.GET.get("format") == "text":
        return _file(task)
    try:
        if "after" in request.GET:
            return _piece(task, request.GET)
        context = {"task": task, "watched": is_watched(task), **_log_context(task, request.GET)}
    except ValueError:
        raise Http404("This line does not exist.") from None
    return render_page(request, "tasks/log.html", context, fragments=["tasks/_log.html"])


def is_watched(task: Task) -> bool:
    """Whether the task is of an application that Zenith only listens to, whose workers tell no logs; at most one query."""
    return task.application_id not in (None, NATIVE_ID) and of_task(task).is_watched


def log_card(task: Task) -> dict[str, Any]:
    """Return the context of tasks/_log.html on a task's page, without a query: the script there asks for the lines."""
    return {
        "log_ended": _has_ended(task),
        "log_topic": log_watch.topic(task.pk),
        "log_levels": list(LEVELS),
        "log_attempts": range(1, min(max(task.attempt, 1), MOST_ATTEMPTS) + 1),
        "log_days": settings.ZENITH_TASK_LOG_DAYS,
    }


def _log_context(task: Task, query: QueryDict) -> dict[str, Any]:
    """Return the context of a log's own page; one query. Raises ValueError if the address has a cursor that is none."""
    only = _filter(query)
    page = read_newest(task, query.get("before", ""), ON_PAGE, only)
    log_watch.watch(task.pk)
    return {
        **log_card(task),
        "log_is_here": True,
        "log_ended": _has_ended(task) or bool(query.get("before")),
        "log_blocks": _blocks(task, page.lines),
        "log_after": page.after,
        "log_filter": only,
        "log_is_filtered": only != LogFilter(),
        "log_earlier": _earlier(task, page, only),
    }


def _filter(query: QueryDict) -> LogFilter:
    """Return the filter in an address; what is no level or no attempt filters nothing."""
    level = next((name for name in LEVELS if name == query.get("level")), None)
    attempt = query.get("attempt", "")
    return LogFilter(level, int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 9 else None,
                     query.get("q", "")[:200])  # fmt: skip


def _earlier(task: Task, page: LogPage, only: LogFilter) -> str:
    """Return the address of the lines before those of a page; empty if there are none."""
    if not page.more:
        return ""
    parts = {"before": page.lines[0].cursor, "level": only.level, "attempt": only.attempt, "q": only.q}
    query = urlencode({name: value for name, value in parts.items() if value})
    return f"{reverse('tasks:log', args=[task.pk])}?{query}"


def _piece(task: Task, query: QueryDict) -> HttpResponse:
    """Return lines as blocks to append; the header `X-Log-After` says where to continue. Raises ValueError."""
    after, only = query.get("after", ""), _filter(query)
    page = read_forward(task, after, ON_PAGE, only) if after else read_newest(task, limit=ON_PAGE, only=only)
    log_watch.watch(task.pk)
    response = HttpResponse(render_to_string("_log_blocks.html", {"blocks": _blocks(task, page.lines)}))
    response["X-Log-After"] = page.after
    return response


def _file(task: Task) -> HttpResponseBase:
    return text_file(f"{task.pk}-log", "txt", "".join(f"{as_text(line)}\n" for line in matching(task)))


def _has_ended(task: Task) -> bool:
    return task.finished_at is not None and task.finished_at < timezone.now() - TRAILING


def _blocks(task: Task, lines: Sequence[TaskLogLine]) -> list[list[ShownLine]]:
    several = task.attempt > 1 or any(line.attempt > 1 for line in lines)
    shown = [ShownLine(line, f"{line.logger} · attempt {line.attempt}" if several else line.logger) for line in lines]
    return [shown[start : start + BLOCK] for start in range(0, len(shown), BLOCK)]
