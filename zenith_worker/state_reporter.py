"""Reports a worker's state: its reserved tasks, its running tasks, its heartbeat, and which tasks it has.

A step in the worker's own event loop checks its requests a few times a second and reports those that it still holds. A task that
is over by then needs no message of its own: its outcome carries the times (outcomes.py). So tracking costs nothing for a short
task, and one small entry for a long one.
"""

from __future__ import annotations

import logging
import threading
from itertools import count
from typing import Any, Final

import redis
from celery import bootsteps, signals
from celery.worker import state as worker_state

from zenith_worker import beats, consumers, held
from zenith_worker.carried import token_of
from zenith_worker.catalogue import PublishedCatalogue
from zenith_worker.crashes import hand_back
from zenith_worker.wire import claims, heartbeat, pauses, stream
from zenith_worker.wire.runs import RunNumber

logger = logging.getLogger(__name__)

#: Seconds between two checks of the held requests.
LOOK_EVERY: Final = 0.05
#: Heartbeats between two renewals of the running tasks' claims; far shorter than a claim's life.
RENEW_EVERY: Final = 10
_BEAT: Final = "zenith-beat"
_stopped: Final = threading.Event()


class StateReporter(bootsteps.StartStopStep):
    """A consumer bootstep: starts with the worker's consumer and stops with it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Start the checks, in the worker's event loop, and the heartbeats, in a thread.

        A pool that runs tasks in the main process (solo) blocks the loop, but the worker must not look dead.
        """
        _read_pauses()
        # Before the first message is taken, so that none of a paused queue is.
        consumers.apply_pauses(consumer, _Paused.names)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY, _look, (consumer,), priority=10)
        if not any(thread.name == _BEAT for thread in threading.enumerate()):
            threading.Thread(target=_beat_until, args=(_stopped, consumer), name=_BEAT, daemon=True).start()

    def stop(self, consumer: Any) -> None:
        """Stop the checks, but not the heartbeats: a worker that lost its connection, or stops, still runs its tasks."""
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self, consumer: Any) -> None:
        """Remove the heartbeat at the end, even of a cold shutdown, for which Celery sends no signal.

        A worker whose tasks were interrupted keeps it, and is treated like one that died.
        """
        if not worker_state.reserved_requests and not worker_state.active_requests:
            _end_heartbeats(consumer.hostname)


class _Paused:
    """The paused queues, as of the newest heartbeat."""

    names: frozenset[str] = frozenset()


def _look(consumer: Any) -> None:
    """Check the held requests and the queues; runs in the event loop, which alone may touch consumers."""
    report_held()
    consumers.apply_pauses(consumer, _Paused.names)


def _read_pauses() -> None:
    try:
        _Paused.names = pauses.read()
    except redis.RedisError as error:
        logger.warning("Could not read the paused queues: %s", error)


def report_held() -> None:
    """Report every held request whose current step is not reported yet, all in one entry."""
    requests = held.unreported()
    try:
        stream.append(held.steps(requests))
    except redis.RedisError as error:
        logger.warning("Could not report %s held tasks: %s", len(requests), error)
        return
    held.note_reported(requests)


def _beat_until(stopped: threading.Event, consumer: Any) -> None:
    tasks = _ToldTasks(consumer.app)
    for number in count():
        try:
            _read_pauses()
            beats.write(consumer, number, tags=_tags(consumer), catalogue=tasks.digest)
            if number % RENEW_EVERY == 0:
                claims.renew([(request.id, token_of(request)) for request in list(worker_state.active_requests)])
        except redis.RedisError as error:
            logger.warning("Could not write the heartbeat: %s", error)
        except Exception:
            # Such as sets that the event loop changes meanwhile. Without heartbeats the worker would be taken for dead.
            logger.exception("A heartbeat failed.")
        # After the heartbeat, which must not be late; the next one names new tasks at once.
        if stopped.wait(0 if tasks.tell() else heartbeat.EVERY):
            return


class _ToldTasks:
    """What this worker tells the servers of its tasks, so that those need not import them."""

    def __init__(self, app: Any) -> None:
        self._catalogue = PublishedCatalogue(app)
        self._trouble = ""

    @property
    def digest(self) -> str:
        """The digest for the heartbeat."""
        return self._catalogue.digest

    def tell(self) -> bool:
        """Tell which tasks there are, if that is not known; return whether the digest is another one now.

        A failure is logged once until it is over: the next heartbeat tries again.
        """
        before = self.digest
        try:
            self._catalogue.refresh()
            self._trouble = ""
        except Exception as error:
            if str(error) != self._trouble:
                logger.warning(
                    "Could not tell Zenith which tasks there are: %s", error, exc_info=not isinstance(error, redis.RedisError)
                )
            self._trouble = str(error)
        return self.digest != before


def _tags(consumer: Any) -> list[str]:
    """Return the delivery tags of messages taken by this connection, and of tasks still running from an earlier one.

    The worker has lost everything else that it once took: the reconciler puts it back.
    """
    channel = consumer.task_consumer.channel if consumer.task_consumer else None
    tags = channel.qos.held() if channel is not None else set()
    return [*tags.union(request.message.delivery_tag for request in list(worker_state.active_requests))]


@signals.worker_shutdown.connect
def hand_back_and_leave(sender: Any, **_: Any) -> None:
    """At the end of a shutdown, hand back reserved tasks and remove the heartbeat, so that the worker does not look dead."""
    _stopped.set()
    for request in list(worker_state.reserved_requests):
        hand_back(request.id, RunNumber.of(request.request_dict))
    _end_heartbeats(sender.hostname)


def _end_heartbeats(hostname: str) -> None:
    _stopped.set()
    try:
        heartbeat.forget(hostname)
    except redis.RedisError as error:
        logger.info("Could not remove the heartbeat: %s", error)
