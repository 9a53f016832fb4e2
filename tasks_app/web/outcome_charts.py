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


def throughput(span: TimeWindow, points: Points) -> Chart:
    """Draw finished and failed tasks per minute."""
    totals = [one for _, one in points]
    lines = [
        Series("Finished", "line-finished", measure_steps(span, totals, MEASURES["finished"]), filled=True),
        Series("Failed", "line-failure", measure_steps(span, totals, MEASURES["failed"])),
    ]
    return chart("throughput", "Throughput and failures", span, lines, Unit.RATE, note="per minute")


def efficiency(span: TimeWindow, load: Sequence[LoadPoint]) -> Chart:
    """Draw the success rate, and the share of busy slots."""
    lines = [
        Series("Success rate", "line-success", [point.success_rate for point in load]),
        Series("Busy slots", "line-started", [point.load for point in load], filled=True),
    ]
    return chart("efficiency", "Efficiency and load", span, lines, Unit.PERCENT, note="percent")


def runtimes(span: TimeWindow, points: Points) -> Chart:
    """Draw percentiles of runtimes."""
    lines = [Series(label, style, [totals.runtime(share) for _, totals in points]) for label, style, share in PERCENTILES]
    return chart("runtime", "Runtime", span, lines, Unit.SECONDS, note="of successes and failures")


def waiting_times(span: TimeWindow, points: Points) -> Chart:
    """Draw percentiles of the times that tasks waited for a worker."""
    lines = [Series(label, style, [totals.waiting(share) for _, totals in points]) for label, style, share in PERCENTILES]
    return chart("waiting", "Waiting for a worker", span, lines, Unit.SECONDS, note="before the last attempt")


def comparison(span: TimeWindow, groups: Mapping[str, Sequence[Totals]], measure: Measure) -> Chart:
    """Draw one measure for several tasks or queues, or for all together."""
    lines = [
        Series(name or "(unknown)", f"line-{number}", measure_steps(span, totals, measure))
        for number, (name, totals) in enumerate(groups.items(), start=1)
    ]
    note = {Unit.RATE: "per minute", Unit.PERCENT: "percent", Unit.SECONDS: "time"}[measure.unit]
    return chart("compared", measure.label, span, lines, measure.unit, note=note)


def _minutes(span: TimeWindow) -> list[float]:
    """Return how many minutes each step has lasted; the newest may have just begun."""
    until = min(float(span.until), time.time() // LEAST * LEAST)
    return [max(LEAST, min(span.step, until - start)) / 60 for start in span.starts()]
