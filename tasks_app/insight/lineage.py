"""Where a task comes from and what came of it: replays, both ways."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tasks_app.insight.batches import Progress, progress
from tasks_app.models import Task

#: Replays shown of one task; a letter is replayed once, unless somebody forces more.
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Relative:
    """Another task, as a link shows it."""

    id: UUID
    status: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """The dead task that this one stands in for, and the tasks sent in place of this one, oldest first; its batch, too."""

    replay_of: Relative | None
    replayed_by: list[Relative]
    batch: Progress | None = None


def lineage(task: Task) -> Lineage:
    """Return a task's relatives, in one query, and in one more how far its batch is."""
    found = progress(task.batch) if task.batch else None
    if task.replay_of_id is None and not task.is_finished:
        return Lineage(None, [], found)
    fields = ("id", "status")
    before = Task.objects.filter(replays=task).order_by().values_list(*fields)
    after = Task.objects.filter(replay_of=task).order_by("id").values_list(*fields)[:SHOWN]
    relatives = [Relative(*row) for row in before.union(after, all=True)]
    replayed_by = sorted((one for one in relatives if one.id != task.replay_of_id), key=lambda one: one.id)
    replay_of = next((one for one in relatives if one.id == task.replay_of_id), None)
    return Lineage(replay_of, replayed_by, found)


def replays_of(task_ids: Iterable[UUID]) -> dict[UUID, list[Relative]]:
    """Return for each of these tasks the tasks sent in its place, oldest first, in one query."""
    found: dict[UUID, list[Relative]] = {}
    rows = Task.objects.filter(replay_of__in=list(task_ids)).order_by("id")
    for dead, new, status in rows.values_list("replay_of_id", "id", "status"):
        if dead is not None:
            found.setdefault(dead, []).append(Relative(new, status))
    return found
