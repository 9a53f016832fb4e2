"""A worker's heartbeat: what its main process knows of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from celery.worker import state as worker_state

from zenith_worker import consumers, memory, prefetch, settings_told
from zenith_worker.wire import heartbeat
from zenith_worker.wire.keys import NATIVE

#: Heartbeats between two measurements of the pool's memory.
MEASURE_EVERY: Final = 5
_STARTED_AT: Final = time.time()


class _Memory:
    """The memory of the processes at the last measurement."""

    bytes_: int | None = None


def write(
    consumer: Any, number: int, *, tags: Sequence[str] = (), application: str = NATIVE, catalogue: str = "",
    guards: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write heartbeat number `number` of this process's worker.

    `tags` are the delivery tags that it will still acknowledge; `catalogue` is the digest of its tasks;
    `guards` are those of its application.

    Raises redis.RedisError.
    """
    heartbeat.write(
        consumer.hostname,
        slots=consumer.pool.num_processes,
        busy=len(worker_state.active_requests),
        queues=consumers.queues_of(consumer),
        held=[request.id for request in list(worker_state.reserved_requests)],
        tags=tags,
        about=_about(consumer, number, catalogue, guards),
        application=application,
    )


def _about(consumer: Any, number: int, catalogue: str, guards: Sequence[str]) -> heartbeat.About:
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
        catalogue=catalogue,
        guards=guards,
        longest_eta=prefetch.longest_eta(consumer),
        settings=settings_told.settings_of(consumer.app),
    )
