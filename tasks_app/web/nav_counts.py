"""The counts beside the navigation's entries, sent with every page and refreshed every few seconds; and the applications."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from tasks_app.models.application import Visible
from tasks_app.queries.application_names import seen_among
from tasks_app.queries.nav_counts import COUNTED_TO, NavCounts, read_nav_counts
from tasks_app.web.application_switch import switch_of
from zenith_site.common.callers import VIEW, Shows, applications_of, authorize
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
    return {
        "nav_counts": SimpleLazyObject(lambda: _counts(_read_once(request))),
        "application_switch": SimpleLazyObject(lambda: switch_of(request, applications_to_choose(request))),
    }


def applications_to_choose(request: HttpRequest) -> list[str]:
    """Return what `several_names` does for whoever requests a whole page, whose counts have the names without another query."""
    return _to_choose(_read_once(request).attached, applications_of(request.user))


def _read_once(request: HttpRequest) -> NavCounts:
    """Return the counts as they were when the request first needed them."""
    if not hasattr(request, "read_nav_counts"):
        request.read_nav_counts = read_nav_counts(applications_of(request.user))  # type: ignore[attr-defined]
    counts: NavCounts = request.read_nav_counts  # type: ignore[attr-defined]
    return counts


@require_safe
def nav_counts(request: HttpRequest) -> HttpResponse:
    """Return the counts alone."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    counts = _counts(read_nav_counts(caller.applications))
    return render_page(request, "_nav_counts.html", {"nav_counts": counts}, fragments=["_nav_counts.html"])


def _counts(counts: NavCounts) -> dict[str, Count]:
    """Return a count for each entry that has one, by URL name, of all applications that one may see; 0 is not drawn."""
    open_tasks = counts.running + counts.waiting
    capped = counts.at_least or max(counts.running, counts.waiting) >= COUNTED_TO
    at_least = "at least " if counts.at_least else ""
    of_all, of_own = (" in all applications", " in Zenith's own application") if counts.attached else ("", "")
    return {
        "tasks:list": Count(open_tasks, f"{at_least}{counts.running:,} running, {counts.waiting:,} waiting{of_all}", capped),
        "tasks:dead_letters": Count(counts.dead, f"open{of_all}", counts.dead >= COUNTED_TO),
        "tasks:workers": Count(counts.workers or 0, f"online{of_own}"),
        "tasks:queues": Count(counts.queues or 0, f"consumed{of_own}"),
        "tasks:applications": Count(len(counts.attached), "besides Zenith's own"),
    }


def _to_choose(attached: Sequence[str], visible: Visible) -> list[str]:
    """Return the applications to choose from, as `several_names`, of which the attached ones are known."""
    names = seen_among([NATIVE_NAME, *attached], visible)
    return names if len(names) > 1 else []
