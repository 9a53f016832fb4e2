"""Rules about queues: who consumes them, and whether they are served as fast as they grow."""

from collections.abc import Iterator
from typing import Final

from tasks_app.diagnosis.facts import WATCHED, Facts, QueueFacts
from tasks_app.diagnosis.findings import Finding, Severity, Subject, counted, listed, rule
from zenith_site.common.humanize import rough_duration

#: Messages per minute by which a queue grows that are a finding.
GROWTH: Final = 1.0
#: Seconds of work in a queue from which its backlog is a finding.
LONG_BACKLOG: Final = 3600.0


def _knows_consumers(facts: Facts) -> bool:
    return facts.workers is not None and facts.queues is not None


def _knows_depths(facts: Facts) -> bool:
    return any(queue.depth is not None or queue.unreadable for queue in facts.queues or ())


def _with_waiting(facts: Facts) -> Iterator[tuple[QueueFacts, int]]:
    """Yield the queues in which something waits, and how much."""
    for queue in facts.queues or ():
        if queue.waiting:
            yield queue, queue.waiting


@rule("not-heard", "Zenith hears what the application's workers tell.", lambda facts: facts.unheard is not None)
def not_heard(facts: Facts) -> Iterator[Finding]:
    """No observer of a watched application listens, so nothing is known of what happens now."""
    if facts.unheard:
        yield Finding(
            rule="not-heard",
            severity=Severity.WARNING,
            title="The application is not heard",
            sentence=f"Zenith does not hear {facts.application}: {facts.unheard}. What its tasks do meanwhile is not recorded,"
            " and what its workers do is not known.",
            proof="manage.py watch lists what is watched, and what is heard.",
            mend=f"manage.py watch {facts.application} --test says why its broker cannot be used. If no observer runs, start an"
            " engine: manage.py run_engine",
            subject=Subject.BROKER,
        )


@rule("no-worker", "At least one worker is online.", lambda facts: facts.workers is not None)
def no_worker(facts: Facts) -> Iterator[Finding]:
    """No worker at all is online."""
    if facts.workers is None or facts.online:
        return
    waiting = sum(number for _, number in _with_waiting(facts))
    silent = [worker.name for worker in facts.workers or ()]
    yield Finding(
        rule="no-worker",
        severity=Severity.ERROR if waiting else Severity.WARNING,
        title="No worker is online",
        sentence=f"No worker of {facts.application} is online"
        + (f", so {counted(waiting, 'waiting task')} will not start." if waiting else ", so nothing that is sent will start."),
        proof=f"The last heartbeats of {listed(silent)} are too old." if silent else "No worker has sent a heartbeat.",
        mend=f"Start a worker: {facts.celery} worker",
        queues=frozenset(queue.name for queue, _ in _with_waiting(facts)),
    )


@rule("queue-unreadable", "Each queue can be read.", _knows_depths)
def queue_unreadable(facts: Facts) -> Iterator[Finding]:
    """Redis holds a key of another type under a queue's name."""
    for queue in facts.queues or ():
        if queue.unreadable:
            yield Finding(
                rule="queue-unreadable",
                severity=Severity.ERROR,
                title="A queue cannot be read",
                sentence=f"The key of queue {queue.name} in Redis is not a list, so its messages cannot be read, and none"
                " is sent.",
                proof=f"redis-cli TYPE {queue.name} does not answer list or none.",
                mend="Remove or rename that key, or use another name for the queue.",
                subject=Subject.QUEUE,
                name=queue.name,
            )


@rule("queue-paused", "No queue with waiting tasks is paused.", lambda facts: facts.queues is not None and facts.kind != WATCHED)
def queue_paused(facts: Facts) -> Iterator[Finding]:
    """A queue is paused while tasks wait for it."""
    for queue in facts.queues or ():
        number = (queue.waiting or 0) + queue.held
        if queue.paused_by is not None and number:
            yield Finding(
                rule="queue-paused",
                severity=Severity.WARNING,
                title="A queue is paused",
                sentence=f"Queue {queue.name} is paused by {queue.paused_by or 'someone'}; {counted(number, 'task')} waiting"
                f" for it {'does' if number == 1 else 'do'} not start until it is resumed.",
                proof="The page Queues shows who paused it, when and why.",
                mend="Resume it there.",
                subject=Subject.QUEUE,
                name=queue.name,
            )


@rule("no-consumer", "A worker consumes each queue that has waiting tasks.", _knows_consumers)
def no_consumer(facts: Facts) -> Iterator[Finding]:
    """Tasks wait in a queue that no worker consumes, although workers are online."""
    # A worker that does not tell its queues may consume any.
    if not facts.online or any(worker.queues is None for worker in facts.online):
        return
    for queue, number in _with_waiting(facts):
        if queue.name and queue.paused_by is None and not queue.broker_consumers and not facts.consumers(queue.name):
            consumed = sorted({name for worker in facts.online for name in worker.queues or ()})
            yield Finding(
                rule="no-consumer",
                severity=Severity.ERROR,
                title="No worker consumes a queue",
                sentence=f"{counted(number, 'task')} {'waits' if number == 1 else 'wait'} in queue {queue.name}, which none of"
                f" {counted(len(facts.online), 'worker')} online consumes.",
                proof=f"The workers consume {listed(consumed, 5) or 'no queue'}: {facts.celery} inspect active_queues",
                mend=f"Start a worker for it: {facts.celery} worker -Q {queue.name}. Or have a running one consume it:"
                f" {facts.celery} control add_consumer {queue.name}",
                subject=Subject.QUEUE,
                name=queue.name,
            )


@rule(
    "channel-closed", "The broker counts a consumer of each queue that a worker says to consume.",
    lambda facts: facts.workers is not None and any(queue.broker_consumers is not None for queue in facts.queues or ()),
)  # fmt: skip
def channel_closed(facts: Facts) -> Iterator[Finding]:
    """Workers believe to consume a queue, but the broker has no consumer: their channel was closed."""
    for queue, number in _with_waiting(facts):
        consumers = facts.consumers(queue.name)
        if queue.broker_consumers == 0 and consumers and queue.paused_by is None:
            names = listed([worker.name for worker in consumers])
            yield Finding(
                rule="channel-closed",
                severity=Severity.ERROR,
                title="A worker lost its channel",
                sentence=f"{names} {'says' if len(consumers) == 1 else 'say'} to consume queue {queue.name}, but the broker has"
                f" no consumer of it, so {counted(number, 'waiting task')} will not start.",
                proof=f"rabbitmqctl list_queues name consumers shows 0 for {queue.name}; the worker's log shows why the channel"
                " was closed, such as a delivery acknowledgement timeout.",
                mend="Restart the worker. If a task ran longer than RabbitMQ's consumer_timeout, raise that, or shorten the"
                " task.",
                subject=Subject.QUEUE,
                name=queue.name,
            )


@rule("unknown-task", "Workers know the name of each waiting task.", lambda facts: facts.unknown_tasks is not None)
def unknown_task(facts: Facts) -> Iterator[Finding]:
    """Tasks were sent under a name that no worker knows; Celery discards them."""
    for name, number, queue in facts.unknown_tasks or ():
        yield Finding(
            rule="unknown-task",
            severity=Severity.ERROR,
            title="No worker knows a task",
            sentence=f"{counted(number, 'task')} named {name} {'was' if number == 1 else 'were'} sent, but no worker online knows"
            " this name. A worker that receives such a task discards it.",
            proof=f"{facts.celery} inspect registered does not list it; the log of the worker that received it says"
            " “Received unregistered task”.",
            mend="Import its module in the worker (imports or autodiscover_tasks), or deploy the same code to workers and"
            " senders. Then send the tasks again.",
            subject=Subject.TASK,
            name=name,
            queues=frozenset({queue} if queue else ()),
        )


def _knows_speed(facts: Facts) -> bool:
    return any(queue.growth is not None and queue.served is not None for queue in facts.queues or ())


@rule("queue-grows", "No queue grows faster than it is served.", _knows_speed)
def queue_grows(facts: Facts) -> Iterator[Finding]:
    """More is sent to a queue than its workers finish, and it has more than a minute of work."""
    for queue, number in _with_waiting(facts):
        if queue.growth is None or queue.served is None or not _is_served(facts, queue):
            continue
        if queue.growth >= GROWTH and number > queue.served:
            yield Finding(
                rule="queue-grows",
                severity=Severity.WARNING,
                title="A queue grows faster than it is served",
                sentence=f"Queue {queue.name} has {number:,} waiting and grows by {queue.growth:,.0f} a minute: its workers"
                f" finish {queue.served:,.0f} a minute, {queue.served + queue.growth:,.0f} are sent. At this rate it never"
                f" empties, and has {number + 60 * queue.growth:,.0f} in an hour.",
                proof="Its depth in the samples of the last minutes; the queue's page shows the last six hours.",
                mend="Add workers or slots for this queue, move its long tasks to a queue of their own, or send less.",
                subject=Subject.QUEUE,
                name=queue.name,
            )


@rule("long-backlog", "Each queue will be empty within an hour at its present rate.", _knows_speed)
def long_backlog(facts: Facts) -> Iterator[Finding]:
    """A queue shrinks, but so slowly that what is sent now waits for long."""
    for queue, number in _with_waiting(facts):
        if queue.growth is None or queue.growth >= 0 or not _is_served(facts, queue):
            continue
        seconds = 60 * number / -queue.growth
        if seconds > LONG_BACKLOG:
            yield Finding(
                rule="long-backlog",
                severity=Severity.WARNING,
                title="A queue has a long backlog",
                sentence=f"Queue {queue.name} has {number:,} waiting and shrinks by {-queue.growth:,.0f} a minute; at this rate"
                f" it is empty in {rough_duration(seconds)}.",
                proof="Its depth in the samples of the last minutes; the queue's page shows the last six hours.",
                mend="Add workers or slots for this queue if that is too late.",
                subject=Subject.QUEUE,
                name=queue.name,
            )


def _is_served(facts: Facts, queue: QueueFacts) -> bool:
    """Whether it is not for another reason that a queue grows."""
    return queue.paused_by is None and (facts.workers is None or bool(facts.consumers(queue.name)))
