"""The pages of dead letters: grouped by cause, and one group with its letters."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app.models import ReplayRun
from tasks_app.models.application import Visible
from tasks_app.models.dead_letter import LetterState
from tasks_app.queries import dead_letters
from tasks_app.queries.application_names import several_names
from tasks_app.queries.dead_letters import DeadLetterFilter, Group, Letter
from tasks_app.web.application_switch import narrowed
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.traceback_view import parse_traceback
from zenith_site.common.callers import VIEW, Shows, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import render_page
from zenith_worker.wire.applications import NATIVE_NAME

PAGE: Final = 50
RUNS_SHOWN: Final = 5
AGE_WORDS: Final = ("up to 1 h", "up to 1 day", "up to 7 days", "older")
GROUP_COLUMNS: Final[list[tuple[str, Callable[[Group], Any]]]] = [
    (name, lambda group, name=name: getattr(group, name))  # type: ignore[misc]
    for name in (
        "fingerprint", "task_name", "error_type", "message", "frame", "count", "open", "first_at", "last_at", "application",
    )
]  # fmt: skip
LETTER_COLUMNS: Final[list[tuple[str, Callable[[Letter], Any]]]] = [
    ("task_id", lambda item: item.letter.task.celery_id),
    ("task_name", lambda item: item.letter.task_name),
    ("queue", lambda item: item.letter.queue),
    ("error_type", lambda item: item.letter.error_type),
    ("state", lambda item: item.letter.state),
    ("created_at", lambda item: item.letter.created_at),
    ("resolved_at", lambda item: item.letter.resolved_at),
    ("resolved_by", lambda item: item.letter.resolved_by),
    ("note", lambda item: item.letter.note),
    ("replayed_by", lambda item: [str(relative.id) for relative in item.replayed_by]),
    ("application", lambda item: item.application),
]


@require_safe
@narrowed()
@with_event_cursor
def groups(request: HttpRequest) -> HttpResponseBase:
    """List groups of dead letters; the group with the newest failure comes first."""
    visible = authorize(request, VIEW, Shows.FILTERED).applications
    letter_filter = filter_of(request.GET, "OPEN", visible)
    if kind := requested_format(request):
        return download(
            kind, "dead-letter-groups", GROUP_COLUMNS, letter_filter.model_copy(update={"limit": 1000}).groups().groups
        )
    page = letter_filter.groups()
    fingerprints = [group.fingerprint for group in page.groups]
    counts = letter_filter.state_counts()
    context = {
        "groups": page.groups,
        "outcomes": dead_letters.outcomes(fingerprints),
        "ages": _ages(letter_filter, visible),
        "tabs": _tabs(letter_filter, counts),
        "filters": letter_filter,
        "filtered": bool(any(_kept(letter_filter).values()) or page.groups or dead_letters.any_at_all(visible)),
        "applications": several_names(visible),
        "open_matching": counts.get(LetterState.OPEN, 0),
        "query": urlencode(_kept(letter_filter)),
        "kept": list(_kept(letter_filter).items()),
        # A run may be of several applications.
        "runs": ReplayRun.objects.order_by("-id")[:RUNS_SHOWN] if visible is None else (),
        **_links(page.following, letter_filter),
    }
    return render_page(request, "dead_letters/groups.html", context, fragments=["dead_letters/_groups.html"])


@require_safe
@with_event_cursor
def group(request: HttpRequest, fingerprint: str) -> HttpResponseBase:
    """Show one group: its letters, newest first, and the newest traceback."""
    visible = authorize(request, VIEW, Shows.FILTERED).applications
    letter_filter = filter_of(request.GET, "", visible).model_copy(update={"group": fingerprint})
    if kind := requested_format(request):
        return download(kind, "dead-letters", LETTER_COLUMNS, _letters(letter_filter))
    matches = DeadLetterFilter(group=fingerprint, limit=1).limited_to(visible).groups().groups
    if not matches:
        raise Http404("There is no such group of dead letters; it may have been pruned.")
    page = letter_filter.page()
    context = {
        "group": matches[0],
        "application": "" if matches[0].application == NATIVE_NAME else matches[0].application,
        "letters": page.letters,
        "traceback": parse_traceback(dead_letters.newest_traceback(fingerprint)),
        "outcomes": dead_letters.outcomes([fingerprint])[fingerprint],
        "tabs": _tabs(letter_filter, letter_filter.state_counts()),
        "matching": matches[0].open,
        "filtered": bool(letter_filter.state),
        **_links(page.following, letter_filter),
    }
    return render_page(request, "dead_letters/group.html", context, fragments=["dead_letters/_group.html"])


def filter_of(parameters: Any, default_state: str, visible: Visible) -> DeadLetterFilter:
    """Return the filter that a query or a form describes; without a state it has `default_state`.

    `visible`: the names of the applications that the caller may see.
    """
    state = parameters.get("state", default_state)
    cursor = parameters.get("cursor", "")
    age = parameters.get("age", "")
    return DeadLetterFilter(
        limit=PAGE,
        state=LetterState(state) if state in LetterState.values else None,
        task=parameters.get("task", "")[:200].replace("\0", ""),
        error=parameters.get("error", "")[:200].replace("\0", ""),
        application=parameters.get("application", "")[:200].replace("\0", ""),
        age=age if age in dead_letters.AGES else None,
        cursor=int(cursor) if cursor.isdecimal() and len(cursor) < 19 else 0,
    ).limited_to(visible)


def _kept(letter_filter: DeadLetterFilter) -> dict[str, str]:
    """Return the parameters that every link of the page keeps, whatever its state."""
    return {name: value for name in ("task", "error", "application", "age") if (value := getattr(letter_filter, name))}


def _ages(letter_filter: DeadLetterFilter, visible: Visible) -> dict[str, Any]:
    """Return the table of open letters by exception and age; each number links to the groups that it counts."""

    def url(error: str, age: str = "") -> str:
        words = {"task": letter_filter.task, "application": letter_filter.application, "error": error, "age": age}
        return "?" + urlencode({"state": "OPEN", **{name: value for name, value in words.items() if value}})

    rows = [
        {
            "error": aged.error_type, "url": url(aged.error_type), "total": sum(aged.counts),
            "cells": [(count, url(aged.error_type, age)) for age, count in zip(dead_letters.AGES, aged.counts, strict=True)],
        }
        for aged in dead_letters.by_age(letter_filter.task, letter_filter.application, visible)
        if aged.error_type
    ]  # fmt: skip
    return {"head": AGE_WORDS, "rows": rows}


def _letters(letter_filter: DeadLetterFilter) -> Any:
    remaining, following = MOST, letter_filter.model_copy(update={"limit": 1000})
    while following and remaining > 0:
        page = following.page()
        yield from page.letters[:remaining]
        remaining -= len(page.letters)
        if page.following is None:
            return
        following = page.following


def _links(following: DeadLetterFilter | None, letter_filter: DeadLetterFilter) -> dict[str, str]:
    def url(target: DeadLetterFilter) -> str:
        cursor = {"cursor": target.cursor} if target.cursor else {}
        return "?" + urlencode({"state": target.state or "ALL", **_kept(target), **cursor})

    return {
        "next_url": url(following) if following else "",
        "first_url": url(letter_filter.model_copy(update={"cursor": 0})) if letter_filter.cursor else "",
    }


def _tabs(letter_filter: DeadLetterFilter, counts: dict[str, int]) -> list[dict[str, Any]]:
    now = letter_filter.state.value if letter_filter.state else "ALL"
    return [
        {
            "label": label, "url": "?" + urlencode({**_kept(letter_filter), "state": state}), "count": count,
            "current": state == now, "status": "",
        }
        for label, state, count in (
            *((state.label, state.value, counts.get(state.value, 0)) for state in LetterState),
            ("All", "ALL", sum(counts.values())),
        )
    ]  # fmt: skip
