"""Events grouped for people: what happened to one task at about the same time is one burst."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from tasks_app.models import Task, TaskEvent

#: Events of a task belong to one burst if each follows the one before within this time.
GAP: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Burst:
    """Events of one task that closely follow each other, newest first; at least one."""

    events: list[TaskEvent]

    @property
    def newest(self) -> TaskEvent:
        """The event that the burst led to."""
        return self.events[0]

    @property
    def task(self) -> Task:
        """The task to which all of it happened."""
        return self.newest.task

    @property
    def earlier(self) -> list[TaskEvent]:
        """The events before the newest, oldest first."""
        return self.events[:0:-1]

    @property
    def key(self) -> int:
        """The id of its oldest event, which stays when newer ones join."""
        return self.events[-1].id

    @property
    def worker(self) -> str:
        """The last worker that had the task."""
        return next((event.worker for event in self.events if event.worker), "")


def bursts(events: Iterable[TaskEvent]) -> list[Burst]:
    """Return the bursts of events that are given newest first, the burst with the newest event first."""
    found: list[Burst] = []
    open_bursts: dict[UUID, Burst] = {}
    for event in events:
        burst = open_bursts.get(event.task_id)
        if burst is not None and abs(burst.events[-1].at - event.at) <= GAP:
            burst.events.append(event)
        else:
            open_bursts[event.task_id] = burst = Burst([event])
            found.append(burst)
    return found
