"""The counts beside the navigation's entries, sent with every page and refreshed every few seconds."""

from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from tasks_app.models.application import Visible
from tasks_app.queries.nav_counts import COUNTED_TO, read_nav_counts
from zenith_site.common.callers import VIEW, Shows, applications_of, authorize
from zenith_site.common.pages import render_page


class Count(NamedTuple):
    """A number, with the words for a tooltip or a screen reader. `more`: counting stopped at this number."""

    number: int
    words: str
    more: bool = False


def context(request: HttpRequest) -> dict[str, Any]:
    """Return the context processor's counts for the navigation; they are read only if a page draws them."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {"nav_counts": SimpleLazyObject(lambda: _counts(applications_of(user)))}


@require_safe
def nav_counts(request: HttpRequest) -> HttpResponse:
    """Return the counts alone."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    return render_page(request, "_nav_counts.html", {"nav_counts": _counts(caller.applications)}, fragments=["_nav_counts.html"])


def _counts(visible: Visible) -> dict[str, Count]:
    """Return a count for each entry that has one, by URL name; 0 is not drawn."""
    counts = read_nav_counts(visible)
    open_tasks = counts.running + counts.waiting
    capped = max(counts.running, counts.waiting) >= COUNTED_TO
    return {
        "tasks:list": Count(open_tasks, f"{counts.running:,} running, {counts.waiting:,} waiting", capped),
        "tasks:dead_letters": Count(counts.dead, "open", counts.dead >= COUNTED_TO),
        "tasks:workers": Count(counts.workers or 0, "online"),
        "tasks:queues": Count(counts.queues or 0, "consumed"),
        "tasks:applications": Count(counts.attached, "attached"),
    }
