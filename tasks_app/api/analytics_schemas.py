"""What the analytics API returns. Values come from the database, so they are not validated again."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from tasks_app.analytics.figures import HeatRow, LoadPoint, Stats
from tasks_app.analytics.rollups import Totals
from tasks_app.analytics.window import Preset, TimeWindow
from zenith_worker.wire.states import Status

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float | None, Field(ge=0)]
_Bytes = Annotated[int | None, Field(ge=0)]
_Percent = Annotated[float | None, Field(ge=0, le=100)]


class StatsAnswer(BaseModel):
    """The figures of a window; times are null if nothing ran in it."""

    total_tasks: _Count = Field(description="Tasks that ended in the window, plus those that are open now.")
    success_rate: _Percent = Field(description="Percentage of finished tasks that succeeded.")
    avg_processing_time: _Seconds = Field(description="Average duration of a run, in seconds.")
    throughput: float = Field(ge=0, description="Tasks finished (succeeded or failed) per minute.")
    p50: _Seconds = Field(description="Median duration of a run, in seconds.")
    p95: _Seconds
    p99: _Seconds
    by_status: dict[Status, _Count] = Field(
        description="Number of tasks by status: for a final status those that ended in the window, for any other those in it now."
    )
    window: Preset

    @classmethod
    def of(cls, stats: Stats, window: Preset) -> "StatsAnswer":
        """Return the response for a window's figures."""
        totals, by_status = stats.totals, stats.by_status
        return cls.model_construct(
            total_tasks=sum(by_status.values()), success_rate=totals.success_rate, avg_processing_time=totals.runtime_mean,
            throughput=stats.throughput, p50=totals.runtime(0.5), p95=totals.runtime(0.95), p99=totals.runtime(0.99),
            by_status={Status(status): count for status, count in by_status.items()}, window=window,
        )  # fmt: skip


class Outcomes(BaseModel):
    """Outcomes of a period, runtimes, and how long each last attempt waited for a worker. All times are in seconds."""

    succeeded: _Count
    failed: _Count = Field(description="Tasks that ended as FAILURE.")
    revoked: _Count
    retried: _Count = Field(description="Failed attempts that were followed by another one.")
    success_rate: _Percent
    runtime_mean: _Seconds
    runtime_p50: _Seconds
    runtime_p95: _Seconds
    runtime_p99: _Seconds
    waiting_mean: _Seconds
    waiting_p50: _Seconds
    waiting_p95: _Seconds


class Point(Outcomes):
    """One step of a series."""

    at: datetime = Field(description="The start of the step.")

    @classmethod
    def of(cls, at: datetime, totals: Totals) -> "Point":
        """Return the point for a step."""
        return cls.model_construct(at=at, **_outcomes(totals))


class SpanAnswer(BaseModel):
    """The period that the response covers."""

    since: datetime
    until: datetime

    @staticmethod
    def ends(span: TimeWindow) -> dict[str, Any]:
        """Return both ends of a span, as keyword arguments."""
        return {name: datetime.fromtimestamp(getattr(span, name), tz=UTC) for name in ("since", "until")}


class SeriesAnswer(SpanAnswer):
    """Outcomes step by step, including steps in which nothing ended. The last step may still be in progress."""

    step_seconds: int = Field(ge=60)
    points: list[Point]


class Row(Outcomes):
    """One task or queue."""

    name: str
    cpu_mean: _Seconds = Field(description="CPU time of a run, in seconds; null if no worker told it.")
    cpu_p50: _Seconds
    cpu_p95: _Seconds
    memory_p50: _Bytes = Field(description="The largest memory of a run's process, in bytes; null if no worker told it.")
    memory_p95: _Bytes

    @classmethod
    def of(cls, name: str, totals: Totals) -> "Row":
        """Return the row for a task's or queue's sums."""
        return cls.model_construct(
            name=name, **_outcomes(totals), cpu_mean=totals.cpu_mean, cpu_p50=totals.cpu(0.5), cpu_p95=totals.cpu(0.95),
            memory_p50=totals.memory(0.5), memory_p95=totals.memory(0.95),
        )  # fmt: skip


class SummaryAnswer(SpanAnswer):
    """Each task or queue, in the requested order."""

    rows: list[Row]


class HeatRowAnswer(BaseModel):
    """One day: 24 hourly counts, starting at midnight."""

    day: date | None = Field(description="The date; null in a map by weekday.")
    weekday: int = Field(ge=1, le=7, description="1 is Monday.")
    finished: list[_Count] = Field(min_length=24, max_length=24)
    failed: list[_Count] = Field(min_length=24, max_length=24)

    @classmethod
    def of(cls, row: HeatRow) -> "HeatRowAnswer":
        """Return the response for one row."""
        day = row.day if isinstance(row.day, date) else None
        weekday = day.isoweekday() if day else row.day
        return cls.model_construct(day=day, weekday=weekday, finished=row.finished, failed=row.failed)


class HeatMapAnswer(SpanAnswer):
    """Activity by hour and day."""

    timezone: str
    rows: list[HeatRowAnswer]


class LoadPointAnswer(BaseModel):
    """One step; a value is null if nothing finished or no engine took a sample."""

    at: datetime
    success_rate: _Percent
    workers: float | None = Field(ge=0, description="Workers online, on average.")
    slots: float | None = Field(ge=0, description="Tasks that these workers can run at once, on average.")
    busy: float | None = Field(ge=0, description="Busy slots, on average.")
    load: float | None = Field(ge=0, description="Percentage of slots that were busy.")

    @classmethod
    def of(cls, point: LoadPoint) -> "LoadPointAnswer":
        """Return the response for one step."""
        return cls.model_construct(
            at=point.at, success_rate=point.success_rate, workers=point.workers, slots=point.slots, busy=point.busy,
            load=point.load,
        )  # fmt: skip


class LoadAnswer(SpanAnswer):
    """Efficiency and load, step by step."""

    step_seconds: int = Field(ge=60)
    points: list[LoadPointAnswer]


def _outcomes(totals: Totals) -> dict[str, Any]:
    return {
        "succeeded": totals.succeeded, "failed": totals.failed, "revoked": totals.revoked, "retried": totals.retried,
        "success_rate": totals.success_rate, "runtime_mean": totals.runtime_mean, "runtime_p50": totals.runtime(0.5),
        "runtime_p95": totals.runtime(0.95), "runtime_p99": totals.runtime(0.99), "waiting_mean": totals.waiting_mean,
        "waiting_p50": totals.waiting(0.5), "waiting_p95": totals.waiting(0.95),
    }  # fmt: skip
