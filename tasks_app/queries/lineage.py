"""A task's relatives, in both directions: replays, and the tasks that a task's body sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import CharField, Count, DateTimeField, QuerySet, Value
from django.db.models.functions import Cast

from tasks_app.models import Task, Workflow
from tasks_app.models.application import Visible, of_visible
from tasks_app.queries.batches import Progress
from zenith_worker.wire.states import Status

#: The most replays and children shown of one task.
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Relative:
    """Another task, as a link shows it; without a status if only its id is known."""

    id: UUID
    status: str = ""
    name: str = ""
    created_at: datetime | None = None
    text_id: str = ""

    @property
    def celery_id(self) -> str:
        """The task's id in Celery."""
        return self.text_id or str(self.id)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A task's relatives and its batch.

    `replay_of` is the dead task that it replaces, `replayed_by` the tasks that replaced it, oldest first. `parent` is the task
    that sent it while it ran; it has only an id if its row is not known (any more). `children` are the newest tasks that it
    sent, newest first, and `more_children` tells whether there are older ones. `workflow` is the root of its workflow.
    """

    replay_of: Relative | None
    replayed_by: list[Relative]
    batch: Progress | None = None
    parent: Relative | None = None
    children: tuple[Relative, ...] = ()
    more_children: bool = False
    workflow: UUID | None = None


def lineage(task: Task, visible: Visible = None) -> Lineage:
    """Return a task's relatives, of applications that the caller may see, and its batch's progress, in one query."""
    relatives: dict[str, list[Relative]] = {"parent": [], "before": [], "after": [], "child": [], "batch": [], "workflow": []}
    for kind, *relative in _parts(task, visible):
        relatives[kind].append(Relative(*relative))
    unknown_parent = Relative(task.parent_id) if task.parent_id else None
    children = sorted(relatives["child"], key=lambda child: (child.created_at, child.id), reverse=True)
    counts = {Status(row.status): int(row.name) for row in relatives["batch"]}
    return Lineage(
        replay_of=next(iter(relatives["before"]), None),
        replayed_by=sorted(relatives["after"], key=lambda replay: replay.id),
        batch=Progress(task.batch, counts) if task.batch else None,
        parent=next(iter(relatives["parent"]), unknown_parent),
        children=tuple(children[:SHOWN]),
        more_children=len(children) > SHOWN,
        workflow=task.root_id or next((relative.id for relative in relatives["workflow"]), None),
    )


def _parts(task: Task, visible: Visible) -> QuerySet[Any, Any]:
    """Return the kind and the fields of each Relative; for the batch, a row for each status with the count as the name."""
    seen = Task.objects.filter(of_visible(visible))
    parts: list[QuerySet[Any, Any]] = [
        _part("after", seen.filter(replay_of=task).order_by("id")[:SHOWN]),
        _part("child", seen.filter(parent_id=task.id).order_by("-created_at", "-id")[: SHOWN + 1]),
        _part("before", seen.filter(replays=task).order_by()),
    ]
    if task.root_id is None:
        parts.append(_workflow(task))
    if task.parent_id:
        parts.append(_part("parent", seen.filter(id=task.parent_id).order_by()))
    if task.batch_id:
        rows = (
            Task.objects.filter(batch=task.batch_id).order_by().annotate(kind=Value("batch")).values("kind", "batch_id", "status")
        )
        counted = rows.annotate(count=Cast(Count("id"), CharField()), at=Cast(Value(None), DateTimeField()), text=Value(""))
        parts.append(counted.values_list("kind", "batch_id", "status", "count", "at", "text"))
    return parts[0].union(*parts[1:], all=True)


def _part(kind: str, rows: QuerySet[Task]) -> QuerySet[Task, Any]:
    return rows.annotate(kind=Value(kind)).values_list("kind", "id", "status", "name", "created_at", "text_id")


def _workflow(task: Task) -> QuerySet[Workflow, Any]:
    """Return the workflow that begins with a task, in the columns of a Relative."""
    blank = {name: Value("") for name in ("status", "name", "text_id")}
    begun = Workflow.objects.filter(id=task.id).order_by().annotate(kind=Value("workflow"), **blank)
    return begun.values_list("kind", "id", "status", "name", "created_at", "text_id")


def replays_of(task_ids: Iterable[UUID]) -> dict[UUID, list[Relative]]:
    """Return for each of these tasks those that replaced it, oldest first, in one query."""
    replays: dict[UUID, list[Relative]] = {}
    rows = Task.objects.filter(replay_of__in=list(task_ids)).order_by("id")
    for dead, new, status in rows.values_list("replay_of_id", "id", "status"):
        if dead is not None:
            replays.setdefault(dead, []).append(Relative(new, status))
    return replays
