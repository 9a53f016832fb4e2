"""What workers answer when they are asked, now and then: their pools and queues, and the tasks that they have.

Each question is one broadcast, which every worker answers within TIMEOUT seconds or not at all. Answers are from strangers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery
from kombu.connection import Connection

from tasks_app.watching.translation import ASKED, ID_KEPT

#: Seconds for which answers are waited for.
TIMEOUT: Final = 1.0
#: Workers whose answers are looked at.
WORKERS_KEPT: Final = 1000
#: Tasks of all workers that are looked at in one answer.
TASKS_KEPT: Final = 5000
#: The first question.
FIRST: Final = "stats"
#: Questions about tasks, with what their answer tells of a task.
_SCHEDULED: Final = "scheduled"
_OF_TASKS: Final = {"active": "task-started", "reserved": "task-received", _SCHEDULED: "task-received"}


@dataclass(slots=True)
class Answers:
    """What workers answered.

    Attributes:
        by_worker: by name and question; if all three questions about tasks were answered, `held` are the ids of its tasks,
            `unacknowledged` those whose messages are not acknowledged, and `not_yet` the names of those that wait for their ETA.
        tasks: what they have, in the form of events.
        priorities: those of their tasks.
    """

    by_worker: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    tasks: list[dict[str, Any]] = field(default_factory=list)
    priorities: set[int] = field(default_factory=set)


def ask(app: Celery, connection: Connection, known: int = 0) -> Answers:
    """Ask all workers; `known`: how many are expected to answer, so that nobody waits for more. Raises what kombu raises.

    As many as answered the first question are expected to answer the others.
    """
    answers = Answers()
    held: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for question in (FIRST, "active_queues", *_OF_TASKS):
        arguments = {"safe": True} if question == "active" else None
        for name, answer in _replies(app, connection, question, arguments, known):
            if question in _OF_TASKS:
                requests = list(_requests(answer))
                held[name][question] = requests
                answers.priorities.update(priority for request in requests if (priority := _priority(request)) is not None)
                answers.tasks += [_event(request, name, question) for request in requests]
            else:
                answers.by_worker[name][question] = answer
        known = len(answers.by_worker) if question == FIRST else known
        if not known:
            break
    for name, lists in held.items():
        if len(lists) == len(_OF_TASKS):
            answers.by_worker[name] |= _held(lists)
    del answers.tasks[TASKS_KEPT:]
    return answers


def _held(lists: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    requests = {request["id"]: request for requests in lists.values() for request in requests}
    return {
        "held": list(requests),
        "unacknowledged": [id_ for id_, request in requests.items() if request.get("acknowledged") is not True],
        "not_yet": [str(request.get("name")) for request in lists[_SCHEDULED]],
    }


def _replies(
    app: Celery, connection: Connection, question: str, arguments: dict[str, Any] | None, known: int
) -> Iterator[tuple[str, Any]]:
    replies = app.control.broadcast(
        question, connection=connection, arguments=arguments, reply=True, timeout=TIMEOUT, limit=known or None
    )
    for reply in (replies or ())[:WORKERS_KEPT]:
        if isinstance(reply, dict):
            yield from ((name, answer) for name, answer in reply.items() if isinstance(name, str))


def _requests(answer: Any) -> Iterator[dict[str, Any]]:
    """Yield the valid descriptions of requests in an answer; those that wait for their time are wrapped."""
    for item in answer if isinstance(answer, list) else ():
        request = item.get("request", item) if isinstance(item, dict) else None
        if isinstance(request, dict) and isinstance(request.get("id"), str) and 1 <= len(request["id"]) <= ID_KEPT:
            yield {**request, "eta": item.get("eta")}


def _priority(request: dict[str, Any]) -> int | None:
    """Return the priority of a request's message, as RabbitMQ and Redis have it; None if it has none."""
    info = request.get("delivery_info")
    priority = info.get("priority") if isinstance(info, dict) else None
    return priority if type(priority) is int and 0 <= priority <= 255 else None


def _event(request: dict[str, Any], worker: str, question: str) -> dict[str, Any]:
    started = request.get("time_start")
    info = request.get("delivery_info")
    return {
        ASKED: time.time(), "type": _OF_TASKS[question], "uuid": request["id"], "hostname": worker, "name": request.get("name"),
        "args": request.get("args"), "kwargs": request.get("kwargs"), "eta": request["eta"],
        "timestamp": started if isinstance(started, int | float) and question == "active" else time.time(),
        "queue": info.get("routing_key") if isinstance(info, dict) else None,
    }  # fmt: skip
