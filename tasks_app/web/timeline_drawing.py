"""One task's timeline, to scale: a row for each attempt and each back-off, as inline SVG, and the same as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tasks_app.queries.task_spans import TaskSpan, TaskSpans
from zenith_worker.wire.states import Status

#: Rows that are drawn at most: the newest.
MOST_ROWS: Final = 40
#: What a stretch is at least as wide as, and the mark of an error, in per cent of the whole.
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
    Status.REPLACED: "replaced, waiting for what runs in its place",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch as it is drawn, in per cent of the width; `title` says it in words."""

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
    """A mark of the scale: so many seconds after its beginning, at `x` per cent of the width."""

    x: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What `_timeline.html` draws. `held`: seconds before the drawing begins, in which the task was held back."""

    rows: list[TimelineRow]
    left_out: int
    ticks: list[Tick]
    legend: list[tuple[str, str]]
    table: list[tuple[str, str, TaskSpan]]
    seconds: float
    held: float


def timeline_drawing(course: TaskSpans, due: datetime | None) -> Timeline | None:
    """Lay out a task's course; None where nothing is known of it. `due`: when a task that is still held will be sent."""
    spans = [span for span in course.spans if span.status != Status.SCHEDULED]
    held = course.seconds_in(Status.SCHEDULED)
    if not spans:
        spans = course.spans
    if not spans:
        return None
    groups = _groups(spans)
    drawn = [span for _, group in groups[-MOST_ROWS:] for span in group]
    still_held = drawn[0].status == Status.SCHEDULED
    start, end = drawn[0].start, max(drawn[-1].end, due) if still_held and due else drawn[-1].end
    whole = max((end - start).total_seconds(), 0.001)
    shown = groups[-MOST_ROWS:]
    return Timeline(
        rows=[TimelineRow(label, _bars(group, start, whole), sum(span.seconds for span in group)) for label, group in shown],
        left_out=max(0, len(groups) - MOST_ROWS),
        ticks=_ticks(whole),
        legend=_legend(drawn),
        table=[(label, WORDS[span.status], span) for label, group in _groups(course.spans) for span in group],
        seconds=whole,
        held=0.0 if still_held else held,
    )


def _groups(spans: Sequence[TaskSpan]) -> list[tuple[str, list[TaskSpan]]]:
    """Return the stretches by the row that they belong to."""
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
    """Return marks at round numbers of seconds, about four of them."""
    wanted = whole / _TICKS
    step = next((size for size in _STEPS if size >= wanted), None) if wanted > 1 else _below_one(wanted)
    if step is None:
        days = 86_400
        step = days * max(1, round(wanted / days))
    return [Tick(100 * number * step / whole, number * step) for number in range(int(whole / step * 0.97) + 1)]


def _below_one(wanted: float) -> float:
    unit = 1.0
    while unit / 10 >= wanted and unit > 0.001:
        unit /= 10
    return next(unit * part for part in (0.1, 0.2, 0.5, 1) if unit * part >= wanted or part == 1)


def _share(span: timedelta, whole: float) -> float:
    return 100 * max(0.0, span.total_seconds()) / whole
