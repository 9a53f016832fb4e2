"""The Events page: everything that happens to tasks, newest first."""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe
from pydantic import ValidationError

from tasks_app.models import TaskEvent
from tasks_app.queries.application_names import names_of, several_names
from tasks_app.queries.event_bursts import bursts
from tasks_app.queries.events import EventFilter
from tasks_app.web.application_switch import narrowed
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.errors import InvalidQueryError
from zenith_site.common.masking import mask_text
from zenith_site.common.pages import render_page
from zenith_worker.wire.states import Status

PAGE: Final = 100
FILTERS: Final = ("task", "status", "queue", "worker", "application")
COLUMNS: Final[list[tuple[str, Callable[[TaskEvent], Any]]]] = [
    ("id", lambda event: event.id),
    ("at", lambda event: event.at),
    ("task_id", lambda event: event.task.celery_id),
    ("task_name", lambda event: event.task.name),
    ("queue", lambda event: event.task.queue),
    ("status", lambda event: event.status),
    ("attempt", lambda event: event.attempt),
    ("worker", lambda event: event.worker),
    ("message", lambda event: mask_text(event.message)),
]


@require_safe
@narrowed()
@with_event_cursor
def event_list(request: HttpRequest) -> HttpResponseBase:
    """List events, newest first; `paused` turns live updates off."""
    visible = authorize(request, VIEW, Shows.FILTERED).applications
    event_filter, problem = _parse_query(request)
    event_filter = event_filter.limited_to(visible)
    if (kind := requested_format(request)) and not problem:
        return download(kind, "events", COLUMNS, _rows(event_filter))
    page = event_filter.page()
    filters = {name: request.GET[name] for name in FILTERS if request.GET.get(name)}
    paused = "paused" in request.GET
    context = {
        "bursts": bursts(page.events[::-1]),
        "problem": problem,
        "filters": filters,
        "statuses": list(Status),
        "applications": several_names(visible),
        "application_names": names_of(event.task for event in page.events),
        "filtered": bool(filters),
        "paused": paused,
        "searched_on": not page.events and page.before is not None,
        "toggle_url": "?" + urlencode(filters if paused else {**filters, "paused": "1"}),
        "file_query": urlencode(filters),
        # Without any filter it would be the application that is chosen in the sidebar.
        "first_url": "?" + urlencode(filters or {"application": ""}) if event_filter.before is not None else "",
        "next_url": "?" + urlencode({**filters, "before": page.before}) if page.before is not None and page.more else "",
    }
    return render_page(request, "events/events.html", context, fragments=["events/_events.html"])


def _parse_query(request: HttpRequest) -> tuple[EventFilter, str]:
    values = {name: request.GET[name] for name in (*FILTERS, "before") if request.GET.get(name)}
    try:
        return EventFilter(limit=PAGE, **values), ""  # type: ignore[arg-type]
    except (ValidationError, InvalidQueryError):
        return EventFilter(limit=PAGE), "This filter is invalid, so all events are shown."


def _rows(event_filter: EventFilter) -> Iterator[TaskEvent]:
    remaining, before = MOST, event_filter.before
    while remaining > 0:
        page = event_filter.model_copy(update={"limit": 1000, "before": before}).page()
        yield from page.events[::-1][:remaining]
        remaining -= len(page.events)
        if page.before is None or not page.more:
            return
        before = page.before
