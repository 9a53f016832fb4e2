"""A worker's heartbeats: what its main process knows of it, written every two seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import redis
from celery.worker import state as worker_state

from zenith_worker import consumers, memory, prefetch, settings_told
from zenith_worker.carried import token_of
from zenith_worker.reporting import note_away
from zenith_worker.wire import claims, heartbeat
from zenith_worker.wire.keys import NATIVE

logger = logging.getLogger(__name__)

#: Heartbeats between two measurements of the pool's memory.
MEASURE_EVERY: Final = 5
#: Heartbeats between two renewals of the running tasks' claims; far shorter than a claim's life.
RENEW_EVERY: Final = 10
_STARTED_AT: Final = time.time()


class _Memory:
    """The memory of the processes at the last measurement."""

    bytes_: int | None = None


def repeat(step: Callable[[int], bool], is_stopped: Callable[[], bool]) -> None:
    """Take a step with each heartbeat's number, until the worker ends; the next one follows at once if it returns True.

    Never raises: without heartbeats the worker would be taken for dead. What fails is logged once until it succeeds.
    """
    failures = 0
    for number in count():
        again = False
        try:
            again = step(number)
            failures = 0
        except redis.RedisError as error:
            failures += 1
            note_away()
            if failures == 1:
                logger.warning("The heartbeat cannot be written, because Redis does not answer: %s", error)
        except Exception:
            failures += 1
            # Once is nothing: the worker's loop may have changed a set meanwhile.
            if failures == 2:
                logger.exception("Heartbeats fail, so this worker is taken for dead; tasks go on.")
        time.sleep(0 if again else heartbeat.EVERY)
        if is_stopped():
            return


def renew_claims(number: int) -> None:
    """Renew the claims of the running tasks, with some of the heartbeats. Raises redis.RedisError."""
    if number % RENEW_EVERY == 0:
        claims.renew([(request.id, token_of(request)) for request in list(worker_state.active_requests)])


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
        longest_eta=prefetch.longest_eta(consumer),
        settings=settings_told.settings_of(consumer.app),
        **more,
    )
