"""What other code sends with plain Celery, and answering one request a line, as JSON: for a process of the fault suite.

Nothing here imports Django: the senders of another application have none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import chord, current_app
from kombu.exceptions import OperationalError

Verbs = Mapping[str, Callable[..., Any]]


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


VERBS: Verbs = {"send": sent, "canvas": canvas}


def answer_all(verbs: Verbs) -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = verbs[request.pop("verb")](**request)
        print(json.dumps(answer), flush=True)  # noqa: T201
