"""What the analytics API gives. Values come from the database: none is checked again."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from tasks_app.analytics.figures import HeatRow, LoadPoint, Stats
from tasks_app.analytics.rollups import Totals
from tasks_app.analytics.window import Preset, TimeWindow
from zenith_worker.wire.states import Status

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float | None, Field(ge=0)]
_Percent = Annotated[float | None, Field(ge=0, le=100)]


class StatsAnswer(BaseModel):
    """The figures of a window; times are null where nothing ran in it."""

    total_tasks: _Count = Field(description="Tasks that ended in the window, and those that are open now.")
    success_rate: _Percent = Field(description="Percent of the finished tasks that succeeded.")
    avg_processing_time: _Seconds = Field(description="Seconds that a run took on average.")
    throughput: float = Field(ge=0, description="Tasks finished (succeeded or failed) per minute.")
    p50: _Seconds = Field(description="Seconds within which half of the runs were over.")
    p95: _Seconds
    p99: _Seconds
    by_status: dict[Status, _Count] = Field(
        description="How many ended with each final status in the window, and are in each other status now."
    )
    window: Preset

    @classmethod
    def of(cls, stats: Stats, window: Preset) -> "StatsAnswer":
        """Return the answer for a window's figures."""
        totals, by_status = stats.totals, stats.by_status
        return cls.model_construct(
            total_tasks=sum(by_status.values()), success_rate=totals.success_rate, avg_processing_time=totals.runtime_mean,
            throughput=stats.throughput, p50=totals.runtime(0.5), p95=totals.runtime(0.95), p99=totals.runtime(0.99),
            by_status={Status(status): count for status, count in by_status.items()}, window=window,
        )  # fmt: skip


class Outcomes(BaseModel):
    """What ended in some time, how long it ran, and how long its last attempt had waited for a worker; in seconds."""

    succeeded: _Count
    failed: _Count = Field(description="Tasks that gave up.")
    revoked: _Count
    retried: _Count = Field(description="Attempts that failed and were followed by another.")
    success_rate: _Percent
    runtime_mean: _Seconds
    runtime_p50: _Seconds
    runtime_p95: _Seconds
    runtime_p99: _Seconds
    waiting_mean: _Seconds
    waiting_p50: _Seconds
    waiting_p95: _Seconds


class Point(Outcomes):
    """One step."""

    at: datetime = Field(description="When the step begins.")

    @classmethod
    def of(cls, at: datetime, totals: Totals) -> "Point":
        """Return the point for a step."""
        return cls.model_construct(at=at, **_outcomes(totals))


class SpanAnswer(BaseModel):
    """Which time the answer is about."""

    since: datetime
    until: datetime

    @staticmethod
    def ends(span: TimeWindow) -> dict[str, Any]:
        """Return both ends of a span."""
        return {name: datetime.fromtimestamp(getattr(span, name), tz=UTC) for name in ("since", "until")}


class SeriesAnswer(SpanAnswer):
    """Outcomes step by step; also the steps in which nothing ended. The last one may not be over yet."""

    step_seconds: int = Field(ge=60)
    points: list[Point]


class Row(Outcomes):
    """One task or queue."""

    name: str

    @classmethod
    def of(cls, name: str, totals: Totals) -> "Row":
        """Return the row for a task's or queue's sums."""
        return cls.model_construct(name=name, **_outcomes(totals))


class SummaryAnswer(SpanAnswer):
    """Each task or queue, in the order that was asked for."""

    rows: list[Row]


class HeatRowAnswer(BaseModel):
    """One day: 24 numbers, from midnight on."""

    day: date | None = Field(description="The date; null in a map by weekday.")
    weekday: int = Field(ge=1, le=7, description="1 is Monday.")
    finished: list[_Count] = Field(min_length=24, max_length=24)
    failed: list[_Count] = Field(min_length=24, max_length=24)

    @classmethod
    def of(cls, row: HeatRow) -> "HeatRowAnswer":
        """Return the answer for one row."""
        day = row.day if isinstance(row.day, date) else None
        weekday = day.isoweekday() if day else row.day
        return cls.model_construct(day=day, weekday=weekday, finished=row.finished, failed=row.failed)


class HeatMapAnswer(SpanAnswer):
    """When work was done."""

    timezone: str
    rows: list[HeatRowAnswer]


class LoadPointAnswer(BaseModel):
    """One step; null where nothing finished, or no engine looked."""

    at: datetime
    success_rate: _Percent
    workers: float | None = Field(ge=0, description="Workers online, on average.")
    slots: float | None = Field(ge=0, description="Tasks that they can run at once, on average.")
    busy: float | None = Field(ge=0, description="Slots that were busy, on average.")
    load: float | None = Field(ge=0, description="Percent of the slots that were busy.")

    @classmethod
    def of(cls, point: LoadPoint) -> "LoadPointAnswer":
        """Return the answer for one step."""
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
