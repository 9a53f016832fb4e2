"""How far a task is, with its rate and the time that is left, as pages and the API show it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from tasks_app.models import Task, TaskProgress
from zenith_site.common.jsonsafe import bounded
from zenith_site.common.masking import mask, mask_text
from zenith_site.common.previews import SHOWN, shorten
from zenith_worker.wire.states import Status

#: Reports, and seconds between the first and the last of them, below which no rate is told: it would be a guess.
ENOUGH_SAMPLES: Final = 3
ENOUGH_SECONDS: Final = 2.0
#: Silence, in usual distances of two reports, after which it counts as time without progress.
SILENT_AFTER: Final = 2.0
_COUNTS: Final = frozenset({"current", "total"})


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps a second over the recent reports, and how many seconds are left; None if it is not known."""

    rate: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """What a task told last; secrets are masked.

    Attributes:
        meta: what it told besides the counts; None if nothing.
    """

    current: float | None
    total: float | None
    state: str
    meta: Any
    at: datetime
    pace: Pace

    @property
    def percent(self) -> float | None:
        """The share of the steps that are done; None if all steps are not known."""
        return None if self.total is None or self.current is None else 100 * self.current / self.total

    @property
    def counted(self) -> str:
        """The counts in words; empty without a count."""
        if self.current is None:
            return ""
        return f"{_number(self.current)} of {_number(self.total)}" if self.total is not None else _number(self.current)

    @property
    def rate_words(self) -> str:
        """The rate in words; empty if it is not known."""
        rate = self.pace.rate
        if rate is None:
            return ""
        if rate >= 1:
            return f"{_number(rate, digits=1)} a second"
        return f"{_number(60 * rate, digits=1)} a minute" if rate >= 1 / 60 else f"{_number(3600 * rate, digits=1)} an hour"


def progress_of(task: Task, limit: int = SHOWN, now: datetime | None = None) -> ProgressView | None:
    """Return how far a task is; None if it told nothing, or not yet in its newest run. No query: the task was read with it.

    `limit`: how many characters of what it tells besides the counts are shown.
    """
    row = _row(task)
    if row is None or row.run < task.position >> 8:
        return None
    is_running = task.status == Status.STARTED
    meta, _ = shorten(_besides_counts(row.meta), limit)
    return ProgressView(
        current=_exact(row.current), total=_exact(row.total), state=mask_text(row.state), meta=mask(bounded(meta)), at=row.at,
        pace=pace(row, now or timezone.now()) if is_running else Pace(),
    )  # fmt: skip


def _row(task: Task) -> TaskProgress | None:
    """Return the row that was read with the task, if there is one."""
    if not Task.progress.is_cached(task):
        return None
    row: TaskProgress | None = getattr(task, "progress", None)
    return row


def pace(row: TaskProgress, now: datetime) -> Pace:
    """Return how fast a running task is, over its recent reports, and how long it still takes at that pace.

    If nothing was reported for longer than usual, that time counts, too: then it is slower than its reports say.
    """
    if row.current is None or row.earlier_at is None or row.earlier_current is None or row.samples < ENOUGH_SAMPLES:
        return Pace()
    seconds, steps = (row.at - row.earlier_at).total_seconds(), row.current - row.earlier_current
    if seconds < ENOUGH_SECONDS or steps <= 0:
        return Pace()
    # The worker's clock may be ahead of this one.
    silence = max(0.0, (now - row.at).total_seconds())
    is_silent = silence > SILENT_AFTER * seconds / (row.samples - 1)
    rate = steps / (seconds + silence if is_silent else seconds)
    if row.total is None:
        return Pace(rate)
    left = (row.total - row.current) / rate
    return Pace(rate, left if is_silent else max(0.0, left - silence))


def _besides_counts(meta: Any) -> Any:
    if not isinstance(meta, dict):
        return meta
    return {name: value for name, value in meta.items() if name not in _COUNTS} or None


def _exact(count: float | None) -> float | None:
    return int(count) if count is not None and count.is_integer() else count


def _number(value: float, digits: int = 2) -> str:
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"
