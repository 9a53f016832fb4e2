"""A process that dispatches for the fault suite, as a web process does: `python -m tests.faults.driver`.

It reads one request a line, as JSON, and answers each by a line. What it is asked for it brings about, however long PostgreSQL or
Redis are away: with an idempotency key, so that a dispatch whose answer got lost is not made twice.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import django

django.setup()

import redis  # noqa: E402
from celery import chord, current_app  # noqa: E402
from django.db import Error, connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from kombu.exceptions import OperationalError  # noqa: E402

from tasks_app.dispatch.cancel import cancel  # noqa: E402
from tasks_app.dispatch.create import Dispatch, Origin, dispatch  # noqa: E402

PATIENCE = 120.0


def dispatched(key: str, delay: float = 0.0, **asked: Any) -> list[str]:
    """Dispatch tasks; return their ids."""
    not_before = timezone.now() + timedelta(seconds=delay) if delay else None

    def attempt() -> list[str]:
        done = dispatch(Dispatch(not_before=not_before, **asked), Origin(source="api", idempotency_key=key))
        return [str(id_) for id_ in done.ids]

    return _surely(attempt)


def sent(name: str, ids: list[str], kwargs: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Send tasks as other code does; return which were sent for certain, and which perhaps."""
    answer: dict[str, list[str]] = {"sent": [], "unsure": []}
    for id_ in ids:
        try:
            current_app.send_task(name, kwargs=kwargs or {}, task_id=id_)
            answer["sent"].append(id_)
        except (OperationalError, redis.RedisError, OSError):
            answer["unsure"].append(id_)
    return answer


def canvas(chords: int, parts: int, others: dict[str, int]) -> dict[str, list[str]]:
    """Send chords of short tasks, and other tasks by name; return the ids of the chords' bodies, and of all."""
    task = current_app.signature
    header = [task("faults.short") for _ in range(parts)]
    sent_chords = [chord(header, task("faults.body"), app=current_app).apply_async() for _ in range(chords)]
    bodies = [str(result.id) for result in sent_chords]
    ids = [str(part.id) for result in sent_chords for part in result.parent]
    ids += [str(current_app.send_task(name).id) for name, count in others.items() for _ in range(count)]
    return {"bodies": bodies, "sent": [*bodies, *ids]}


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


VERBS: dict[str, Callable[..., Any]] = {"dispatch": dispatched, "send": sent, "cancel": cancelled, "canvas": canvas}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = VERBS[request.pop("verb")](**request)
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
