"""What a task logged, as pages, the API and commands show it.

A task has a bounded number of lines (recording/log_bounds.py), so they are read from the first one that is asked for and filtered
here, where secrets are masked: a search cannot find what is hidden. One query.
"""

import json
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

from tasks_app.models import Task, TaskLog
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.masking import mask_text

Level = Literal["debug", "info", "warning", "error", "critical"]
#: The levels by name, as `logging` numbers them, lowest first.
LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
    "critical": logging.CRITICAL,
}  # fmt: skip
CURSOR_PATTERN: Final = r"^([0-9]{1,19}\.[0-9]{1,6})?$"
_CURSOR: Final = re.compile(r"([0-9]{1,19})\.([0-9]{1,6})")
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TaskLogLine:
    """A logged line, with secrets masked.

    Attributes:
        cursor: its place; reading can continue behind it.
        attempt: the run of the task that logged it, from 1.
        delivery: how often this run's message had been handed out before.
        left_out: how many lines are missing directly before this one, because there were too many.
    """

    cursor: str
    at: datetime
    number: int
    logger: str
    message: str
    attempt: int
    delivery: int
    nesting: int
    left_out: int = 0

    @property
    def level(self) -> Level:
        """The name of its level, or of the next lower one that has a name."""
        return next((name for name, number in reversed(LEVELS.items()) if self.number >= number), "debug")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: from a level on, of one attempt (from 1), and with a text, whatever its case."""

    level: Level | None = None
    attempt: int | None = None
    q: str = ""


ALL: Final = LogFilter()


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some lines of a task, oldest first.

    Attributes:
        after: the cursor of the newest line, or the one that was asked for.
        more: whether there are more lines of this filter, in the direction of reading.
    """

    lines: list[TaskLogLine]
    after: str
    more: bool


def read_forward(task: Task, after: str = "", limit: int = 1000, only: LogFilter = ALL) -> LogPage:
    """Return the lines after a cursor, or from the first one on. Raises ValueError if it is no cursor."""
    lines = list(islice(matching(task, only, after=after), limit + 1))
    page = lines[:limit]
    return LogPage(page, page[-1].cursor if page else after, more=len(lines) > limit)


def read_newest(task: Task, before: str = "", limit: int = 1000, only: LogFilter = ALL) -> LogPage:
    """Return the newest lines, of those before a cursor if there is one. Raises ValueError if it is no cursor."""
    lines = deque(matching(task, only, before=before), limit + 1)
    page = list(lines)[-limit:]
    return LogPage(page, page[-1].cursor if page else "", more=len(lines) > limit)


def matching(task: Task, only: LogFilter = ALL, *, after: str = "", before: str = "") -> Iterator[TaskLogLine]:
    """Yield a task's lines between two cursors, oldest first. Raises ValueError if one of them is no cursor."""
    start, end = place_of(after) or (-1, -1), place_of(before) or (_MOST, 0)
    rows = TaskLog.objects.filter(task_id=task.pk, application=task.application_id or NATIVE_ID, position__lte=end[0])
    rows = rows.filter(position__gte=start[0]).order_by("position")
    level, text = LEVELS[only.level] if only.level else 0, only.q.lower()
    left_out = 0
    for row, first, missing in _in_order(rows, from_start=not after):
        left_out += missing
        if only.attempt is not None and row.attempt != only.attempt:
            continue
        for index, (at, number, logger, message) in enumerate(json.loads(row.text)):
            if index < first or number < level or not start < (row.position, index) < end:
                continue
            if text and text not in message.lower():
                continue
            shown = mask_text(message)
            if text and text not in shown.lower():
                continue
            yield TaskLogLine(
                f"{row.position}.{index}", datetime.fromtimestamp(at, UTC), number, logger, shown,
                row.attempt, row.delivery, row.nesting, left_out,
            )  # fmt: skip
            left_out = 0


def as_text(line: TaskLogLine) -> str:
    """Return a line as a file and a terminal show it."""
    note = f"… {line.left_out:,} lines were left out\n" if line.left_out else ""
    moment = line.at.isoformat(timespec="milliseconds")
    return f"{note}{moment} {line.level.upper():8} [{line.attempt}] {line.logger}: {line.message}"


def _in_order(rows: Iterable[TaskLog], *, from_start: bool) -> Iterator[tuple[TaskLog, int, int]]:
    """Yield rows, each with the index of its first line that is not a repetition, and how many are missing before it.

    Lines are numbered in their run. Some may come twice, if a worker did not hear that they had arrived.
    """
    expected: dict[tuple[int, int, int, int], int] = {}
    for row in rows:
        run = (row.nesting, row.attempt, row.delivery, row.source)
        number = expected.get(run, 0 if from_start else row.first)
        yield row, max(0, number - row.first), max(0, row.first - number) + row.left_out
        expected[run] = max(number, row.first + row.lines)


def place_of(cursor: str) -> tuple[int, int] | None:
    """Return the position and the index in a cursor; None for an empty one. Raises ValueError."""
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[1]) > _MOST:
        raise ValueError(f"{cursor[:50]!r} is no line's cursor")
    return int(found[1]), int(found[2])
