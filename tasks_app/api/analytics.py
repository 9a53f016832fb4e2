"""The analytics API: the original's figures, and under /api/v1 the data of the charts."""

from enum import StrEnum
from functools import cache
from typing import Annotated, Final
from zoneinfo import available_timezones

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks_app.analytics import figures
from tasks_app.analytics.figures import Order
from tasks_app.analytics.rollups import RollupFilter
from tasks_app.analytics.window import OF_APPLICATION, Filtered, FilteredSteps, FilteredWindow, Preset, SteppedWindow
from tasks_app.api.analytics_schemas import (
    HeatMapAnswer,
    HeatRowAnswer,
    LoadAnswer,
    LoadPointAnswer,
    Point,
    Row,
    SeriesAnswer,
    SpanAnswer,
    StatsAnswer,
    SummaryAnswer,
)
from tasks_app.search.parameters import FilterText
from zenith_site.common.callers import VIEW, Caller, Shows, authorize
from zenith_site.common.paging import refuse_unknown

stats_router = Router(tags=["analytics"])
router = Router(tags=["analytics"])

MAX_ROWS: Final = 500


class StatsQuery(BaseModel):
    """The window to report on."""

    model_config = ConfigDict(extra="forbid")

    window: Preset = Field(default=Preset.H24, description="A period that ends now; `all` covers everything that is retained.")
    application: FilterText = Field(default="", description=OF_APPLICATION)


class LoadQuery(SteppedWindow):
    """A time range in steps, and whose tasks to count in it."""

    application: FilterText = Field(
        default="", description=f"{OF_APPLICATION} Workers are those of Zenith's own application only."
    )


class SummaryQuery(FilteredWindow):
    """The window, order and size of a summary."""

    sort: Order = Field(
        default=Order.BUSIEST, description="The order of the rows; `slowest` and `waiting` go by the 95th percentile."
    )
    limit: int = Field(default=100, ge=1, le=MAX_ROWS, description="The maximum number of rows.")


class Days(StrEnum):
    """What one row of the heat map stands for."""

    WEEKDAY = "weekday"
    DATE = "date"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("is not the name of a time zone, such as Europe/Berlin")
    return name


class HeatQuery(FilteredWindow):
    """The window of a heat map, and its layout."""

    by: Days = Field(default=Days.WEEKDAY, description="One row per weekday, or one per date on which a task ended.")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", max_length=64, description="A time zone by its IANA name.", examples=["Europe/Berlin"]
    )


@stats_router.get(
    "/analytics/stats", response=StatsAnswer, summary="Show the figures of a window", operation_id="analytics_stats"
)
def stats(request: HttpRequest, query: Query[StatsQuery]) -> StatsAnswer:
    """Return the number of tasks, their success rate and their processing times."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, StatsQuery)
    return StatsAnswer.of(figures.stats(query.window, query.application, caller.applications), query.window)


@router.get("/series", response=SeriesAnswer, summary="Show outcomes and times step by step", operation_id="analytics_series")
def series(request: HttpRequest, query: Query[FilteredSteps]) -> SeriesAnswer:
    """Return throughput, runtime percentiles and waiting times for each step of a window."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, FilteredSteps)
    span = query.span()
    points = [Point.of(at, totals) for at, totals in figures.series(span, _rollup_filter(query, caller))]
    return SeriesAnswer.model_construct(**SpanAnswer.ends(span), step_seconds=span.step, points=points)


@router.get("/tasks", response=SummaryAnswer, summary="Compare tasks", operation_id="analytics_tasks")
def by_task(request: HttpRequest, query: Query[SummaryQuery]) -> SummaryAnswer:
    """Return the outcomes and times of each task name in a window: the busiest, slowest or most failing first."""
    return _summary(request, query, "task")


@router.get("/queues", response=SummaryAnswer, summary="Compare queues", operation_id="analytics_queues")
def by_queue(request: HttpRequest, query: Query[SummaryQuery]) -> SummaryAnswer:
    """Return the outcomes and times of each queue in a window: the busiest, slowest or most failing first."""
    return _summary(request, query, "queue")


@router.get("/heatmap", response=HeatMapAnswer, summary="Show activity by hour and day", operation_id="analytics_heatmap")
def heat_map(request: HttpRequest, query: Query[HeatQuery]) -> HeatMapAnswer:
    """Return how many tasks finished and failed in each hour, by weekday or by date."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, HeatQuery)
    span = query.span()
    rows = figures.heat_map(span, _rollup_filter(query, caller), by_date=query.by == Days.DATE, zone=query.timezone)
    answers = [HeatRowAnswer.of(row) for row in rows]
    return HeatMapAnswer.model_construct(**SpanAnswer.ends(span), timezone=query.timezone, rows=answers)


@router.get("/load", response=LoadAnswer, summary="Show efficiency and load step by step", operation_id="analytics_load")
def load(request: HttpRequest, query: Query[LoadQuery]) -> LoadAnswer:
    """Return the success rate and the share of busy worker slots for each step of a window."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, LoadQuery)
    span = query.span()
    selection = RollupFilter(application=query.application, visible=caller.applications)
    points = [LoadPointAnswer.of(point) for point in figures.load(span, selection)]
    return LoadAnswer.model_construct(**SpanAnswer.ends(span), step_seconds=span.step, points=points)


def _summary(request: HttpRequest, query: SummaryQuery, by: str) -> SummaryAnswer:
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, SummaryQuery)
    span = query.span()
    summary = figures.summary(span, _rollup_filter(query, caller), by=by, order=query.sort, limit=query.limit)
    rows = [Row.of(name, totals) for name, totals in summary]
    return SummaryAnswer.model_construct(**SpanAnswer.ends(span), rows=rows)


def _rollup_filter(query: Filtered, caller: Caller) -> RollupFilter:
    return RollupFilter(task=query.task, queue=query.queue, application=query.application, visible=caller.applications)
