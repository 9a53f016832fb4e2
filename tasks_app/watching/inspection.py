"""What workers answer when they are asked, now and then: their pools and queues, and the tasks that they have.

Each question is one broadcast, which every worker answers within TIMEOUT seconds or not at all. Answers are from strangers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery

from tasks_app.watching.translation import ID_KEPT

#: Seconds for which answers are waited for.
TIMEOUT: Final = 1.0
#: Workers whose answers are looked at.
WORKERS_KEPT: Final = 1000
#: Tasks of all workers that are looked at in one answer.
TASKS_KEPT: Final = 5000
#: The first question.
FIRST: Final = "stats"
#: Questions about tasks, with what their answer tells of a task.
_OF_TASKS: Final = {"active": "task-started", "reserved": "task-received", "scheduled": "task-received"}


@dataclass(slots=True)
class Answers:
    """What workers answered.

    Attributes:
        by_worker: by name and question; `held` are the ids of its tasks, if all three questions about tasks were answered.
        tasks: what they have, in the form of events.
    """

    by_worker: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    tasks: list[dict[str, Any]] = field(default_factory=list)


def ask(app: Celery, known: int = 0) -> Answers:
    """Ask all workers; `known`: how many are expected to answer, so that nobody waits for more. Raises what kombu raises.

    As many as answered the first question are expected to answer the others.
    """
    answers = Answers()
    held: dict[str, list[list[str]]] = defaultdict(list)
    for question in (FIRST, "active_queues", *_OF_TASKS):
        arguments = {"safe": True} if question == "active" else None
        for name, answer in _replies(app, question, arguments, known):
            if question in _OF_TASKS:
                requests = list(_requests(answer))
                held[name].append([request["id"] for request in requests])
                answers.tasks += [_event(request, name, question) for request in requests]
            else:
                answers.by_worker[name][question] = answer
        known = len(answers.by_worker) if question == FIRST else known
        if not known:
            break
    for name, lists in held.items():
        if len(lists) == len(_OF_TASKS):
            answers.by_worker[name]["held"] = list(dict.fromkeys(id_ for ids in lists for id_ in ids))
    del answers.tasks[TASKS_KEPT:]
    return answers


def _replies(app: Celery, question: str, arguments: dict[str, Any] | None, known: int) -> Iterator[tuple[str, Any]]:
    replies = app.control.broadcast(question, arguments=arguments, reply=True, timeout=TIMEOUT, limit=known or None)
    for reply in (replies or ())[:WORKERS_KEPT]:
        if isinstance(reply, dict):
            yield from ((name, answer) for name, answer in reply.items() if isinstance(name, str))


def _requests(answer: Any) -> Iterator[dict[str, Any]]:
    """Yield the valid descriptions of requests in an answer; those that wait for their time are wrapped."""
    for item in answer if isinstance(answer, list) else ():
        request = item.get("request", item) if isinstance(item, dict) else None
        if isinstance(request, dict) and isinstance(request.get("id"), str) and 1 <= len(request["id"]) <= ID_KEPT:
            yield {**request, "eta": item.get("eta")}


def _event(request: dict[str, Any], worker: str, question: str) -> dict[str, Any]:
    started = request.get("time_start")
    info = request.get("delivery_info")
    return {
        "type": _OF_TASKS[question], "uuid": request["id"], "hostname": worker, "name": request.get("name"),
        "args": request.get("args"), "kwargs": request.get("kwargs"), "eta": request["eta"],
        "timestamp": started if isinstance(started, int | float) and question == "active" else time.time(),
        "queue": info.get("routing_key") if isinstance(info, dict) else None,
    }  # fmt: skip
