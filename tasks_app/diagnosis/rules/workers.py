"""Rules about workers: whether they live, and why those that do take or start no task."""

from collections.abc import Callable, Iterator
from typing import Final

from tasks_app.diagnosis.facts import Facts, WorkerFacts
from tasks_app.diagnosis.findings import Finding, Severity, Subject, counted, listed, rule
from zenith_site.common.humanize import rough_duration

#: Tasks waiting for their ETA in a worker, for each of its slots, that are a finding.
MANY_NOT_YET: Final = 10
#: Seconds from which a running task that others wait for is long, and for which a task may be reserved while all slots are free.
LONG_RUN: Final = 300.0
STALLED_AFTER: Final = 30.0
#: Seconds that a task runs from which it should not be prefetched without a limit.
LONG_FOR_PREFETCH: Final = 60.0
#: Seconds that two clocks may differ before a warning, and before an error.
SKEW: Final = 2.0
SKEW_BAD: Final = 30.0


def _any(known: Callable[[WorkerFacts], bool]) -> Callable[[Facts], bool]:
    """Return whether the fact is known of a worker, or there is none of whom it could be."""
    return lambda facts: facts.workers is not None and (not facts.online or any(map(known, facts.online)))


def _severity(facts: Facts, worker: WorkerFacts) -> Severity:
    """Return how bad it is that a worker takes no task: it depends on whether any waits for it."""
    return Severity.ERROR if facts.waiting_for(worker) else Severity.WARNING


def _queues(worker: WorkerFacts) -> frozenset[str]:
    return worker.queues or frozenset()


@rule("worker-silent", "Each worker that was seen lately is online.", lambda facts: facts.workers is not None)
def worker_silent(facts: Facts) -> Iterator[Finding]:
    """A worker has stopped sending heartbeats without saying that it stops."""
    for worker in facts.workers or ():
        if not worker.online:
            since = "" if worker.heard_seconds is None else f" for {rough_duration(worker.heard_seconds)}"
            yield Finding(
                rule="worker-silent",
                severity=Severity.WARNING,
                title="A worker is silent",
                sentence=f"Worker {worker.name} has sent no heartbeat{since}. It died, hangs, or lost its network.",
                proof="A worker that is stopped leaves the list at once; this one did not.",
                mend="Look at its log and its host (an out-of-memory kill leaves no log), and start it again.",
                subject=Subject.WORKER,
                name=worker.name,
            )


@rule(
    "pool-stalled", "Each worker starts the tasks that it has reserved.",
    _any(lambda worker: worker.slots == 0 or worker.stalled_seconds is not None or worker.free is not None),
)  # fmt: skip
def pool_stalled(facts: Facts) -> Iterator[Finding]:
    """A worker is alive, but its pool starts nothing."""
    for worker in facts.online:
        if worker.slots == 0:
            what = f"Worker {worker.name} is online, but its pool has no process, so it starts nothing."
        elif worker.busy == 0 and worker.free and (worker.stalled_seconds or 0) > STALLED_AFTER:
            what = (
                f"Worker {worker.name} has {counted(worker.free, 'free slot')}, but starts nothing: a task has been reserved for"
                f" {rough_duration(worker.stalled_seconds or 0)}."
            )
        else:
            continue
        yield Finding(
            rule="pool-stalled",
            severity=Severity.ERROR,
            title="A worker's pool is dead",
            sentence=what,
            proof=f"{facts.celery} inspect active shows nothing while inspect reserved shows tasks; ps shows its processes.",
            mend=f"Restart the worker. Before that, py-spy dump --pid shows what a process of {worker.name} waits for.",
            subject=Subject.WORKER,
            name=worker.name,
            queues=_queues(worker),
        )


@rule(
    "rate-limit-fills-prefetch", "No worker's prefetch is full of rate-limited tasks.",
    _any(lambda worker: worker.is_full is not None and worker.limited is not None and worker.free is not None),
)  # fmt: skip
def rate_limit_fills_prefetch(facts: Facts) -> Iterator[Finding]:
    """Tasks that wait for their rate limit use up a worker's prefetch, so it takes no other."""
    for worker in facts.online:
        if not (worker.is_full and worker.free and worker.limited):
            continue
        first = worker.limited[0]
        rate = f" of {first.rate}" if first.rate else ""
        wait = "waits there for its" if first.number == 1 else "wait there for their"
        yield Finding(
            rule="rate-limit-fills-prefetch",
            severity=_severity(facts, worker),
            title="Rate-limited tasks block a worker",
            sentence=f"Worker {worker.name} has {counted(worker.free, 'free slot')}, but takes no more messages while it holds"
            f" {worker.prefetch or 0:,}: {first.number:,} of {first.name} {wait} rate limit{rate}. Tasks of all"
            " other names wait behind them.",
            proof=f"{facts.celery} inspect stats shows prefetch_count {worker.prefetch or 0:,}; the worker's page"
            " shows its slots.",
            mend=f"Route {first.name} to a queue of its own with a worker of its own, or raise its rate_limit.",
            subject=Subject.WORKER,
            name=worker.name,
            queues=_queues(worker),
        )


@rule(
    "eta-grows-prefetch", "No worker holds many tasks that wait for their ETA.",
    _any(lambda worker: worker.not_yet is not None and worker.slots is not None),
)  # fmt: skip
def eta_grows_prefetch(facts: Facts) -> Iterator[Finding]:
    """A worker takes tasks with an ETA without bound: each raises its prefetch by one."""
    for worker in facts.online:
        number = sum(held.number for held in worker.not_yet or ())
        if worker.slots is None or number < MANY_NOT_YET * max(1, worker.slots):
            continue
        most = (worker.not_yet or ())[0].name
        prefetch = f", now {worker.prefetch:,}" if worker.prefetch else ""
        yield Finding(
            rule="eta-grows-prefetch",
            severity=Severity.WARNING,
            title="A worker holds tasks with an ETA without bound",
            sentence=f"Worker {worker.name} holds {number:,} tasks that wait for their ETA, most of them {most}. Each raises its"
            f" prefetch{prefetch}, so it takes messages that other workers could run, and its memory grows.",
            proof=f"{facts.celery} inspect scheduled lists them.",
            mend="Send tasks when they are due (beat, or a table of what is to do) instead of with a long countdown or ETA, or"
            " set worker_eta_task_limit (Celery 5.6).",
            subject=Subject.WORKER,
            name=worker.name,
            queues=_queues(worker),
        )


@rule(
    "prefetch-full", "No worker with free slots has used up its prefetch.",
    _any(lambda worker: worker.is_full is not None and worker.free is not None and worker.limited is not None),
)  # fmt: skip
def prefetch_full(facts: Facts) -> Iterator[Finding]:
    """A worker with free slots takes no message, for another reason than rate limits."""
    for worker in facts.online:
        if not (worker.is_full and worker.free) or worker.limited != () or not facts.waiting_for(worker):
            continue  # if it is not known what it holds, it may be tasks that wait for their rate limit
        if worker.busy == 0 and (worker.stalled_seconds or 0) > STALLED_AFTER:
            continue  # its pool is dead, which another rule says
        yield Finding(
            rule="prefetch-full",
            severity=Severity.WARNING,
            title="A worker's prefetch is used up",
            sentence=f"Worker {worker.name} has {counted(worker.free, 'free slot')}, but takes no more messages while it holds"
            f" {worker.messages or 0:,} of at most {worker.prefetch or 0:,}.",
            proof=f"{facts.celery} inspect stats shows prefetch_count; inspect reserved shows what it holds.",
            mend="Start the worker with -O fair, which gives each task to a free process, and worker_prefetch_multiplier = 1.",
            subject=Subject.WORKER,
            name=worker.name,
            queues=_queues(worker),
        )


@rule(
    "long-tasks-block", "No queue waits for slots that long tasks occupy.",
    lambda facts: facts.queues is not None and any(worker.running is not None for worker in facts.online),
)  # fmt: skip
def long_tasks_block(facts: Facts) -> Iterator[Finding]:
    """Each slot of all consumers of a queue has been running one task for long."""
    for queue in facts.queues or ():
        consumers = facts.consumers(queue.name)
        if not queue.waiting or not consumers or not all(map(_is_busy_with_long, consumers)):
            continue
        running = sorted((task for worker in consumers for task in worker.running or ()), key=lambda task: -task.seconds)
        names = list(dict.fromkeys(task.name for task in running))
        slots = sum(worker.slots or 0 for worker in consumers)
        yield Finding(
            rule="long-tasks-block",
            severity=Severity.WARNING,
            title="Long tasks occupy all slots",
            sentence=f"{counted(queue.waiting, 'task')} {'waits' if queue.waiting == 1 else 'wait'} in queue {queue.name}:"
            f" {'its only slot has' if slots == 1 else f'all {slots:,} slots of its workers have'} been running {listed(names)}"
            f" for {rough_duration(running[-1].seconds)} or more.",
            proof=f"{facts.celery} inspect active shows what runs and since when.",
            mend=f"Route {names[0]} to a queue of its own with workers of its own, or add slots. If it hangs, set a time limit.",
            subject=Subject.QUEUE,
            name=queue.name,
        )


def _is_busy_with_long(worker: WorkerFacts) -> bool:
    if not worker.slots or worker.running is None:
        return False
    return sum(task.seconds >= LONG_RUN for task in worker.running) >= worker.slots


@rule(
    "unbounded-prefetch", "No worker prefetches long tasks without a limit.",
    lambda facts: facts.longest_runtime is not None and any(worker.prefetch is not None for worker in facts.online),
)  # fmt: skip
def unbounded_prefetch(facts: Facts) -> Iterator[Finding]:
    """A worker without a prefetch limit takes whole queues, which others could share."""
    for worker in facts.online:
        if worker.prefetch == 0 and (facts.longest_runtime or 0) > LONG_FOR_PREFETCH:
            yield Finding(
                rule="unbounded-prefetch",
                severity=Severity.WARNING,
                title="A worker prefetches without limit",
                sentence=f"Worker {worker.name} takes every message of its queues into its memory, and tasks of"
                f" {facts.application} run for up to {rough_duration(facts.longest_runtime or 0)}. New workers get nothing of"
                " what it took.",
                proof=f"{facts.celery} inspect stats shows prefetch_count 0; its worker_prefetch_multiplier is 0.",
                mend="Set worker_prefetch_multiplier = 1, and task_acks_late = True if the tasks are idempotent.",
                subject=Subject.WORKER,
                name=worker.name,
                queues=_queues(worker),
            )


@rule("no-time-limit", "Each worker limits how long a task may run.", _any(lambda worker: worker.settings is not None))
def no_time_limit(facts: Facts) -> Iterator[Finding]:
    """Nothing ends a task that hangs."""
    names = [
        worker.name for worker in facts.online
        if worker.settings is not None and not worker.settings.time_limit and not worker.settings.soft_time_limit
    ]  # fmt: skip
    if names:
        yield Finding(
            rule="no-time-limit",
            severity=Severity.NOTICE,
            title="Tasks have no time limit",
            sentence=f"{listed(names)} {'runs' if len(names) == 1 else 'run'} tasks without a time limit: a task that hangs keeps"
            " its slot until the worker is restarted.",
            proof=f"{facts.celery} inspect conf shows neither task_time_limit nor task_soft_time_limit.",
            mend="Set task_time_limit to more than the longest task needs, and task_soft_time_limit a little lower.",
        )


@rule("mixed-versions", "All workers run the same release of Celery.", _any(lambda worker: bool(worker.version)))
def mixed_versions(facts: Facts) -> Iterator[Finding]:
    """Workers online run different releases of Celery."""
    workers_of: dict[str, list[str]] = {}
    for worker in facts.online:
        if worker.version:
            workers_of.setdefault(worker.version, []).append(worker.name)
    if len(workers_of) > 1:
        releases = [f"{version} on {listed(names, 2)}" for version, names in sorted(workers_of.items())]
        yield Finding(
            rule="mixed-versions",
            severity=Severity.WARNING,
            title="Workers run different releases of Celery",
            sentence=f"The workers of {facts.application} run Celery {'; '.join(releases)}. The same task may behave differently,"
            " depending on which of them takes it.",
            proof="The versions in the workers' heartbeats.",
            mend="Finish the deployment: install the same release everywhere and restart the workers.",
        )


@rule("clock-skew", "The clocks of all workers agree.", _any(lambda worker: worker.clock_ahead is not None))
def clock_skew(facts: Facts) -> Iterator[Finding]:
    """A worker's clock is wrong, so ETAs, expiry and times are."""
    for worker in facts.online:
        ahead = worker.clock_ahead or 0.0
        if abs(ahead) > SKEW:
            where = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                rule="clock-skew",
                severity=Severity.ERROR if abs(ahead) > SKEW_BAD else Severity.WARNING,
                title="A worker's clock is wrong",
                sentence=f"The clock of worker {worker.name} is {rough_duration(abs(ahead))} {where} the others: it starts tasks"
                f" with an ETA too {'early' if ahead > 0 else 'late'}, and judges expiry by a wrong time.",
                proof="The time in its heartbeat, compared with the clock of the server that received it.",
                mend="Synchronize its host with NTP: timedatectl set-ntp true",
                subject=Subject.WORKER,
                name=worker.name,
            )


@rule("events-off", "Each worker sends events.", _any(lambda worker: worker.events is not None))
def events_off(facts: Facts) -> Iterator[Finding]:
    """A worker sends no events, so nothing of what it does is seen."""
    names = [worker.name for worker in facts.online if worker.events is False]
    if names:
        yield Finding(
            rule="events-off",
            severity=Severity.WARNING,
            title="Workers send no events",
            sentence=f"{listed(names)} {'sends' if len(names) == 1 else 'send'} no events of tasks, so what"
            f" {'it does' if len(names) == 1 else 'they do'} is not recorded here.",
            proof="Heartbeats arrive and count tasks, but no events of these arrive.",
            mend=f"Start the workers with -E, set worker_send_task_events = True, or run: {facts.celery} control enable_events."
            f" Zenith asks for events itself, unless that is turned off: manage.py watch {facts.application} --enable-events yes",
        )


@rule(
    "sent-events-off", "Senders tell when they send a task.",
    _any(lambda worker: worker.settings is not None and worker.settings.sent_events is not None),
)  # fmt: skip
def sent_events_off(facts: Facts) -> Iterator[Finding]:
    """No event tells when a task was sent, so waiting times are unknown."""
    if any(worker.settings and worker.settings.sent_events is False for worker in facts.online):
        yield Finding(
            rule="sent-events-off",
            severity=Severity.NOTICE,
            title="Waiting times are unknown",
            sentence=f"The senders of {facts.application} do not tell when they send a task, so tasks are seen only once a worker"
            " receives them, and how long they waited is unknown.",
            proof=f"{facts.celery} inspect conf shows task_send_sent_event = False.",
            mend="Set task_send_sent_event = True where tasks are sent.",
        )
