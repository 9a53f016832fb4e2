"""The addresses that the benchmark of pages requests: every page of the browser tests, and more for a full database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bench.lists import FILTERS, cursors_of

if TYPE_CHECKING:
    from tests.browser.sample import Sample

#: The header of htmx and live updates, which request only a page's fragments.
FRAGMENT = {"HX-Request": "true"}


@dataclass(frozen=True)
class Visit:
    """A page, at one or more addresses.

    Arguments:
        fragments: whether to request only the fragments, as an open page does.
    """

    name: str
    paths: tuple[str, ...]
    fragments: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers of its requests."""
        return FRAGMENT if self.fragments else {}


def visits(sample: Sample, count: int) -> list[Visit]:
    """Return all visits for a database with `count` tasks."""
    pages = own_pages(sample)
    live = [
        Visit(f"{visit.name}, read again", visit.paths, fragments=True)
        for visit in pages
        if visit.name in {"tasks", "task-failed", "dead-letters", "dead-letter-group", "analytics", "events", "workers", "queues"}
    ]
    return [*pages, *live, *_lists(count), *_letters(), *_events(), *_windows()]


def own_pages(sample: Sample) -> list[Visit]:
    """Return the pages of tests/browser/registry.py that belong to Zenith, without the tests' own gallery."""
    from django.urls import Resolver404, resolve

    from tests.browser.registry import PAGES

    pages = []
    for case in PAGES:
        path = case.path(sample)
        try:
            resolve(path.partition("?")[0])
        except Resolver404:
            continue
        pages.append(Visit(case.name, (path,)))
    return pages


def _lists(count: int) -> list[Visit]:
    """Return the task list with each filter of lists.py, from the newest task, from the middle and near the end."""
    cursors = cursors_of(count).values()
    return [
        Visit(f"tasks by {name}", tuple(f"/tasks/?{urlencode({**parameters, 'cursor': cursor})}" for cursor in cursors))
        for name, parameters in FILTERS.items()
    ]


def _letters() -> list[Visit]:
    from tasks_app.models import DeadLetter

    middle = DeadLetter.objects.order_by("-id")[DeadLetter.objects.count() // 2]
    group = f"/dead-letters/{middle.fingerprint}/"
    every = tuple(f"/dead-letters/?state={state}" for state in ("", "OPEN", "DISCARDED", "REPLAYED"))
    return [
        Visit("dead letters by state", every),
        Visit("dead letters from the middle", (f"/dead-letters/?cursor={middle.id}", f"{group}?cursor={middle.id}")),
        Visit("dead letters of a task", (f"/dead-letters/?{urlencode({'task': middle.task_name})}",)),
        Visit("dead letters of a group by state", (group, f"{group}?state=OPEN", f"{group}?state=DISCARDED")),
    ]


def _events() -> list[Visit]:
    from tasks_app.queries.feed import newest_id

    before = newest_id() // 2
    filters: tuple[dict[str, str], ...] = (
        {}, {"status": "FAILURE"}, {"task": "report.daily"}, {"queue": "slow"}, {"worker": "worker-3@host"}, {"task": "none"},
    )  # fmt: skip
    return [
        Visit("events by a filter", tuple(f"/events/?{urlencode(parameters)}" for parameters in filters)),
        Visit(
            "events from the middle", tuple(f"/events/?{urlencode({**parameters, 'before': before})}" for parameters in filters)
        ),
    ]


def _windows() -> list[Visit]:
    windows = ("15m", "1h", "6h", "24h", "7d", "30d")
    filters: tuple[dict[str, str], ...] = ({}, {"task": "report.daily"}, {"queue": "slow"})
    return [
        Visit(
            f"analytics of {window}",
            tuple(f"/analytics/?{urlencode({'window': window, **parameters})}" for parameters in filters),
        )
        for window in windows
    ]
