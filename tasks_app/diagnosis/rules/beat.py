"""Rules about periodic tasks: whether beat sends them, once, and in time."""

from collections.abc import Iterator
from typing import Final

from tasks_app.diagnosis.facts import Facts, ScheduleFacts
from tasks_app.diagnosis.findings import Finding, Severity, Subject, listed, rule
from zenith_site.common.humanize import rough_duration

#: Intervals, and seconds besides, after which a schedule has missed its time.
MISSED_AFTER: Final = 2.0
GRACE: Final = 30.0
#: The most beats that are recognized, and the runs that are compared with those one interval before, of each beat.
BEATS_AT_MOST: Final = 3
RUNS_COMPARED: Final = 6
#: How exactly a run follows the one before it: a share of the interval.
EXACTNESS: Final = 0.15


def _knows_runs(facts: Facts) -> bool:
    return any(schedule.every is not None for schedule in facts.schedules or ())


def _knows_absence(facts: Facts) -> bool:
    """Whether a run that was not seen did not happen: it may wait unseen, if only its worker tells of it."""
    if not _knows_runs(facts):
        return False
    if all(schedule.as_sent for schedule in facts.schedules or ()):
        return True
    return bool(facts.queues) and all(queue.depth == 0 for queue in facts.queues or ())


def _is_overdue(schedule: ScheduleFacts) -> bool:
    if schedule.every is None:
        return False
    late = MISSED_AFTER * schedule.every + GRACE
    # Without a run, only after Zenith has listened for long enough.
    return (schedule.observed_seconds if schedule.last_seconds is None else schedule.last_seconds) > late


def _judged(facts: Facts) -> list[ScheduleFacts]:
    return [schedule for schedule in facts.schedules or () if schedule.every is not None]


@rule("beat-dead", "Beat sends periodic tasks.", _knows_absence)
def beat_dead(facts: Facts) -> Iterator[Finding]:
    """None of the schedules has run in time."""
    judged = _judged(facts) if _knows_absence(facts) else []
    if judged and all(map(_is_overdue, judged)):
        last = min((one.last_seconds for one in judged if one.last_seconds is not None), default=None)
        yield Finding(
            rule="beat-dead",
            severity=Severity.ERROR,
            title="Beat does not run",
            sentence=f"{_none_of(judged)} of {facts.application} {'was not' if len(judged) == 1 else 'was'} sent in time; "
            + (f"the last one was sent {rough_duration(last)} ago." if last is not None else "none has ever been seen."),
            proof=f"{listed([f'{one.name} every {rough_duration(one.every or 0)}' for one in judged])}.",
            mend=f"Start beat, one for the application: {facts.celery} beat. If it runs, its log says why it does not send.",
        )


def _none_of(schedules: list[ScheduleFacts]) -> str:
    return "The only periodic task" if len(schedules) == 1 else f"None of the {len(schedules):,} periodic tasks"


@rule("schedule-missed", "Each periodic task is sent in time.", _knows_absence)
def schedule_missed(facts: Facts) -> Iterator[Finding]:
    """One schedule has missed its time while others run."""
    judged = _judged(facts) if _knows_absence(facts) else []
    overdue = [one for one in judged if _is_overdue(one)]
    if len(overdue) == len(judged):
        return
    for one in overdue:
        last = "has never been seen" if one.last_seconds is None else f"ran last {rough_duration(one.last_seconds)} ago"
        yield Finding(
            rule="schedule-missed",
            severity=Severity.WARNING,
            title="A periodic task missed its time",
            sentence=f"{one.name} ({one.task}) is due every {rough_duration(one.every or 0)}, but {last}; others are sent"
            " in time.",
            proof="The rows of its task; the schedule that workers have.",
            mend="Restart beat: it may run with an older schedule than the workers, or fail to send this task; its log says so.",
            subject=Subject.SCHEDULE,
            name=one.name,
        )


@rule("beat-doubled", "Each periodic task is sent once each time.", _knows_runs)
def beat_doubled(facts: Facts) -> Iterator[Finding]:
    """A periodic task is sent twice in each interval, each time as regularly as its schedule says: two beats run."""
    doubled = [(one, beats) for one in _judged(facts) if (beats := _beats(one, facts)) > 1]
    if doubled:
        first, beats = doubled[0]
        yield Finding(
            rule="beat-doubled",
            severity=Severity.ERROR,
            title="Beat runs more than once",
            sentence=f"{listed([one.name for one, _ in doubled])} {'is' if len(doubled) == 1 else 'are'} sent several times:"
            f" {first.task} was sent {beats} times in each interval of {rough_duration(first.every or 0)}, each as regularly as"
            " beat sends.",
            proof=f"The rows of {first.task}. If other code sends it just as regularly, nothing is wrong.",
            mend="Run one beat for the application: not -B on several workers, and no replicas of a beat container.",
            subject=Subject.SCHEDULE,
            name=first.name,
        )


def _beats(schedule: ScheduleFacts, facts: Facts) -> int:
    """Return how many beats send a schedule: each run has one exactly an interval before, with those of others between."""
    # A task with several schedules runs more often than each of them.
    if not schedule.every or sum(other.task == schedule.task for other in facts.schedules or ()) > 1:
        return 1
    for beats in range(2, BEATS_AT_MOST + 1):
        pairs = list(zip(schedule.runs, schedule.runs[beats:], strict=False))[: RUNS_COMPARED + beats]
        exact = [abs(earlier - later - schedule.every) <= EXACTNESS * schedule.every for later, earlier in pairs]
        if len(pairs) >= RUNS_COMPARED and all(exact):
            return beats
    return 1
