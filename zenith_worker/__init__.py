"""What runs inside a Celery worker: claiming, running and reporting tasks.

It imports neither Django nor anything else of this repository. `wire/` is what workers and servers share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def attach(app: Celery, url: str | None = None, name: str | None = None, guard: Sequence[str] = ()) -> str:
    """Join a Celery app to Zenith; see attachment.py, which is loaded only by processes that are attached."""
    from zenith_worker import attachment

    return attachment.attach(app, url, name, guard)
