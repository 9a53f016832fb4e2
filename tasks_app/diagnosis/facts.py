"""The facts that rules judge, as somebody observed them; None if nobody knows. Times are in seconds."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

NATIVE: Final = "native"
WATCHED: Final = "watched"
REDIS: Final = "redis"
RABBITMQ: Final = "amqp"


class HeldTasks(NamedTuple):
    """Tasks of one name that wait in a worker's memory; `rate` is their limit, if they wait for that."""

    name: str
    number: int
    rate: str = ""


class RunningTask(NamedTuple):
    """A task that runs, and for how long."""

    name: str
    seconds: float


class NamedTasks(NamedTuple):
    """A number of tasks of one name, and the queue that they wait in, if that is known."""

    name: str
    number: int
    queue: str = ""


class LostTasks(NamedTuple):
    """Tasks that were running on a worker that is gone."""

    worker: str
    number: int
    acknowledged_early: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFacts:
    """The settings that a worker runs with.

    Attributes:
        acks_late: whether tasks are acknowledged after they ran, unless they say otherwise.
        time_limit, soft_time_limit: None if there is none.
        prefetch_multiplier: 0 for no limit.
        sent_events: whether its producers send events of sent tasks; of a watched application.
    """

    acks_late: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    prefetch_multiplier: int | None = None
    sent_events: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker.

    Attributes:
        heard_seconds: since its last sign of life.
        withheld: queues that it does not consume because they are paused.
        prefetch: how many messages it takes, including those of running tasks; 0 for no limit.
        messages: how many it has taken and not acknowledged.
        limited, not_yet: tasks that it holds until a rate limit or their ETA allows them.
        clock_ahead: how far its clock is ahead of the observer's; negative if behind.
        stalled_seconds: for how long the oldest of its tasks that may start has been reserved.
        events: whether it sends events of tasks; of a watched application.
    """

    name: str
    online: bool = True
    heard_seconds: float | None = None
    pool: str = ""
    slots: int | None = None
    busy: int | None = None
    queues: frozenset[str] | None = None
    withheld: frozenset[str] = frozenset()
    prefetch: int | None = None
    messages: int | None = None
    limited: tuple[HeldTasks, ...] | None = None
    not_yet: tuple[HeldTasks, ...] | None = None
    version: str = ""
    clock_ahead: float | None = None
    running: tuple[RunningTask, ...] | None = None
    stalled_seconds: float | None = None
    settings: SettingsFacts | None = None
    events: bool | None = None

    @property
    def free(self) -> int | None:
        """How many of its slots run no task."""
        return None if self.slots is None or self.busy is None else max(0, self.slots - self.busy)

    @property
    def is_full(self) -> bool | None:
        """Whether it has taken as many messages as it may."""
        if self.prefetch is None or self.messages is None:
            return None
        return 0 < self.prefetch <= self.messages


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """A queue.

    Attributes:
        depth: messages that wait at the broker.
        tasks: tasks that wait in it as far as their senders told; counts if the depth is unknown.
        held: tasks that Zenith holds back, of a paused queue.
        broker_consumers: how many consumers the broker counts.
        growth, served: messages per minute.
        max_priority: the highest priority that a RabbitMQ queue tells apart; 0 if none.
        queue_type: of RabbitMQ: classic or quorum.
    """

    name: str
    depth: int | None = None
    tasks: int | None = None
    held: int = 0
    oldest_seconds: float | None = None
    paused_by: str | None = None
    unreadable: bool = False
    broker_consumers: int | None = None
    growth: float | None = None
    served: float | None = None
    max_priority: int | None = None
    queue_type: str | None = None

    @property
    def waiting(self) -> int | None:
        """How many tasks wait in it."""
        return self.tasks if self.depth is None else self.depth


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """The broker.

    Attributes:
        kind: redis or amqp, as kombu names transports.
        visibility_timeout: after which Redis' transport delivers an unacknowledged message again.
        priority_steps: the priorities that it tells apart.
        eviction: Redis' maxmemory-policy; `memory_limit` is 0 without maxmemory. Bytes.
        persistent: whether Redis writes to disk, with an append-only file or snapshots.
    """

    kind: str | None = None
    visibility_timeout: float | None = None
    priority_steps: tuple[int, ...] | None = None
    eviction: str | None = None
    memory_used: int | None = None
    memory_limit: int | None = None
    persistent: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """An entry of beat's schedule.

    Attributes:
        every: its interval; None for a crontab.
        runs: how long ago its task was sent, the newest first; only some are read.
        observed_seconds: for how long tasks of the application have been recorded.
        as_sent: whether its runs are known when they are sent; else only once a worker receives them.
        crontab: its five fields in cron's order; empty for an interval.
        due_seconds: in how many seconds a crontab is due.
    """

    name: str
    task: str
    every: float | None = None
    runs: tuple[float, ...] = ()
    observed_seconds: float = 0.0
    as_sent: bool = True
    crontab: str = ""
    due_seconds: float | None = None

    @property
    def last_seconds(self) -> float | None:
        """How long ago it ran last."""
        return self.runs[0] if self.runs else None

    @property
    def next_seconds(self) -> float | None:
        """In how many seconds it is due; negative if it is overdue."""
        return self.due_seconds if self.every is None or not self.runs else self.every - self.runs[0]

    @property
    def is_due(self) -> bool:
        """Whether its time has come, or is past."""
        return self.next_seconds is not None and self.next_seconds <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an application.

    Attributes:
        kind: native, attached or watched.
        result_expires: after which a result is deleted; 0 for never.
        priorities: those with which its recent tasks were sent.
        unknown_tasks: tasks that wait, or failed within the hour, although no worker knows their name.
        lost: tasks that were running on workers that are gone.
        longest_eta: from a task's dispatch to its ETA or its next attempt, of those that workers hold.
        longest_runtime: of a recent task or one that runs, or its time limit if that is longer.
        longest_wait: between a task's dispatch and its start.
        schedules: beat's.
        unheard: why a watched application is not heard, empty if it is; None for others.
        missed: facts that could not be read, within the time or at all.
    """

    application: str
    kind: str = NATIVE
    workers: tuple[WorkerFacts, ...] | None = None
    queues: tuple[QueueFacts, ...] | None = None
    broker: BrokerFacts = field(default_factory=BrokerFacts)
    result_expires: float | None = None
    priorities: tuple[int, ...] | None = None
    unknown_tasks: tuple[NamedTasks, ...] | None = None
    lost: tuple[LostTasks, ...] | None = None
    longest_eta: float | None = None
    longest_runtime: float | None = None
    longest_wait: float | None = None
    schedules: tuple[ScheduleFacts, ...] | None = None
    unheard: str | None = None
    missed: tuple[str, ...] = ()

    @property
    def online(self) -> tuple[WorkerFacts, ...]:
        """The workers that are online."""
        return tuple(worker for worker in self.workers or () if worker.online)

    @property
    def celery(self) -> str:
        """The command line that begins every command of Celery's for this application."""
        return "celery -A zenith_site" if self.kind == NATIVE else "celery -A YOUR_APP"

    def consumers(self, queue: str) -> tuple[WorkerFacts, ...]:
        """Return the workers online that consume a queue."""
        return tuple(worker for worker in self.online if worker.queues and queue in worker.queues)

    def waiting_for(self, worker: WorkerFacts) -> int:
        """Return how many tasks wait in the queues that a worker consumes."""
        return sum(queue.waiting or 0 for queue in self.queues or () if worker.queues and queue.name in worker.queues)
