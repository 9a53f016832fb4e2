"""Where a task comes from and what came of it: replays and the tasks that tasks send, both ways."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import CharField, Count, DateTimeField, QuerySet, Value
from django.db.models.functions import Cast

from tasks_app.models import Task
from tasks_app.queries.batches import Progress
from zenith_worker.wire.states import Status

#: Replays shown of one task, and children; a letter is replayed once, unless somebody forces more.
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Relative:
    """Another task, as a link shows it; without a status where only its id is known."""

    id: UUID
    status: str = ""
    name: str = ""
    created_at: datetime | None = None
    text_id: str = ""

    @property
    def celery_id(self) -> str:
        """The id by which Celery knows it."""
        return self.text_id or str(self.id)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A task's relatives and its batch.

    `replay_of` is the dead task that it stands in for, `replayed_by` those sent in its place, oldest first. `parent` is the task
    that sent it while it ran: only its id where it is not known (any more). `children` are the newest that it sent itself, the
    newest first, and `more_children` tells that there are older ones.
    """

    replay_of: Relative | None
    replayed_by: list[Relative]
    batch: Progress | None = None
    parent: Relative | None = None
    children: tuple[Relative, ...] = ()
    more_children: bool = False


def lineage(task: Task) -> Lineage:
    """Return a task's relatives, and how far its batch is, in one query."""
    found: dict[str, list[Relative]] = {"parent": [], "before": [], "after": [], "child": [], "batch": []}
    for kind, *relative in _parts(task):
        found[kind].append(Relative(*relative))
    unknown = Relative(task.parent_id) if task.parent_id else None
    children = sorted(found["child"], key=lambda one: (one.created_at, one.id), reverse=True)
    counts = {Status(one.status): int(one.name) for one in found["batch"]}
    return Lineage(
        replay_of=next(iter(found["before"]), None),
        replayed_by=sorted(found["after"], key=lambda one: one.id),
        batch=Progress(task.batch, counts) if task.batch else None,
        parent=next(iter(found["parent"]), unknown),
        children=tuple(children[:SHOWN]),
        more_children=len(children) > SHOWN,
    )


def _parts(task: Task) -> QuerySet[Task, Any]:
    """Return the kind of each relative, and what a Relative holds; of the batch, for each status a count in the name's place."""
    parts = [
        _part("after", Task.objects.filter(replay_of=task).order_by("id")[:SHOWN]),
        _part("child", Task.objects.filter(parent_id=task.id).order_by("-created_at", "-id")[: SHOWN + 1]),
        _part("before", Task.objects.filter(replays=task).order_by()),
    ]
    if task.parent_id:
        parts.append(_part("parent", Task.objects.filter(id=task.parent_id).order_by()))
    if task.batch_id:
        rows = (
            Task.objects.filter(batch=task.batch_id).order_by().annotate(kind=Value("batch")).values("kind", "batch_id", "status")
        )
        counted = rows.annotate(count=Cast(Count("id"), CharField()), at=Cast(Value(None), DateTimeField()), text=Value(""))
        parts.append(counted.values_list("kind", "batch_id", "status", "count", "at", "text"))
    return parts[0].union(*parts[1:], all=True)


def _part(kind: str, rows: QuerySet[Task]) -> QuerySet[Task, Any]:
    return rows.annotate(kind=Value(kind)).values_list("kind", "id", "status", "name", "created_at", "text_id")


def replays_of(task_ids: Iterable[UUID]) -> dict[UUID, list[Relative]]:
    """Return for each of these tasks the tasks sent in its place, oldest first, in one query."""
    found: dict[UUID, list[Relative]] = {}
    rows = Task.objects.filter(replay_of__in=list(task_ids)).order_by("id")
    for dead, new, status in rows.values_list("replay_of_id", "id", "status"):
        if dead is not None:
            found.setdefault(dead, []).append(Relative(new, status))
    return found
