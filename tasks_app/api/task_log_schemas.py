"""Requests and responses of `/api/v1/tasks/{task_id}/logs`."""

from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks_app.queries.task_logs import CURSOR_PATTERN, Level, LogFilter, LogPage, TaskLogLine, place_of
from tasks_app.search.parameters import FilterText


def _valid_cursor(cursor: str) -> str:
    place_of(cursor)
    return cursor


class TaskLogQuery(BaseModel):
    """Which lines of a task's log."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(pattern=CURSOR_PATTERN), AfterValidator(_valid_cursor)] = Field(
        default="", description="Only lines after the one with this cursor; if empty, from the first line on."
    )
    limit: int = Field(default=1000, ge=1, le=10_000)
    level: Level | None = Field(default=None, description="Only lines of this level or a higher one.")
    attempt: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Only lines of this attempt, from 1.")
    q: FilterText = Field(default="", description="Only lines whose message has this text, in whatever case.")

    def to_filter(self) -> LogFilter:
        """Return which lines are meant."""
        return LogFilter(self.level, self.attempt, self.q)

    def query_string(self) -> str:
        """Return the URL's query; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))


class LogLineAnswer(BaseModel):
    """A line that a task logged."""

    cursor: str = Field(description="The line's place: pass it as `after` to continue behind it.")
    at: datetime = Field(description="When it was logged, by the clock of its worker.")
    level: Level = Field(description="Its level, or the next lower one of these.")
    logger: str
    message: str = Field(description="May have several lines, such as a traceback.")
    attempt: int = Field(description="The attempt that logged it, from 1.")
    delivery: int = Field(description="How many times the attempt's message had been delivered before.")
    left_out: int = Field(description="How many lines are missing directly before this one, because there were too many.")

    @classmethod
    def of(cls, line: TaskLogLine) -> Self:
        """Return the response for a line."""
        return cls.model_construct(
            cursor=line.cursor, at=line.at, level=line.level, logger=line.logger, message=line.message, attempt=line.attempt,
            delivery=line.delivery, left_out=line.left_out,
        )  # fmt: skip


class TaskLogAnswer(BaseModel):
    """Some lines of a task's log, oldest first."""

    lines: list[LogLineAnswer]
    after: str = Field(description="Pass this as `after` to continue reading.")

    @classmethod
    def of(cls, page: LogPage) -> Self:
        """Return the response for a page of lines."""
        return cls.model_construct(lines=[LogLineAnswer.of(line) for line in page.lines], after=page.after)
