"""The contexts of the Overview: the current state, which its socket pushes, and the outcomes of the period that a page shows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest

from tasks_app.analytics import figures, sparks
from tasks_app.analytics.rollups import RollupFilter, Totals
from tasks_app.analytics.sparks import Sparks
from tasks_app.analytics.window import Preset, filled_preset
from tasks_app.maintenance.compaction import watermarks
from tasks_app.models import Task
from tasks_app.models.dead_letter import LetterState
from tasks_app.queries.arguments import know_names, with_lines
from tasks_app.queries.counters import counts
from tasks_app.queries.dead_letters import DeadLetterFilter
from tasks_app.web import outcome_charts
from tasks_app.web.charts import Unit
from tasks_app.web.ranges import Range, requested_range
from tasks_app.web.stream import READ, folded
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import read_all

#: Newest tasks that the overview of one application lists.
STREAM_LENGTH: Final = 25
#: Workers that the Overview lists, lost ones first.
WORKERS_SHOWN: Final = 12
GROUPS_SHOWN: Final = 5
PRESETS: Final = (Preset.M15, Preset.H1, Preset.H6, Preset.H24, Preset.D7)


def overview_context(hour: Sparks | None = None) -> dict[str, Any]:
    """Return the context of overview/_frame.html: the same for everybody. Raises django.db.Error or redis.RedisError.

    `hour` is the data of the sparklines, if the caller has read it lately.
    """
    workers = read_all()
    newest = with_lines(Task.objects.order_by("-created_at", "-id"))[:READ]
    know_names(task.application_id for task in newest)
    return {
        "workers": sorted(workers, key=lambda beat: (beat.online, beat.name))[:WORKERS_SHOWN],
        "more_workers": max(0, len(workers) - WORKERS_SHOWN),
        "counts": counts(workers),
        "stream": folded(newest),
        "sparks": hour or sparks.last_hour(),
    }


def outcomes_context(request: HttpRequest) -> dict[str, Any]:
    """Return the outcomes of the period that the address names, and the newest groups of dead letters."""
    period = requested_range(request, PRESETS, Preset.H1, {})
    points = figures.series(period.span, RollupFilter())
    load = figures.load(period.span, outcomes={int(at.timestamp()): totals for at, totals in points})
    return {
        **_outcomes(period, points, RollupFilter()),
        "efficiency": outcome_charts.efficiency(period.span, load, figures.summed(points)),
        "native": NATIVE_NAME,
        "groups": DeadLetterFilter(state=LetterState.OPEN, limit=GROUPS_SHOWN).groups().groups,
    }


def application_context(request: HttpRequest, name: str, kept: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the same for the overview of one application, and its open dead letters; of at most a day if no period is named.

    `kept` are parameters that the page's links keep. The slots are only those of Zenith's own application, which are sampled.
    """
    marks = watermarks()
    period = requested_range(request, PRESETS, filled_preset(marks.oldest), kept or {})
    selection = RollupFilter(application=name)
    letters = DeadLetterFilter(application=name, state=LetterState.OPEN, limit=GROUPS_SHOWN)
    points = figures.series(period.span, selection, marks=marks)
    efficiency = None
    if name == NATIVE_NAME:
        load = figures.load(period.span, outcomes={int(at.timestamp()): totals for at, totals in points})
        efficiency = outcome_charts.efficiency(period.span, load, figures.summed(points))
    return {
        **_outcomes(period, points, selection),
        "efficiency": efficiency,
        # The groups do not say that they are of the page's own application.
        "native": name,
        "groups": letters.groups().groups,
        "dead": letters.state_counts().get(LetterState.OPEN, 0),
    }


def _outcomes(period: Range, points: Sequence[tuple[datetime, Totals]], selection: RollupFilter) -> dict[str, Any]:
    total = figures.summed(points)
    terms = selection.terms
    return {
        "range": period,
        "total": total,
        "throughput_figure": Unit.RATE.shown(total.finished / period.span.minutes),
        "p50": total.runtime(0.5),
        "p95": total.runtime(0.95),
        "waiting_p95": total.waiting(0.95),
        "throughput": outcome_charts.throughput(period.span, points, total),
        "succeeded_spark": sparks.condensed([totals.succeeded for _, totals in points]),
        "succeeded_query": period.ended(*terms, "status:SUCCESS"),
        "failed_query": period.ended(*terms, "status:FAILURE"),
        "finished_query": period.ended(*terms, "status:SUCCESS", "status:FAILURE"),
    }
