"""The tabs of the task list: one for each status, with how many tasks have it."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from django.utils import timezone

from tasks_app.models.application import Visible
from tasks_app.queries.applications import status_counts_in
from tasks_app.queries.status_counts import COUNTED_TO
from tasks_app.queries.tasks import TaskFilter
from tasks_app.search.parser import parse, without
from zenith_worker.wire.states import Status

#: The tabs, in the order in which a task goes through them.
TABS: Final = (
    Status.STARTED, Status.RECEIVED, Status.QUEUED, Status.PENDING, Status.SCHEDULED, Status.RETRY, Status.FAILURE,
    Status.SUCCESS, Status.REVOKED, Status.REPLACED, Status.IGNORED,
)  # fmt: skip


def status_tabs(task_filter: TaskFilter, visible: Visible, kept: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the tabs. Those are lit whose status the filter lets through, also if it is named in the search.

    A tab's link replaces what the search says of statuses. `kept` are parameters that it keeps.
    """
    counts = status_counts_in(task_filter.application, visible)
    lit = {task_filter.status} if task_filter.status else parse(task_filter.q, timezone.now()).statuses
    base = {
        "q": without(task_filter.q, "status"), "task": task_filter.task, "application": task_filter.application,
        "sort": task_filter.sort, **kept,
    }  # fmt: skip

    def url(**more: str) -> str:
        # An address without any filter would show the application that is chosen in the sidebar.
        return "?" + (urlencode({name: value for name, value in {**base, **more}.items() if value}) or "application=")

    tabs = [{"label": "All", "url": url(), "count": None, "current": lit is None, "status": ""}]
    return tabs + [
        {
            "label": status.label, "url": url(status=status.value), "count": count, "status": status.value,
            "capped": count is not None and count >= COUNTED_TO, "current": lit is not None and status in lit,
        }
        for status in TABS
        if (count := counts[status]) != 0 or (lit is not None and status in lit)
    ]  # fmt: skip


def list_url(query: str, kept: Mapping[str, str]) -> str:
    """Return the list's address with a filter's query and the parameters that all links keep."""
    return "?" + "&".join(part for part in (query, urlencode(kept)) if part)
