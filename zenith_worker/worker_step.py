"""What every worker does for Zenith besides running tasks: it tells what it holds and runs, that it lives, and obeys pauses.

A step in the worker's own event loop checks its requests a few times a second and reports those that it still holds. A task that
is over by then needs no message of its own: its outcome carries the times (outcomes.py). So tracking costs nothing for a short
task, and one small entry for a long one. The heartbeats are a thread of the operating system, also if greenlets have taken the
place of threads: neither a busy greenlet nor a pool that runs tasks in the main process (solo) may make a living worker look
dead.

What else a worker does depends on whose it is: own_worker.py, attached_worker.py. Nothing here assumes Zenith's transport.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from celery import bootsteps, signals
from celery.worker import state as worker_state

from zenith_worker import beats, consumers, held
from zenith_worker.crashes import hand_back_reserved
from zenith_worker.native_threads import start_native_thread
from zenith_worker.reporting import is_away
from zenith_worker.wire import heartbeat
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.pauses import KnownPauses

logger = logging.getLogger(__name__)


class WorkerStep(bootsteps.StartStopStep):
    """A consumer bootstep: starts with the worker's consumer, and again after each lost connection to its broker.

    Attributes:
        application: whose worker it is.
        claims: whether its tasks are claimed, so that claims are renewed, and released at its end.
        look_every, held_for: seconds between two checks of the held requests, and for which one is held before it is reported.
        pauses: the paused queues, which the heartbeats read again.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    application: str = NATIVE
    claims: bool = True
    look_every: float
    held_for: float = 0.0
    pauses: KnownPauses

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Start the checks in the worker's loop, and once the heartbeats."""
        self.prepare(consumer)
        # Before the first message is taken, so that none of a paused queue is.
        consumers.apply_pauses(consumer, self.pauses.names)
        self._timer = consumer.timer.call_repeatedly(self.look_every, lambda: self._look_quietly(consumer), priority=10)
        self.begin(consumer)
        Heartbeats.start(consumer, self)

    def stop(self, consumer: Any) -> None:
        """Stop the checks, but not the heartbeats: a worker that lost its connection, or stops, still runs its tasks."""
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self, consumer: Any) -> None:
        """Remove the heartbeat at the end, even of a cold shutdown, for which Celery sends no signal.

        A worker whose tasks were interrupted keeps it, and is treated like one that died.
        """
        if not worker_state.reserved_requests and not worker_state.active_requests:
            Heartbeats.leave()

    def prepare(self, consumer: Any) -> None:
        """Get ready, before the first message is taken; sets `pauses`. Must not raise."""
        raise NotImplementedError

    def begin(self, consumer: Any) -> None:
        """Start what else the worker does, each time that its consumer starts."""

    def look(self, consumer: Any) -> None:
        """Do what only the worker's loop may do, with each check."""

    def report(self, events: Sequence[Event]) -> bool:
        """Report steps of held tasks; return whether that was done, else they are tried again."""
        raise NotImplementedError

    def beat(self, consumer: Any, number: int) -> bool:
        """Write heartbeat number `number`; return whether the next one shall follow at once. Raises redis.RedisError."""
        raise NotImplementedError

    def end(self) -> None:
        """Do what is left to do at the worker's end. Must not raise."""

    def _look_quietly(self, consumer: Any) -> None:
        try:
            self.look(consumer)
            with suppress(*consumer.connection_errors):  # the worker's loop finds that by itself, and connects again
                consumers.apply_pauses(consumer, self.pauses.names)
            self._report_held()
        except Exception:
            logger.exception("The tasks that this worker holds could not be reported.")

    def _report_held(self) -> None:
        """Report every held request whose current step is not reported yet."""
        requests = held.unreported(self.held_for)
        if requests and self.report(held.steps(requests)):
            held.note_reported(requests)


class Heartbeats:
    """The heartbeats of this process's worker."""

    _running: Heartbeats | None = None

    def __init__(self, consumer: Any, worker: WorkerStep) -> None:
        self._consumer, self._worker = consumer, worker
        self._stopped = False

    @classmethod
    def start(cls, consumer: Any, worker: WorkerStep) -> None:
        """Start the heartbeats, or go on with them for a consumer that was made anew."""
        if cls._running is not None:
            cls._running._consumer, cls._running._worker = consumer, worker
            return
        cls._running = cls(consumer, worker)
        signals.worker_shutdown.connect(cls._running._end, weak=False)
        start_native_thread(cls._running._run)

    @classmethod
    def leave(cls) -> None:
        """Remove the heartbeat: a worker that was stopped is not dead."""
        if cls._running is not None:
            cls._running._forget()

    def _run(self) -> None:
        beats.repeat(self._step, lambda: self._stopped)

    def _step(self, number: int) -> bool:
        self._worker.pauses.refresh()
        again = self._worker.beat(self._consumer, number)
        if self._worker.claims:
            beats.renew_claims(number)
        return again

    def _end(self, **_: Any) -> None:
        """Hand back what was interrupted, do what is left, and remove the heartbeat."""
        self._stopped = True
        if self._worker.claims and not is_away():
            hand_back_reserved()
        self._worker.end()
        self._forget()

    def _forget(self) -> None:
        self._stopped = True
        try:
            heartbeat.forget(self._consumer.hostname, self._worker.application)
        except redis.RedisError as error:
            logger.info("Could not remove the heartbeat: %s", error)
