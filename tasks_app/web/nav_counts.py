"""The counts beside the navigation's entries, sent with every page and refreshed every few seconds; and the applications."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from tasks_app.queries.nav_counts import COUNTED_TO, NavCounts, read_nav_counts
from tasks_app.web.application_switch import switch_of
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.pages import render_page
from zenith_worker.wire.applications import NATIVE_NAME


class Count(NamedTuple):
    """A number, with the words for a tooltip or a screen reader. `more`: counting stopped at this number."""

    number: int
    words: str
    more: bool = False


def context(request: HttpRequest) -> dict[str, Any]:
    """Return the context processor's counts and choice of an application; they are read only if a page draws them, at once."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    counts = cache(read_nav_counts)
    return {
        "nav_counts": SimpleLazyObject(lambda: _counts(counts())),
        "application_switch": SimpleLazyObject(lambda: switch_of(request, _with_native(counts().attached))),
    }


@require_safe
def nav_counts(request: HttpRequest) -> HttpResponse:
    """Return the counts alone."""
    authorize(request, VIEW)
    return render_page(request, "_nav_counts.html", {"nav_counts": _counts(read_nav_counts())}, fragments=["_nav_counts.html"])


def _counts(counts: NavCounts) -> dict[str, Count]:
    """Return a count for each entry that has one, by URL name, of all applications; 0 is not drawn."""
    open_tasks = counts.running + counts.waiting
    capped = max(counts.running, counts.waiting) >= COUNTED_TO
    of_all, of_own = (" in all applications", " in Zenith's own application") if counts.attached else ("", "")
    return {
        "tasks:list": Count(open_tasks, f"{counts.running:,} running, {counts.waiting:,} waiting{of_all}", capped),
        "tasks:dead_letters": Count(counts.dead, f"open{of_all}", counts.dead >= COUNTED_TO),
        "tasks:workers": Count(counts.workers or 0, f"online{of_own}"),
        "tasks:queues": Count(counts.queues or 0, f"consumed{of_own}"),
        "tasks:applications": Count(len(counts.attached), "attached"),
    }


def _with_native(attached: Sequence[str]) -> list[str]:
    return [NATIVE_NAME, *attached] if attached else []
