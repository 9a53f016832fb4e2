"""A process that dispatches for the fault suite, as a web process does: `python -m tests.faults.driver`.

It reads one request a line, as JSON, and answers each by a line. What it is asked for it brings about, however long PostgreSQL or
Redis are away: with an idempotency key, so that a dispatch whose answer got lost is not made twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import django

django.setup()

import redis  # noqa: E402
from django.db import Error, connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from tasks_app.dispatch.cancel import cancel  # noqa: E402
from tasks_app.dispatch.create import Dispatch, Origin, dispatch  # noqa: E402
from tests.faults.sender import VERBS, answer_all  # noqa: E402

PATIENCE = 120.0


def dispatched(key: str, delay: float = 0.0, **asked: Any) -> list[str]:
    """Dispatch tasks; return their rows' keys."""
    not_before = timezone.now() + timedelta(seconds=delay) if delay else None

    def attempt() -> list[str]:
        done = dispatch(Dispatch(not_before=not_before, **asked), Origin(source="api", idempotency_key=key))
        return [str(id_) for id_ in done.ids]

    return _surely(attempt)


def cancelled(ids: list[str], force: bool = False) -> dict[str, int]:
    """Cancel tasks."""
    done = _surely(lambda: cancel([UUID(id_) for id_ in ids], by="the fault suite", force=force))
    return {"revoked": done.revoked, "running": done.running, "finished": done.finished}


def _surely(attempt: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except (Error, redis.RedisError) as error:
            connection.close()
            if time.monotonic() > deadline:
                raise
            print(f"tries again: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            time.sleep(0.2)


if __name__ == "__main__":
    answer_all({"dispatch": dispatched, "cancel": cancelled, **VERBS})
