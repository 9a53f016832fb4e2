"""The page of notifications, the bell's panel, and marking as read."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pydantic import ValidationError

from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import answer, ask, render_page
from zenith_site.notify import inbox
from zenith_site.notify.destinations import all_channels
from zenith_site.notify.inbox import NotificationFilter
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_site.notify.rule_forms import MuteForm
from zenith_site.notify.rule_page import section_context

PAGE: Final = 50
COLUMNS: Final[list[tuple[str, Callable[[Notification], Any]]]] = [
    ("id", lambda notification: notification.id),
    ("kind", lambda notification: notification.kind),
    ("key", lambda notification: notification.key),
    ("severity", lambda notification: notification.severity),
    ("title", lambda notification: notification.title),
    ("body", lambda notification: notification.body),
    ("link", lambda notification: notification.link),
    ("count", lambda notification: notification.count),
    ("opened_at", lambda notification: notification.opened_at),
    ("last_seen_at", lambda notification: notification.last_seen_at),
    ("recovered_at", lambda notification: notification.recovered_at),
    ("recovery", lambda notification: notification.recovery),
    ("read", lambda notification: notification.read),  # type: ignore[attr-defined]
]


@require_safe
def notifications(request: HttpRequest) -> HttpResponseBase:
    """Show the notifications, the most urgent first; `?bell` returns only the bell's panel."""
    caller = authorize(request, VIEW, Shows.EVERYTHING)
    user = caller.user
    if "bell" in request.GET:
        return render_page(request, "_bell.html", {}, fragments=["_bell.html"])
    filter_, problem = _parse_filter(request)
    if (kind := requested_format(request)) and not problem:
        return download(kind, "notifications", COLUMNS, _rows(filter_, request))
    page = filter_.page(user)
    channels = all_channels()
    labels = {channel.key: channel.label for channel in channels}
    for delivery in (delivery for notification in page.notifications for delivery in notification.deliveries.all()):
        delivery.label = labels.get(delivery.channel, "A removed channel")  # type: ignore[attr-defined]
    counts = inbox.counts(user)
    context = {
        "notifications": page.notifications,
        "problem": problem,
        "tabs": _tabs(filter_, counts),
        "unread_only": filter_.unread,
        "kind": filter_.kind or "",
        "unread_count": counts["unread"],
        "filtered": bool(counts["all"] and (filter_.open or filter_.kind or filter_.unread)),
        "file_query": _link(filter_),
        "first_url": f"?{_link(filter_)}" if filter_.cursor else "",
        "next_url": f"?{_without_order(page.following)}" if page.following else "",
        "channels": channels,
        **section_context(caller),
    }
    return render_page(request, "notifications/notifications.html", context, fragments=["notifications/_notifications.html"])


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Mark notifications as read: those with the posted ids, or with `all` every one (of a `kind`)."""
    user = authorize(request, VIEW, Shows.EVERYTHING).user
    ids = [int(text) for text in request.POST.getlist("id")[: inbox.MAX_LIMIT] if text.isdecimal() and len(text) < 19]
    kind = request.POST.get("kind", "")
    if request.POST.get("all"):
        marked = inbox.mark_read(user, kind=NotificationKind(kind) if kind in list(NotificationKind) else None)
    else:
        marked = inbox.mark_read(user, ids)
    audit_details(request, read=marked)
    if len(ids) != 1:
        messages.success(
            request, "1 notification marked as read." if marked == 1 else f"{marked:,} notifications marked as read."
        )
    return answer(request, "notifications")


@require_http_methods(["GET", "HEAD", "POST"])
def mute(request: HttpRequest, notification_id: int) -> HttpResponse:
    """Ask for how long a notification is muted (GET), and mute it for everybody (POST)."""
    authorize(request, OPERATE, Shows.EVERYTHING)
    notification = get_object_or_404(Notification, pk=notification_id)
    form = MuteForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        inbox.mute(notification, until := form.until())
        audit_details(request, notification=notification.id, muted_until=until.isoformat() if until else None)
        messages.success(request, "It is muted." if until else "It is not muted any more.")
        return answer(request, "notifications")
    return ask(
        request, form, title="Mute notification?", button="Save", back="notifications",
        sentence=f"{notification.title}: until then no bell rings for it and nothing is sent, also if it comes back.",
        action=reverse("mute_notification", args=[notification.pk]),
    )  # fmt: skip


def _parse_filter(request: HttpRequest) -> tuple[NotificationFilter, str]:
    parameters = {name: request.GET[name] for name in ("unread", "open", "kind", "cursor", "after") if request.GET.get(name)}
    try:
        return NotificationFilter(limit=PAGE, order="severity", **parameters), ""  # type: ignore[arg-type]
    except ValidationError:
        return NotificationFilter(limit=PAGE, order="severity"), "This filter is not valid. All notifications are shown."


def _rows(filter_: NotificationFilter, request: HttpRequest) -> Iterator[Notification]:
    user = authorize(request, VIEW, Shows.EVERYTHING).user
    remaining, following = MOST, filter_.model_copy(update={"limit": inbox.MAX_LIMIT})
    while remaining > 0:
        page = following.page(user)
        yield from page.notifications[:remaining]
        remaining -= len(page.notifications)
        if page.following is None:
            return
        following = page.following


def _tabs(filter_: NotificationFilter, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the tabs: all, unread, ongoing, and each kind that has notifications."""
    kinds = [kind for kind in NotificationKind if counts[kind] or filter_.kind == kind]
    everything = not (filter_.unread or filter_.open or filter_.kind)
    return [
        {"label": "All", "url": "?", "count": counts["all"], "current": everything},
        {"label": "Unread", "url": "?unread=1", "count": counts["unread"], "current": filter_.unread},
        {"label": "Ongoing", "url": "?open=1", "count": counts["open"], "current": filter_.open},
        *(
            {"label": kind.label, "url": f"?kind={kind}", "count": counts[kind], "current": filter_.kind == kind}
            for kind in kinds
        ),
    ]  # fmt: skip


def _link(filter_: NotificationFilter) -> str:
    return _without_order(filter_.model_copy(update={"cursor": 0, "after": 0, "limit": inbox.DEFAULT_LIMIT}))


def _without_order(filter_: NotificationFilter) -> str:
    """Return a filter as a query of the page, which has one order only."""
    return filter_.model_copy(update={"order": "newest"}).query_string()
