"""The charts of outcomes, for the Overview and Analytics: throughput, efficiency and load, runtimes, waiting times."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tasks_app.analytics.figures import LoadPoint
from tasks_app.analytics.rollups import Totals
from tasks_app.analytics.window import TimeWindow
from tasks_app.web.charts import Chart, Series, Unit, Value, chart

Points = Sequence[tuple[datetime, Totals]]
PERCENTILES: Final = (("p50", "line-success", 0.5), ("p95", "line-retry", 0.95), ("p99", "line-failure", 0.99))
#: Seconds that a step counts as having lasted at least, so that the first task of a new step makes no peak.
LEAST: Final = 15


@dataclass(frozen=True)
class Measure:
    """Something measured in every step. `value` takes the step's totals and the minutes that it has lasted."""

    label: str
    unit: Unit
    value: Callable[[Totals, float], Value]


MEASURES: Final[Mapping[str, Measure]] = {
    "finished": Measure("Finished", Unit.RATE, lambda totals, minutes: totals.finished / minutes),
    "failed": Measure("Failed", Unit.RATE, lambda totals, minutes: totals.failed / minutes),
    "retried": Measure("Retried", Unit.RATE, lambda totals, minutes: totals.retried / minutes),
    "success": Measure("Success rate", Unit.PERCENT, lambda totals, _: totals.success_rate),
    "runtime_p50": Measure("Runtime p50", Unit.SECONDS, lambda totals, _: totals.runtime(0.5)),
    "runtime_p95": Measure("Runtime p95", Unit.SECONDS, lambda totals, _: totals.runtime(0.95)),
    "runtime_p99": Measure("Runtime p99", Unit.SECONDS, lambda totals, _: totals.runtime(0.99)),
    "waiting_p50": Measure("Waiting p50", Unit.SECONDS, lambda totals, _: totals.waiting(0.5)),
    "waiting_p95": Measure("Waiting p95", Unit.SECONDS, lambda totals, _: totals.waiting(0.95)),
}


def measure_steps(span: TimeWindow, totals: Sequence[Totals], measure: Measure) -> list[Value]:
    """Return the values of a series, one for each step of the span."""
    return [measure.value(one, minutes) for one, minutes in zip(totals, _minutes(span), strict=True)]


def throughput(span: TimeWindow, points: Points, total: Totals) -> Chart:
    """Draw finished and failed tasks per minute; the legend has their numbers, from the `total` of all points."""
    totals = [one for _, one in points]
    finished, failed = (measure_steps(span, totals, MEASURES[name]) for name in ("finished", "failed"))
    lines = [
        Series("Finished", "line-finished", finished, f"{total.finished:,}", filled=True),
        Series("Failed", "line-failure", failed, f"{total.failed:,}"),
    ]
    return chart("throughput", "Throughput and failures", span, lines, Unit.RATE, note="per minute")


def efficiency(span: TimeWindow, load: Sequence[LoadPoint], total: Totals) -> Chart:
    """Draw the success rate, and the share of busy slots."""
    sampled = [point for point in load if point.slots]
    busy = 100 * sum(point.busy or 0 for point in sampled) / sum(point.slots or 0 for point in sampled) if sampled else None
    shown = Unit.PERCENT.shown
    rates, loads = [point.success_rate for point in load], [point.load for point in load]
    lines = [
        Series("Success rate", "line-success", rates, shown(total.success_rate), joined=True),
        Series("Busy slots", "line-started", loads, shown(busy), filled=True),
    ]
    return chart("efficiency", "Efficiency and load", span, lines, Unit.PERCENT, note="percent")


def runtimes(span: TimeWindow, points: Points, total: Totals) -> Chart:
    """Draw percentiles of runtimes."""
    lines = [
        Series(
            label, style, [totals.runtime(share) for _, totals in points], Unit.SECONDS.shown(total.runtime(share)), joined=True
        )
        for label, style, share in PERCENTILES
    ]
    return chart("runtime", "Runtime", span, lines, Unit.SECONDS, note="of successes and failures")


def waiting_times(span: TimeWindow, points: Points, total: Totals) -> Chart:
    """Draw percentiles of the times that tasks waited for a worker."""
    lines = [
        Series(
            label, style, [totals.waiting(share) for _, totals in points], Unit.SECONDS.shown(total.waiting(share)), joined=True
        )
        for label, style, share in PERCENTILES
    ]
    return chart("waiting", "Waiting for a worker", span, lines, Unit.SECONDS, note="before the last attempt")


def comparison(span: TimeWindow, groups: Mapping[str, Sequence[Totals]], measure: Measure, whole: Mapping[str, Totals]) -> Chart:
    """Draw one measure for several tasks or queues, or for all together; `whole` has the totals of the period by name."""
    is_rate = measure.unit is Unit.RATE
    lines = [
        Series(
            name or "(unknown)", f"line-{number}", measure_steps(span, totals, measure), _whole(whole[name], measure),
            joined=not is_rate,
        )
        for number, (name, totals) in enumerate(groups.items(), start=1)
    ]  # fmt: skip
    note = {Unit.RATE: "per minute", Unit.PERCENT: "percent", Unit.SECONDS: "time"}[measure.unit]
    return chart("compared", measure.label, span, lines, measure.unit, note=note)


def _whole(total: Totals, measure: Measure) -> str:
    """Return the measure of a whole period: of a rate, the number."""
    value = measure.value(total, 1.0)
    return f"{value:,.0f}" if measure.unit is Unit.RATE and value is not None else measure.unit.shown(value)


def _minutes(span: TimeWindow) -> list[float]:
    """Return how many minutes each step has lasted; the newest may have just begun."""
    until = min(float(span.until), time.time() // LEAST * LEAST)
    return [max(LEAST, min(span.step, until - start)) / 60 for start in span.starts()]
