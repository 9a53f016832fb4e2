"""Finds things by a part of their name, for the palette: tasks, their names, queues, workers and applications.

Each search reads little: keys along the primary key, what processes have told, and which names and queues the index has.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import redis

from tasks_app import catalog
from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Visible
from tasks_app.queries.application_names import names_by_id
from tasks_app.queries.tasks import named
from tasks_app.search import planner
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import WorkerBeat, read_several
from zenith_worker.wire.keys import NATIVE

#: Results of each kind.
MOST: Final = 5
#: Tasks read whose id begins as somebody typed, newest first; of a limited caller's, those among them.
MOST_READ: Final = 100
#: Characters of an id's beginning: fewer begin very many ids.
LEAST_PREFIX: Final = 6
_PREFIX: Final = re.compile(rf"[0-9a-f-]{{{LEAST_PREFIX},36}}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """Something with a name, of an application; `application` is empty if it may be of several."""

    name: str
    application: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a text finds."""

    tasks: list[Task]
    task_names: list[Named]
    queues: list[Named]
    workers: list[Named]
    applications: list[str]


def find(text: str, visible: Visible) -> Found:
    """Return what a text finds among what a caller may see; about five queries. Raises django.db.Error.

    If Redis is unreachable, there are no workers, and only the queues that tasks were in.
    """
    names = dict(Application.objects.order_by("id").values_list("id", "name"))
    seen = {id_: name for id_, name in names.items() if visible is None or name in visible}
    beats = _beats(seen)
    pairs = planner.names_and_queues() if visible is None else []
    told_names = [Named(entry.name, seen[id_]) for id_, entry in catalog.every_entry() if id_ in seen]
    told_queues = [Named(queue, name) for name, beat in beats for queue in beat.queues]
    return Found(
        tasks=_tasks(text, visible),
        task_names=_best(text, _with_others(told_names, (name for name, _ in pairs))),
        queues=_best(text, _with_others(told_queues, (queue for _, queue in pairs))),
        workers=_best(text, (Named(beat.name, name) for name, beat in beats)),
        applications=[item.name for item in _best(text, (Named(name, name) for name in seen.values()))] if len(names) > 1 else [],
    )  # fmt: skip


def _tasks(text: str, visible: Visible) -> list[Task]:
    """Return the task of exactly this id, or those whose key begins with it, the newest first."""
    exact = list(named(text, visible).defer("args", "kwargs")[:MOST])
    if exact or not _PREFIX.fullmatch(text):
        return exact
    digits = text.replace("-", "")
    if not LEAST_PREFIX <= len(digits) <= len(UUID(int=0).hex):
        return []
    first, last = (UUID(digits.ljust(32, digit)) for digit in "0f")
    begun = Task.objects.filter(id__gte=first, id__lte=last).defer("args", "kwargs").order_by("-id")
    tasks = list(begun[: MOST if visible is None else MOST_READ])
    names = names_by_id(task.application_id for task in tasks)
    return [task for task in tasks if visible is None or names[task.application_id] in visible][:MOST]


def _beats(applications: dict[int, str]) -> list[tuple[str, WorkerBeat]]:
    """Return the workers of applications, each with the name of its own."""
    key_names = {NATIVE if id_ == NATIVE_ID else name: name for id_, name in applications.items()}
    try:
        beats = read_several(key_names)
    except redis.RedisError:
        return []
    return [(name, beat) for key_name, name in key_names.items() for beat in beats[key_name]]


def _with_others(told: list[Named], names: Iterable[str]) -> Iterator[Named]:
    """Yield what processes have told, and names besides, of which only tasks tell."""
    yield from told
    known = {item.name for item in told}
    for name in names:
        if name not in known:
            yield Named(name, "")


def _best(text: str, candidates: Iterable[Named]) -> list[Named]:
    """Return the candidates with a text in their name, in any case: first those that begin with it, then by name."""
    wanted = text.casefold()
    matching = {item for item in candidates if item.name and wanted in item.name.casefold()}

    def rank(item: Named) -> tuple[bool, str, bool, str]:
        return (not item.name.casefold().startswith(wanted), item.name, item.application != NATIVE_NAME, item.application)

    return sorted(matching, key=rank)[:MOST]
