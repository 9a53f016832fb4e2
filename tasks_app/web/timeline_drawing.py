"""A task's timeline to scale, as inline SVG and as a table: one row per attempt and per back-off."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tasks_app.queries.task_spans import TaskSpan, TaskSpans
from zenith_worker.wire.states import Status

#: Rows that are drawn at most; the newest are.
MOST_ROWS: Final = 40
#: The least width of a bar, and the width of an error mark, in percent of the whole.
_LEAST: Final = 0.4
_ERROR: Final = 0.7
_TICKS: Final = 4
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
WORDS: Final = {
    Status.SCHEDULED: "held until due",
    Status.PENDING: "waiting to be sent",
    Status.QUEUED: "waiting in the queue",
    Status.RECEIVED: "reserved by a worker",
    Status.STARTED: "running",
    Status.RETRY: "backing off",
    Status.REPLACED: "replaced, waiting for its replacement",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn, in percent of the width; `title` says it in words."""

    status: Status
    x: float
    width: float
    title: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """An attempt, or a back-off."""

    label: str
    bars: list[Bar] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the scale: `seconds` after its start, at `x` percent of the width."""

    x: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The context of `_timeline.html`. `held`: seconds for which the task was held back before the drawing begins."""

    rows: list[TimelineRow]
    left_out: int
    ticks: list[Tick]
    legend: list[tuple[str, str]]
    table: list[tuple[str, str, TaskSpan]]
    seconds: float
    held: float


def timeline_drawing(history: TaskSpans, due: datetime | None) -> Timeline | None:
    """Lay out a task's timeline, or return None if it has no spans. `due`: when a task that is still held will be sent."""
    spans = [span for span in history.spans if span.status != Status.SCHEDULED]
    held = history.seconds_in(Status.SCHEDULED)
    if not spans:
        spans = history.spans
    if not spans:
        return None
    groups = _groups(spans)
    rows = groups[-MOST_ROWS:]
    drawn_spans = [span for _, group in rows for span in group]
    still_held = drawn_spans[0].status == Status.SCHEDULED
    start, end = drawn_spans[0].start, max(drawn_spans[-1].end, due) if still_held and due else drawn_spans[-1].end
    whole = max((end - start).total_seconds(), 0.001)
    return Timeline(
        rows=[TimelineRow(label, _bars(group, start, whole), sum(span.seconds for span in group)) for label, group in rows],
        left_out=max(0, len(groups) - MOST_ROWS),
        ticks=_ticks(whole),
        legend=_legend(drawn_spans),
        table=[(label, WORDS[span.status], span) for label, group in _groups(history.spans) for span in group],
        seconds=whole,
        held=0.0 if still_held else held,
    )


def _groups(spans: Sequence[TaskSpan]) -> list[tuple[str, list[TaskSpan]]]:
    """Return the spans grouped by row."""
    groups: list[tuple[str, list[TaskSpan]]] = []
    for span in spans:
        label = _label(span)
        if groups and groups[-1][0] == label:
            groups[-1][1].append(span)
        else:
            groups.append((label, [span]))
    return groups


def _label(span: TaskSpan) -> str:
    if span.status == Status.SCHEDULED:
        return "Held"
    if span.status == Status.RETRY:
        return "Back-off"
    again = f", delivery {span.delivery + 1}" if span.delivery else ""
    return f"Attempt {span.attempt}{again}"


def _bars(spans: Sequence[TaskSpan], start: datetime, whole: float) -> list[Bar]:
    bars = []
    for span in spans:
        width = max(_LEAST, _share(span.end - span.start, whole))
        x = min(_share(span.start - start, whole), 100 - width)
        bars.append(Bar(span.status, x, width, WORDS[span.status], span.seconds))
        if span.status == Status.STARTED and span.into in (Status.RETRY, Status.FAILURE):
            bars.append(Bar(Status.FAILURE, x + max(width - _ERROR, 0), min(_ERROR, width), "error"))
    return bars


def _legend(spans: Sequence[TaskSpan]) -> list[tuple[str, str]]:
    present = {span.status for span in spans}
    legend = [(status.value, words) for status, words in WORDS.items() if status in present]
    failed = any(span.status == Status.STARTED and span.into in (Status.RETRY, Status.FAILURE) for span in spans)
    return [*legend, (Status.FAILURE.value, "error")] if failed else legend


def _ticks(whole: float) -> list[Tick]:
    """Return about four marks, at round numbers of seconds."""
    least_step = whole / _TICKS
    step = next((size for size in _STEPS if size >= least_step), None) if least_step > 1 else _below_one(least_step)
    if step is None:
        days = 86_400
        step = days * max(1, round(least_step / days))
    return [Tick(100 * number * step / whole, number * step) for number in range(int(whole / step * 0.97) + 1)]


def _below_one(least_step: float) -> float:
    unit = 1.0
    while unit / 10 >= least_step and unit > 0.001:
        unit /= 10
    return next(unit * part for part in (0.1, 0.2, 0.5, 1) if unit * part >= least_step or part == 1)


def _share(span: timedelta, whole: float) -> float:
    return 100 * max(0.0, span.total_seconds()) / whole
