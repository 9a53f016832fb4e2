"""What happened since: the events that live pages and resuming clients read.

Ids follow the order of the commits (tracking/events.py), so "after N" never misses one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Max, Min

from tasks_app.models import TaskEvent
from tasks_app.states import attempt_of

#: More than this at once is not caught up with: the reader should read its list anew.
MAX_BEHIND: Final = 5000


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event as a live reader sees it."""

    id: int
    task_id: UUID
    name: str
    status: str
    position: int
    worker: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the members that the contract gives a task in a TASK_UPDATE frame."""
        return {
            "task_id": str(self.task_id),
            "name": self.name,
            "status": self.status,
            "attempt": attempt_of(self.position) + 1,
            "worker": self.worker or None,
            "at": self.at.isoformat(),
        }


def newest_id() -> int:
    """Return the id of the newest event; 0 where there is none."""
    return TaskEvent.objects.aggregate(newest=Max("id"))["newest"] or 0


def since(after: int) -> list[FeedEvent] | None:
    """Return the events after `after`, oldest first; None where they are too many."""
    fields = ("id", "task_id", "task__name", "status", "position", "worker", "at")
    rows = TaskEvent.objects.filter(id__gt=after).order_by("id").values_list(*fields)[: MAX_BEHIND + 1]
    found = [FeedEvent(*row) for row in rows]
    return None if len(found) > MAX_BEHIND else found


def reaches_back_to(after: int) -> bool:
    """Return whether every event after `after` is still kept."""
    oldest = TaskEvent.objects.aggregate(oldest=Min("id"))["oldest"]
    return oldest is None or after >= oldest - 1 or after == 0


def newest_per_task(events: Iterable[FeedEvent]) -> list[FeedEvent]:
    """Return one event for each task: the one that is furthest along; in order of their ids."""
    newest: dict[UUID, FeedEvent] = {}
    for event in events:
        known = newest.get(event.task_id)
        if known is None or event.position >= known.position:
            newest[event.task_id] = event
    return sorted(newest.values(), key=lambda event: event.id)
