"""The rules, the most direct causes first: of two findings that are equally bad, the one whose rule is earlier is shown first."""

from typing import Final

from tasks_app.diagnosis.findings import Rule
from tasks_app.diagnosis.rules import beat, broker, queues, workers

RULES: Final[tuple[Rule, ...]] = (
    queues.not_heard,
    queues.no_worker,
    queues.queue_unreadable,
    queues.queue_paused,
    queues.no_consumer,
    queues.channel_closed,
    workers.pool_stalled,
    workers.rate_limit_fills_prefetch,
    queues.unknown_task,
    broker.lost_early_acknowledged,
    broker.visibility_timeout,
    beat.beat_dead,
    beat.beat_doubled,
    workers.long_tasks_block,
    workers.eta_grows_prefetch,
    workers.prefetch_full,
    workers.unbounded_prefetch,
    queues.queue_grows,
    queues.long_backlog,
    beat.schedule_missed,
    broker.priorities_without_steps,
    broker.eviction,
    broker.broker_memory,
    broker.no_persistence,
    broker.results_expire,
    workers.clock_skew,
    workers.mixed_versions,
    workers.events_off,
    workers.worker_silent,
    workers.no_time_limit,
    workers.sent_events_off,
    broker.classic_queues,
)
