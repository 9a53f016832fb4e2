"""The numbers beside the navigation's entries: with every page, and again every few seconds while it is open."""

from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from tasks_app.queries.nav_counts import COUNTED_TO, read_nav_counts
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.pages import render_page


class Count(NamedTuple):
    """A number, with the words that a pointer or a screen reader gets; `more`: counting stopped there."""

    number: int
    words: str
    more: bool = False


def context(request: HttpRequest) -> dict[str, Any]:
    """Give every page's navigation its counts; they are read only where they are drawn."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {"nav_counts": SimpleLazyObject(_counts)}


@require_safe
def nav_counts(request: HttpRequest) -> HttpResponse:
    """The counts alone."""
    authorize(request, VIEW)
    return render_page(request, "_nav_counts.html", {"nav_counts": _counts()}, fragments=["_nav_counts.html"])


def _counts() -> dict[str, Count]:
    """Return a count for each entry that has one, by the name of its URL; 0 is not drawn."""
    now = read_nav_counts()
    busy = now.running + now.waiting
    capped = max(now.running, now.waiting) >= COUNTED_TO
    return {
        "tasks:list": Count(busy, f"{now.running:,} running, {now.waiting:,} waiting", capped),
        "tasks:dead_letters": Count(now.dead, "open", now.dead >= COUNTED_TO),
        "tasks:workers": Count(now.workers or 0, "online"),
        "tasks:queues": Count(now.queues or 0, "consumed"),
    }
