"""The time range of a chart and its steps: the same parameters on pages and in the API."""

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from django.db import connection
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from tasks_app.maintenance.compaction import DAY, MINUTE, OLDEST
from tasks_app.search.parameters import FilterText
from zenith_site.common.errors import InvalidQueryError, Problem

HOUR: Final = 3600
#: The most points of one series, and the number that an automatic step aims at.
MAX_POINTS: Final = 500
WANTED_POINTS: Final = 120
#: The longest time range, in seconds.
MAX_SPAN: Final = 10 * 366 * DAY


class Preset(StrEnum):
    """A time range that ends now; `all` begins with the oldest figures kept."""

    M15 = "15m"
    H1 = "1h"
    H6 = "6h"
    H24 = "24h"
    D7 = "7d"
    D30 = "30d"
    ALL = "all"


class Bucket(StrEnum):
    """The length of a step; steps of a day or longer begin at midnight UTC."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H3 = "3h"
    H6 = "6h"
    H12 = "12h"
    D1 = "1d"
    D7 = "7d"
    D30 = "30d"


_UNITS: Final = {"m": MINUTE, "h": HOUR, "d": DAY}


def seconds_of(name: Preset | Bucket) -> int:
    """Return the length of a preset (except `all`) or bucket, in seconds."""
    return int(name[:-1]) * _UNITS[name[-1]]


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Whole minutes from `since` to `until` (exclusive), in Unix time, and the length of a step."""

    since: int
    until: int
    step: int

    @property
    def minutes(self) -> float:
        """The length in minutes, at least one."""
        return max(1.0, (self.until - self.since) / MINUTE)

    def starts(self) -> range:
        """Return the start of each step."""
        return range(self.since // self.step * self.step, self.until, self.step)


def filled_preset(oldest: int | None) -> Preset:
    """Return the shortest preset, from an hour to a day, that shows all figures there are; a day if there are older ones.

    `oldest` is when they begin, in Unix time (`Watermarks.oldest`).
    """
    age = 0.0 if oldest is None else time.time() - oldest
    return next((preset for preset in (Preset.H1, Preset.H6) if age <= seconds_of(preset)), Preset.H24)


def span_of(window: Preset) -> TimeWindow:
    """Return the window of a preset, in one step. One query for `all`, none otherwise."""
    return _span(*_ends(window), None)


class Window(BaseModel):
    """A time range: a preset, or `since` and `until`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Preset | None = Field(default=None, description="A time range that ends now; `24h` by default.")
    since: AwareDatetime | None = Field(
        default=None, description="Start of the range, with a time zone; use it instead of `window`."
    )
    until: AwareDatetime | None = Field(default=None, description="End of the range, used with `since`; now by default.")

    @model_validator(mode="after")
    def _one_way(self) -> "Window":
        # A validator of the whole model would not name the parameter; this error does.
        if self.window is not None and (self.since or self.until):
            raise _wrong("window", "use either this or `since`, not both")
        if self.until and not self.since:
            raise _wrong("until", "requires `since`")
        if self.since and self._until() <= self.since.timestamp():
            raise _wrong("since", "must be before `until`, and in the past")
        if self.since and self._until() - self.since.timestamp() > MAX_SPAN:
            raise _wrong("since", "must be at most ten years before `until`")
        return self

    def span(self) -> TimeWindow:
        """Return the window, in one step."""
        return _span(*self._ends(), None)

    def query_string(self) -> str:
        """Return the URL's query for this window; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _until(self) -> float:
        return min(self.until.timestamp(), time.time() + DAY) if self.until else time.time()

    def _ends(self) -> tuple[float, float]:
        return (self.since.timestamp(), self._until()) if self.since else _ends(self.window or Preset.H24)


class SteppedWindow(Window):
    """A time range in steps."""

    bucket: Bucket | None = Field(
        default=None, description=f"The length of a step; by default the shortest that gives at most {WANTED_POINTS} points."
    )

    @model_validator(mode="after")
    def _not_too_many(self) -> "SteppedWindow":
        if self.bucket is not None and self.window != Preset.ALL and len(self.span().starts()) > MAX_POINTS:
            raise _wrong("bucket", f"is too short for this time range, which may have at most {MAX_POINTS} steps")
        return self

    def span(self) -> TimeWindow:
        """Return the window with its steps. For `all`, a step may be longer than requested."""
        since, until = self._ends()
        span = _span(since, until, seconds_of(self.bucket) if self.bucket else _step(until - since, WANTED_POINTS))
        if self.window == Preset.ALL and len(span.starts()) > MAX_POINTS:
            return _span(since, until, _step(until - since, MAX_POINTS))
        return span


#: What a parameter `application` does.
OF_APPLICATION: Final = "Only tasks of the application with this name; `zenith` is Zenith's own. By default those of all."


class Filtered(BaseModel):
    """The tasks to count."""

    task: FilterText = Field(default="", description="Only tasks of this name.")
    queue: FilterText = Field(default="", description="Only tasks of this queue.")
    application: FilterText = Field(default="", description=OF_APPLICATION)


class FilteredWindow(Window, Filtered):
    """A time range, and the tasks to count in it."""


class FilteredSteps(SteppedWindow, Filtered):
    """A time range in steps, and the tasks to count in it."""


def _wrong(name: str, detail: str) -> InvalidQueryError:
    return InvalidQueryError(Problem(name, detail))


def _step(seconds: float, points: int) -> int:
    """Return the shortest step that gives at most `points` points."""
    lengths = [seconds_of(bucket) for bucket in Bucket]
    return next((length for length in lengths if seconds / length <= points), lengths[-1])


def _span(since: float, until: float, step: int | None) -> TimeWindow:
    """Return a window of whole minutes that begins with a whole step."""
    first, last = int(since // MINUTE * MINUTE), int(-(-until // MINUTE) * MINUTE)
    return TimeWindow(first // step * step if step else first, last, step or max(MINUTE, last - first))


def _ends(window: Preset) -> tuple[float, float]:
    now = time.time()
    if window != Preset.ALL:
        return now - seconds_of(window), now
    with connection.cursor() as cursor:
        cursor.execute(OLDEST)
        oldest = cursor.fetchone()[0]
    return min(now - MINUTE, oldest) if oldest is not None else now - DAY, now
