"""The event feed that live pages and resuming clients read.

Ids follow the order of the commits (recording/events.py), so "after N" never misses one.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Max, Min

from tasks_app.models import TaskEvent
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.errors import InvalidQueryError, Problem
from zenith_site.common.jsonsafe import MAX_NAMED
from zenith_worker.wire.states import Status, attempt_of

#: The most events that a reader catches up with; if there are more, it should read its list again.
MAX_BEHIND: Final = 5000


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event as a live reader sees it."""

    id: int
    task_id: UUID
    name: str
    queue: str
    status: str
    position: int
    worker: str
    at: datetime
    parent_id: UUID | None = None
    replay_of_id: UUID | None = None
    text_id: str = ""
    application_id: int | None = NATIVE_ID
    root_id: UUID | None = None

    def concerns(self, ids: Collection[str]) -> bool:
        """Return whether this is an event of one of these tasks, of one that they sent, of their workflow, or in their place."""
        return any(str(id_) in ids for id_ in (self.task_id, self.parent_id, self.replay_of_id, self.root_id) if id_)

    def as_json(self) -> dict[str, Any]:
        """Return the fields of a task in a TASK_UPDATE frame."""
        return {
            "task_id": self.text_id or str(self.task_id),
            "name": self.name,
            "status": self.status,
            "attempt": attempt_of(self.position) + 1,
            "worker": self.worker or None,
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """A reader's filter: events that match every given dimension, each with any of its values.

    A status selects events, not the current status of tasks: with RETRY a reader gets every retry, even if the task has moved
    on since.
    """

    status: frozenset[str] = frozenset()
    task: frozenset[str] = frozenset()
    queue: frozenset[str] = frozenset()

    @classmethod
    def of(cls, parameters: Mapping[str, Iterable[str]]) -> "FeedFilter":
        """Parse the parameters of a URL, each repeated or separated by commas.

        Raises InvalidQueryError for an unknown parameter or status.
        """
        filter_names = [field.name for field in fields(cls)]
        filters: dict[str, frozenset[str]] = {}
        problems = []
        for name, texts in parameters.items():
            if name not in filter_names:
                problems.append(Problem(name[:50], f"is not a filter; filters are {', '.join(filter_names)}"))
                continue
            values = {value.strip() for text in texts for value in text.split(",")} - {""}
            if name == "status":
                values = {value.upper() for value in values}
                unknown = sorted(values - set(Status))
                problems += [
                    Problem(name, f"{value[:50]!r} is not a status; statuses are {', '.join(Status)}") for value in unknown
                ]
            filters[name] = frozenset(values)
        if problems:
            raise InvalidQueryError(*problems[:MAX_NAMED])
        return cls(**filters)

    def accepts(self, event: FeedEvent) -> bool:
        """Return whether this event matches."""
        return (
            (not self.status or event.status in self.status)
            and (not self.task or event.name in self.task)
            and (not self.queue or event.queue in self.queue)
        )


def newest_id() -> int:
    """Return the id of the newest event, or 0 if there is none."""
    return TaskEvent.objects.aggregate(newest=Max("id"))["newest"] or 0


def since(after: int) -> list[FeedEvent] | None:
    """Return the events after `after`, oldest first, or None if there are more than MAX_BEHIND."""
    columns = (
        "id", "task_id", "task__name", "task__queue", "status", "position", "worker", "at",
        "task__parent_id", "task__replay_of_id", "task__text_id", "task__application_id", "task__root_id",
    )  # fmt: skip
    rows = TaskEvent.objects.filter(id__gt=after).order_by("id").values_list(*columns)[: MAX_BEHIND + 1]
    events = [FeedEvent(*row) for row in rows]
    return None if len(events) > MAX_BEHIND else events


def reaches_back_to(after: int) -> bool:
    """Return whether every event after `after` is still kept."""
    oldest = TaskEvent.objects.aggregate(oldest=Min("id"))["oldest"]
    return oldest is None or after >= oldest - 1 or after == 0


def newest_per_task(events: Iterable[FeedEvent]) -> list[FeedEvent]:
    """Return one event for each task, the one furthest along, in order of their ids."""
    newest: dict[UUID, FeedEvent] = {}
    for event in events:
        best = newest.get(event.task_id)
        if best is None or event.position >= best.position:
            newest[event.task_id] = event
    return sorted(newest.values(), key=lambda event: event.id)
