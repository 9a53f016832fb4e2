"""The worker's part that tells what it holds: reserved tasks, running tasks, and itself.

A step in the worker's own event loop looks at the requests it holds a few times a second and
reports those that are still there. A task that is over by then was never worth a message of its
own: its outcome carries the times (outcomes.py). So tracking costs nothing on the way of a short
task and one small entry for a long one.
"""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import redis
from celery import bootsteps, signals
from celery.worker import state as worker_state
from celery.worker.request import Request

from zenith_worker import consumers, memory, prefetch
from zenith_worker.carried import carried
from zenith_worker.crashes import hand_back
from zenith_worker.signals import origin
from zenith_worker.wire import claims, heartbeat, pauses, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds between two looks at the held requests.
LOOK_EVERY: Final = 0.05
#: Beats between two renewals of the claims of what runs; far shorter than a claim's life.
RENEW_EVERY: Final = 10
#: The same for a look at the memory of the pool's processes.
MEASURE_EVERY: Final = 5
_BEAT: Final = "zenith-beat"
_stopped: Final = threading.Event()


class StateReporter(bootsteps.StartStopStep):
    """A consumer bootstep: starts with the worker's consumer and stops with it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin to look, in the worker's event loop, and to beat, in a thread.

        A pool that runs tasks in the main process (solo) blocks the loop; it should not look dead.
        """
        _look_for_pauses()
        # Before the first message is taken: nothing of a paused queue is.
        consumers.follow(consumer, _Paused.names)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY, _look, (consumer,), priority=10)
        if not any(thread.name == _BEAT for thread in threading.enumerate()):
            threading.Thread(target=_beat_until, args=(_stopped, consumer), name=_BEAT, daemon=True).start()

    def stop(self, consumer: Any) -> None:
        """Stop looking, but not beating: a worker that lost its connection, or stops, still runs its tasks."""
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self, consumer: Any) -> None:
        """Say goodbye at the end, also of a cold stop, of which Celery sends no signal.

        Not where tasks were cut off: such a worker is looked after as one that died.
        """
        if not worker_state.reserved_requests and not worker_state.active_requests:
            _say_goodbye(consumer.hostname)


class _Paused:
    """The paused queues as the newest beat found them."""

    names: frozenset[str] = frozenset()


def _look(consumer: Any) -> None:
    """Look at the held requests and at the queues; in the event loop, which alone may touch consumers."""
    announce_held()
    consumers.follow(consumer, _Paused.names)


def _look_for_pauses() -> None:
    try:
        _Paused.names = pauses.read()
    except redis.RedisError as error:
        logger.warning("Could not ask which queues are paused: %s", error)


def announce_held() -> None:
    """Report every held request whose step is not reported yet, all in one entry."""
    held = [request for request in list(worker_state.reserved_requests) if _has_news(request)]
    if not held:
        return
    try:
        stream.append([event for request in held for event in _report(request)])
    except redis.RedisError as error:
        logger.warning("Could not report %s held tasks: %s", len(held), error)
        return
    for request in held:
        carried(request).reported = _status(request)


def _beat_until(stopped: threading.Event, consumer: Any) -> None:
    for number in count():
        try:
            _look_for_pauses()
            _beat(consumer, number)
            if number % RENEW_EVERY == 0:
                claims.renew([request.id for request in list(worker_state.active_requests)])
        except redis.RedisError as error:
            logger.warning("Could not write the heartbeat: %s", error)
        except Exception:
            # Whatever it is, such as sets that the event loop changes meanwhile: a worker that does not beat is taken for dead.
            logger.exception("A heartbeat failed.")
        if stopped.wait(heartbeat.EVERY):
            return


def _beat(consumer: Any, number: int) -> None:
    heartbeat.write(
        consumer.hostname,
        slots=consumer.pool.num_processes,
        busy=len(worker_state.active_requests),
        queues=consumers.queues_of(consumer),
        held=[request.id for request in list(worker_state.reserved_requests)],
        tags=_tags(consumer),
        about=_about(consumer, number),
    )


_STARTED_AT: Final = time.time()


class _Memory:
    """What the processes took when it was last looked up."""

    bytes_: int | None = None


def _about(consumer: Any, number: int) -> heartbeat.About:
    if number % MEASURE_EVERY == 0:
        _Memory.bytes_ = memory.resident_bytes(consumer.pool)
    scaler = getattr(consumer.controller, "autoscaler", None)
    return heartbeat.About(
        pool=type(consumer.pool).__module__.rpartition(".")[2],
        started_at=_STARTED_AT,
        memory_bytes=_Memory.bytes_,
        processed=sum(worker_state.total_count.values()),
        autoscale=(scaler.min_concurrency, scaler.max_concurrency) if scaler else None,
        withheld=consumers.withheld(),
        prefetch=prefetch.limit_of(consumer),
        limited=prefetch.limited(consumer),
        not_yet=prefetch.not_yet(consumer),
    )


def _tags(consumer: Any) -> list[str]:
    """Return the delivery tags of what this connection took, and of what runs since an earlier one.

    Everything else that this worker once took is forgotten: the reconciler puts it back.
    """
    channel = consumer.task_consumer.channel if consumer.task_consumer else None
    taken = channel.qos.held() if channel is not None else set()
    return [*taken.union(request.message.delivery_tag for request in list(worker_state.active_requests))]


@signals.worker_shutdown.connect
def sign_off(sender: Any, **_: Any) -> None:
    """At the end of a stop on purpose, hand back what was reserved, and do not look dead but gone."""
    _stopped.set()
    for request in list(worker_state.reserved_requests):
        hand_back(request.id, RunNumber.of(request.request_dict))
    _say_goodbye(sender.hostname)


def _say_goodbye(hostname: str) -> None:
    _stopped.set()
    try:
        heartbeat.forget(hostname)
    except redis.RedisError as error:
        logger.info("Could not sign off: %s", error)


def _status(request: Request) -> Status:
    return Status.STARTED if request.time_start else Status.RECEIVED


def _has_news(request: Request) -> bool:
    if request.eta is not None and not request.time_start:
        return False  # it backs off in the worker's memory; RETRY says more than RECEIVED
    return carried(request).reported != _status(request)


def _report(request: Request) -> Iterator[Event]:
    run = RunNumber.of(request.request_dict)
    received = carried(request).received_at or time.time()
    yield Event(
        task_id=request.id,
        status=_status(request),
        at=request.time_start or received,
        nesting=run.nesting,
        attempt=run.attempt,
        delivery=carried(request).number,
        worker=request.hostname,
        received_at=received,
        **origin(request._context),
    )
