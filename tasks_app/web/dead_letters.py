"""The pages of dead letters: in groups of one cause, and one group with its letters."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from tasks_app.models import ReplayRun
from tasks_app.models.dead_letter import LetterState
from tasks_app.queries import dead_letters
from tasks_app.queries.dead_letters import DeadLetterFilter, Group, Letter
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.traceback_view import read
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import render_page

PAGE: Final = 50
RUNS_SHOWN: Final = 5
AGE_WORDS: Final = ("up to 1 h", "up to 1 day", "up to 7 days", "older")
GROUP_COLUMNS: Final[list[tuple[str, Callable[[Group], Any]]]] = [
    (name, lambda group, name=name: getattr(group, name))  # type: ignore[misc]
    for name in ("fingerprint", "task_name", "error_type", "message", "frame", "count", "open", "first_at", "last_at")
]
LETTER_COLUMNS: Final[list[tuple[str, Callable[[Letter], Any]]]] = [
    ("task_id", lambda found: found.letter.task.celery_id),
    ("task_name", lambda found: found.letter.task_name),
    ("queue", lambda found: found.letter.queue),
    ("error_type", lambda found: found.letter.error_type),
    ("state", lambda found: found.letter.state),
    ("created_at", lambda found: found.letter.created_at),
    ("resolved_at", lambda found: found.letter.resolved_at),
    ("resolved_by", lambda found: found.letter.resolved_by),
    ("note", lambda found: found.letter.note),
    ("replayed_by", lambda found: [str(relative.id) for relative in found.replayed_by]),
]


@require_safe
@with_event_cursor
def groups(request: HttpRequest) -> HttpResponseBase:
    """Groups of dead letters, that with the newest failure first."""
    authorize(request, VIEW)
    chosen = filter_of(request.GET, "OPEN")
    if kind := requested_format(request):
        return download(kind, "dead-letter-groups", GROUP_COLUMNS, chosen.model_copy(update={"limit": 1000}).groups().groups)
    page = chosen.groups()
    fingerprints = [group.fingerprint for group in page.groups]
    counts = chosen.state_counts()
    context = {
        "groups": page.groups,
        "outcomes": dead_letters.outcomes(fingerprints),
        "ages": _ages(chosen),
        "tabs": _tabs(chosen, counts),
        "chosen": chosen,
        "filtered": bool(chosen.task or chosen.error or chosen.age or page.groups or dead_letters.any_at_all()),
        "open_matching": counts.get(LetterState.OPEN, 0),
        "query": urlencode(_kept(chosen)),
        "kept": list(_kept(chosen).items()),
        "runs": ReplayRun.objects.order_by("-id")[:RUNS_SHOWN],
        **_links(page.following, chosen),
    }
    return render_page(request, "dead_letters/groups.html", context, fragments=["dead_letters/_groups.html"])


@require_safe
@with_event_cursor
def group(request: HttpRequest, fingerprint: str) -> HttpResponseBase:
    """The letters of one group, newest first, with the traceback of the newest."""
    authorize(request, VIEW)
    chosen = filter_of(request.GET, "").model_copy(update={"group": fingerprint})
    if kind := requested_format(request):
        return download(kind, "dead-letters", LETTER_COLUMNS, _letters(chosen))
    found = DeadLetterFilter(group=fingerprint, limit=1).groups().groups
    if not found:
        raise Http404("There is no such group of dead letters; it may have been pruned.")
    page = chosen.page()
    context = {
        "group": found[0],
        "letters": page.letters,
        "traceback": read(dead_letters.newest_traceback(fingerprint)),
        "outcomes": dead_letters.outcomes([fingerprint])[fingerprint],
        "tabs": _tabs(chosen, chosen.state_counts()),
        "chosen": chosen,
        "matching": found[0].open,
        "filtered": bool(chosen.state),
        **_links(page.following, chosen),
    }
    return render_page(request, "dead_letters/group.html", context, fragments=["dead_letters/_group.html"])


def filter_of(asked: Any, state: str) -> DeadLetterFilter:
    """Return the filter that a query or a form names; `state` is meant where it names none."""
    shown = asked.get("state", state)
    cursor = asked.get("cursor", "")
    age = asked.get("age", "")
    return DeadLetterFilter(
        limit=PAGE,
        state=LetterState(shown) if shown in LetterState.values else None,
        task=asked.get("task", "")[:200].replace("\0", ""),
        error=asked.get("error", "")[:200].replace("\0", ""),
        age=age if age in dead_letters.AGES else None,
        cursor=int(cursor) if cursor.isdecimal() and len(cursor) < 19 else 0,
    )


def _kept(chosen: DeadLetterFilter) -> dict[str, str]:
    """Return what stays in the address whichever state is chosen."""
    return {name: value for name in ("task", "error", "age") if (value := getattr(chosen, name))}


def _ages(chosen: DeadLetterFilter) -> dict[str, Any]:
    """Return the table of open letters by exception and age; each number leads to the groups that it counts."""

    def url(error: str, age: str = "") -> str:
        words = {"task": chosen.task, "error": error, "age": age}
        return "?" + urlencode({"state": "OPEN", **{name: value for name, value in words.items() if value}})

    rows = [
        {
            "error": aged.error_type, "url": url(aged.error_type), "total": sum(aged.counts),
            "cells": [(count, url(aged.error_type, age)) for age, count in zip(dead_letters.AGES, aged.counts, strict=True)],
        }
        for aged in dead_letters.by_age(chosen.task)
        if aged.error_type
    ]  # fmt: skip
    return {"head": AGE_WORDS, "rows": rows}


def _letters(chosen: DeadLetterFilter) -> Any:
    left, following = MOST, chosen.model_copy(update={"limit": 1000})
    while following and left > 0:
        page = following.page()
        yield from page.letters[:left]
        left -= len(page.letters)
        if page.following is None:
            return
        following = page.following


def _links(following: DeadLetterFilter | None, chosen: DeadLetterFilter) -> dict[str, str]:
    def url(target: DeadLetterFilter) -> str:
        cursor = {"cursor": target.cursor} if target.cursor else {}
        return "?" + urlencode({"state": target.state or "ALL", **_kept(target), **cursor})

    return {
        "next_url": url(following) if following else "",
        "first_url": url(chosen.model_copy(update={"cursor": 0})) if chosen.cursor else "",
    }


def _tabs(chosen: DeadLetterFilter, counts: dict[str, int]) -> list[dict[str, Any]]:
    now = chosen.state.value if chosen.state else "ALL"
    return [
        {
            "label": label, "url": "?" + urlencode({**_kept(chosen), "state": state}), "count": count, "current": state == now,
            "status": "",
        }
        for label, state, count in (
            *((state.label, state.value, counts.get(state.value, 0)) for state in LetterState),
            ("All", "ALL", sum(counts.values())),
        )
    ]  # fmt: skip
