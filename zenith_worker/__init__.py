"""What runs inside a Celery worker: claiming, running and reporting tasks.

It imports neither Django nor anything else of this repository. `wire/` is what workers and servers share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from celery import Celery

Item = TypeVar("Item")


def attach(app: Celery, url: str | None = None, name: str | None = None, guard: Sequence[str] = ()) -> str:
    """Join a Celery app to Zenith; see attachment.py, which is loaded only by processes that are attached."""
    from zenith_worker import attachment

    return attachment.attach(app, url, name, guard)


def progress(iterable: Iterable[Item], total: float | None = None) -> Iterator[Item]:
    """Yield the items of `iterable`, and show in Zenith how many the running task has handled.

    `total` is how many there are (default: the iterable's length, if it has one). Outside of a task, or in a worker that is not
    attached to Zenith, this only yields the items.
    """
    from zenith_worker import progress_reports

    return progress_reports.tracked(iterable, total)
