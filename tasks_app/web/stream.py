"""The rows of the Overview's stream: consecutive tasks of one name and outcome are one row, which opens to the list of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from tasks_app.models import Task
from tasks_app.queries.arguments import argument_line

#: Tasks that are one row at least; fewer stay rows of their own.
FOLDED_FROM: Final = 4
#: Newest tasks that are read.
READ: Final = 60
#: Rows at most.
ROWS: Final = 25


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One task, or consecutive ones, newest first. `goes_on`: there may be older ones of the same kind, which were not read."""

    tasks: Sequence[Task]
    goes_on: bool = False

    @property
    def newest(self) -> Task:
        """The task that was created last, which stands for all."""
        return self.tasks[0]

    @property
    def oldest(self) -> Task:
        """The task that was created first. It stays the same while tasks are added to the row."""
        return self.tasks[-1]

    @property
    def line(self) -> str:
        """The arguments of the newest, in one line (queries/arguments.py)."""
        return argument_line(self.newest, self.newest)

    @property
    def is_folded(self) -> bool:
        """Whether these are several tasks."""
        return len(self.tasks) > 1

    @property
    def workers(self) -> list[str]:
        """The names of the workers that had them, without repetition."""
        return sorted({task.worker for task in self.tasks if task.worker})

    @property
    def runtimes(self) -> tuple[float, float] | None:
        """The shortest and the longest runtime, in seconds."""
        known = [task.runtime for task in self.tasks if task.runtime is not None]
        return (min(known), max(known)) if known else None


def folded(tasks: Iterable[Task], read: int = READ) -> list[StreamRow]:
    """Return the rows for the newest tasks, at most `read`: of FOLDED_FROM or more in a row that look the same, one.

    The tasks are read `with_lines`.
    """
    newest = list(tasks)
    rows: list[StreamRow] = []
    for _, group in groupby(newest, key=_likeness):
        same = list(group)
        rows += [StreamRow(same)] if len(same) >= FOLDED_FROM else [StreamRow([task]) for task in same]
    if len(newest) == read and rows[-1].is_folded:
        rows[-1] = replace(rows[-1], goes_on=True)
    return rows[:ROWS]


def _likeness(task: Task) -> tuple[str, str, str]:
    return task.name, task.status, task.error_type
