"""The facts about tasks that rows, rollups and the catalogue tell: unknown names, priorities, times, and runs of schedules."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from tasks_app.analytics import figures
from tasks_app.analytics.rollups import RollupFilter
from tasks_app.analytics.window import Preset, span_of
from tasks_app.catalog import catalogues_of
from tasks_app.diagnosis.crontabs import due_seconds
from tasks_app.diagnosis.facts import NamedTasks, ScheduleFacts
from tasks_app.models import Application, DeadLetter, Task
from tasks_app.models.dead_letter import LetterState
from tasks_app.watching.observed import Observed
from zenith_site.common.sql import statements
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import SCHEDULES_AT_MOST, Schedule

#: The newest tasks, and dead letters, that are looked at.
NEWEST: Final = 1_000
#: The error of a task that a worker received and did not know, and for how long it counts.
NOT_REGISTERED: Final = "NotRegistered"
COUNTS_FOR: Final = timedelta(hours=1)
#: Tasks of Celery's own, which no catalogue has.
_CELERYS: Final = "celery."
#: The runs of a schedule that are looked at.
RUNS: Final = 20
#: How far back its runs are looked for.
_BACK: Final = timedelta(days=8)

_SQL: Final = statements(__file__)


def known_names(application: Application, observed: Observed) -> frozenset[str] | None:
    """Return the names of the tasks that workers online have; None if that is not known."""
    if application.is_watched:
        return None if observed.names is None else frozenset(observed.names)
    live = catalogues_of(application.pk)
    return frozenset(name for tasks in live.tasks for name in tasks) if live.is_online else None


def unknown_tasks(application: Application, known: frozenset[str] | None) -> tuple[NamedTasks, ...] | None:
    """Return the tasks that wait, or failed within the hour, although no worker knows their name. Two queries.

    None if it is not known which tasks workers know.
    """
    if known is None:
        return None
    waiting = Task.objects.filter(application=application.pk, status=Status.QUEUED).order_by("-created_at")
    failed = DeadLetter.objects.filter(
        application=application.pk, state=LetterState.OPEN, created_at__gt=timezone.now() - COUNTS_FOR
    ).order_by("-id")  # fmt: skip
    letters = failed.values_list("task_name", "queue", "error_type")[:NEWEST]
    refused = [(name, queue) for name, queue, error in letters if error.rpartition(".")[2] == NOT_REGISTERED]
    return unknown_among([*waiting.values_list("name", "queue")[:NEWEST], *refused], known)


def unknown_among(tasks: Iterable[tuple[str, str]], known: frozenset[str] | None) -> tuple[NamedTasks, ...] | None:
    """Return those of these tasks, by name and queue, that no worker knows; None if it is not known what they know."""
    if known is None:
        return None
    return tuple(
        NamedTasks(name, number, queue) for (name, queue), number in Counter(tasks).most_common()
        if name and name not in known and not name.startswith(_CELERYS)
    )  # fmt: skip


def priorities(application: Application, seen: Iterable[int] = ()) -> tuple[int, ...] | None:
    """Return the priorities of the newest tasks, and those that were seen; None if no task tells its own. One query."""
    statement = _SQL["own_priorities" if application.is_native else "priorities"]
    with connection.cursor() as cursor:
        cursor.execute(statement, {"application": application.pk, "most": NEWEST})
        found = tuple(sorted({*seen, *(row[0] for row in cursor.fetchall())}))
    # Events tell no priorities.
    return None if application.is_watched and not found else found


def longest_eta(application: Application) -> float | None:
    """Return the seconds until the last of the newest tasks is due that workers hold for an ETA or a retry. One query."""
    now = timezone.now()
    # What Zenith itself holds back has no message that a broker could deliver again.
    held = Task.objects.filter(
        application=application.pk, status__in=(Status.RECEIVED, Status.RETRY), held=False
    ).order_by("-created_at")  # fmt: skip
    times = held.values_list("not_before", flat=True)[:NEWEST]
    return max(((at - now).total_seconds() for at in times if at is not None and at > now), default=None)


def longest_times(application: Application) -> tuple[float | None, float | None]:
    """Return the longest runtime, and the longest wait for a start, of the tasks that ended within a day. Two queries."""
    totals = figures.summed(figures.series(span_of(Preset.H24), RollupFilter(application=application.name)))
    return totals.runtime(1.0), totals.waiting(1.0)


def schedules(application: Application, beats: Iterable[WorkerBeat], *, as_sent: bool = True) -> tuple[ScheduleFacts, ...]:
    """Return beat's schedules, as workers online have them, with their newest runs. One query if there are any.

    `as_sent`: a task is known when it is sent.
    """
    told: dict[str, Schedule] = {}
    timezone_of: dict[str, str] = {}
    for beat in beats:
        for entry in beat.settings.schedules if beat.online and beat.settings else ():
            if told.setdefault(entry.name, entry) is entry and beat.settings:
                timezone_of[entry.name] = beat.settings.timezone
    entries = [told[name] for name in sorted(told)][:SCHEDULES_AT_MOST]
    runs = _runs(application, sorted({entry.task for entry in entries})) if entries else {}
    since = application.first_heard_at
    observed = (timezone.now() - since).total_seconds() if since else 0.0
    return tuple(
        ScheduleFacts(
            name=entry.name, task=entry.task, every=entry.every, runs=tuple(runs.get(entry.task, ())), observed_seconds=observed,
            as_sent=as_sent, crontab=entry.crontab, due_seconds=due_seconds(entry.crontab, timezone_of[entry.name]),
        )
        for entry in entries
    )  # fmt: skip


def _runs(application: Application, names: Sequence[str]) -> dict[str, list[float]]:
    values: dict[str, Any] = {"application": application.pk, "names": list(names), "runs": RUNS, "since": timezone.now() - _BACK}
    with connection.cursor() as cursor:
        cursor.execute(_SQL["runs"], values)
        found: dict[str, list[float]] = {}
        for name, seconds in cursor.fetchall():
            found.setdefault(name, []).append(max(0.0, float(seconds)))
    return found
