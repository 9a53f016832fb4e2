"""The page of notifications, the bell's panel, and marking what is read."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST, require_safe
from pydantic import ValidationError

from zenith_site.common.callers import VIEW, audit_details, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import answer, render_page
from zenith_site.notify import channels, inbox
from zenith_site.notify.inbox import NotificationFilter
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification

PAGE: Final = 50
COLUMNS: Final[list[tuple[str, Callable[[Notification], Any]]]] = [
    ("id", lambda found: found.id),
    ("kind", lambda found: found.kind),
    ("key", lambda found: found.key),
    ("severity", lambda found: found.severity),
    ("title", lambda found: found.title),
    ("body", lambda found: found.body),
    ("link", lambda found: found.link),
    ("count", lambda found: found.count),
    ("opened_at", lambda found: found.opened_at),
    ("last_seen_at", lambda found: found.last_seen_at),
    ("recovered_at", lambda found: found.recovered_at),
    ("recovery", lambda found: found.recovery),
    ("read", lambda found: found.read),  # type: ignore[attr-defined]
]


@require_safe
def notifications(request: HttpRequest) -> HttpResponseBase:
    """What people were told of, newest first; `?bell` is the bell's panel alone."""
    user = authorize(request, VIEW).user
    if "bell" in request.GET:
        return render_page(request, "_bell.html", {}, fragments=["_bell.html"])
    chosen, problem = _asked(request)
    if (kind := requested_format(request)) and not problem:
        return download(kind, "notifications", COLUMNS, _rows(chosen, request))
    page = chosen.page(user)
    counts = inbox.counts(user)
    context = {
        "notifications": page.notifications,
        "problem": problem,
        "tabs": _tabs(chosen, counts),
        "unread_only": chosen.unread,
        "kind": chosen.kind or "",
        "unread_count": counts["unread"],
        "filtered": bool(counts["all"] and (chosen.open or chosen.kind or chosen.unread)),
        "file_query": _link(chosen),
        "first_url": f"?{_link(chosen)}" if chosen.cursor else "",
        "next_url": f"?{page.following.query_string()}" if page.following else "",
        "channels": channels.configured(),
    }
    return render_page(request, "notifications/notifications.html", context, fragments=["notifications/_notifications.html"])


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Mark as read: those with the ids that are sent, or with `all` every one (of a `kind`)."""
    user = authorize(request, VIEW).user
    ids = [int(text) for text in request.POST.getlist("id")[: inbox.MAX_LIMIT] if text.isdecimal() and len(text) < 19]
    kind = request.POST.get("kind", "")
    if request.POST.get("all"):
        marked = inbox.mark_read(user, kind=NotificationKind(kind) if kind in list(NotificationKind) else None)
    else:
        marked = inbox.mark_read(user, ids)
    audit_details(request, read=marked)
    if len(ids) != 1:
        messages.success(request, "1 notification is read." if marked == 1 else f"{marked:,} notifications are read.")
    return answer(request, "notifications")


def _asked(request: HttpRequest) -> tuple[NotificationFilter, str]:
    given = {name: request.GET[name] for name in ("unread", "open", "kind", "cursor") if request.GET.get(name)}
    try:
        return NotificationFilter(limit=PAGE, **given), ""  # type: ignore[arg-type]
    except ValidationError:
        return NotificationFilter(limit=PAGE), "This filter cannot be understood; all notifications are shown."


def _rows(chosen: NotificationFilter, request: HttpRequest) -> Iterator[Notification]:
    user = authorize(request, VIEW).user
    left, following = MOST, chosen.model_copy(update={"limit": inbox.MAX_LIMIT})
    while left > 0:
        page = following.page(user)
        yield from page.notifications[:left]
        left -= len(page.notifications)
        if page.following is None:
            return
        following = page.following


def _tabs(chosen: NotificationFilter, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the tabs: everything, what is unread, what still holds, and each kind that there is."""
    kinds = [kind for kind in NotificationKind if counts[kind] or chosen.kind == kind]
    everything = not (chosen.unread or chosen.open or chosen.kind)
    return [
        {"label": "All", "url": "?", "count": counts["all"], "current": everything},
        {"label": "Unread", "url": "?unread=1", "count": counts["unread"], "current": chosen.unread},
        {"label": "Ongoing", "url": "?open=1", "count": counts["open"], "current": chosen.open},
        *(
            {"label": kind.label, "url": f"?kind={kind}", "count": counts[kind], "current": chosen.kind == kind}
            for kind in kinds
        ),
    ]  # fmt: skip


def _link(chosen: NotificationFilter) -> str:
    return chosen.model_copy(update={"cursor": 0, "limit": inbox.DEFAULT_LIMIT}).query_string()
