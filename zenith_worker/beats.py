"""A worker's heartbeat: what its main process knows of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery.worker import state as worker_state

from zenith_worker import consumers, memory, prefetch
from zenith_worker.wire import heartbeat
from zenith_worker.wire.keys import NATIVE

#: Heartbeats between two measurements of the pool's memory.
MEASURE_EVERY: Final = 5
_STARTED_AT: Final = time.time()


class _Memory:
    """The memory of the processes at the last measurement."""

    bytes_: int | None = None


def write(
    consumer: Any, number: int, *, tags: Sequence[str] = (), application: str = NATIVE, about: Mapping[str, Any] | None = None
) -> None:
    """Write heartbeat number `number` of this process's worker.

    `tags` are the delivery tags that it will still acknowledge; `about` are the fields of heartbeat.About that only a worker of
    an attached application has.

    Raises redis.RedisError.
    """
    heartbeat.write(
        consumer.hostname,
        slots=_slots(consumer.pool),
        busy=len(worker_state.active_requests),
        queues=consumers.queues_of(consumer),
        held=[request.id for request in list(worker_state.reserved_requests)],
        tags=tags,
        about=_about(consumer, number, about or {}),
        application=application,
    )


def _slots(pool: Any) -> int:
    """Return how many tasks a pool runs at once; those of greenlets count as their processes what runs now."""
    size = getattr(getattr(pool, "_pool", None), "size", None)
    return size if type(size) is int else int(pool.num_processes)


def _about(consumer: Any, number: int, more: Mapping[str, Any]) -> heartbeat.About:
    if number % MEASURE_EVERY == 0:
        _Memory.bytes_ = memory.resident_bytes(consumer.pool)
    scaler = getattr(consumer.controller, "autoscaler", None)
    return heartbeat.About(
        pool=type(consumer.pool).__module__.rpartition(".")[2],
        started_at=_STARTED_AT,
        memory_bytes=_Memory.bytes_,
        processed=sum(worker_state.total_count.values()),
        autoscale=(scaler.min_concurrency, scaler.max_concurrency) if scaler else None,
        withheld=consumers.withheld_queues(),
        prefetch=prefetch.prefetch_limit(consumer),
        limited=prefetch.waiting_for_rate_limit(consumer),
        not_yet=prefetch.waiting_for_eta(consumer),
        **more,
    )
