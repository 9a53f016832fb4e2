"""Reports what an attached worker holds and runs, and that it lives, and starts what carries out Zenith's commands.

Nothing here assumes Zenith's transport.

As in native workers, a step in the worker's own loop reports tasks that are held for longer than a moment; an outcome carries the
times of the others. The heartbeat is a thread of the operating system also if greenlets have taken the place of threads: a busy
greenlet must not make a living worker look dead.
"""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import Any, Final

import redis
from celery import bootsteps, signals
from celery.worker import state as worker_state

from zenith_worker import beats, held
from zenith_worker.attached_commands import Commands
from zenith_worker.buffer import Buffer
from zenith_worker.carried import token_of
from zenith_worker.crashes import hand_back
from zenith_worker.guards import Guards
from zenith_worker.native_threads import start_native_thread
from zenith_worker.recovery import Recovery
from zenith_worker.reporting import is_away, note_away
from zenith_worker.reporting_backend import quietly
from zenith_worker.wire import claims, heartbeat
from zenith_worker.wire.runs import RunNumber

logger = logging.getLogger(__name__)

#: Seconds between two checks of the held requests, and for which one is held before it is reported: each report of a task has its
#: arguments, and most tasks are over by then.
LOOK_EVERY: Final = 0.1
#: Heartbeats between two renewals of the running tasks' claims; far shorter than a claim's life.
RENEW_EVERY: Final = 10
HELD_FOR: Final = 0.5


def reporter_of(application: str, reports: Buffer, guards: Guards) -> type[bootsteps.StartStopStep]:
    """Return a consumer bootstep that reports for an application."""
    return type("AttachedReporter", (AttachedReporter,), {"application": application, "reports": reports, "guards": guards})


class AttachedReporter(bootsteps.StartStopStep):
    """A consumer bootstep: starts with the worker's consumer, and again after each lost connection to its broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    application: str
    reports: Buffer
    guards: Guards
    _commands: Commands

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        self.recovery: Recovery | None = None
        if self.guards.recovery:
            # Before the consumer connects.
            self.recovery = Recovery.guard(consumer, self.application, self.reports, with_claims=self.guards.claims)

    def start(self, consumer: Any) -> None:
        """Start the checks in the worker's loop, and once the heartbeats and the commands."""
        self._commands = Commands.start(consumer.app, self.application)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY, lambda: quietly(self._look), priority=10)
        if self.recovery is not None:
            self.recovery.start(consumer)
        Heartbeats.start(consumer, self)

    def stop(self, consumer: Any) -> None:
        """Stop the checks, but not the heartbeats: a worker that lost its connection still runs its tasks."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def digest(self) -> str:
        """The digest of the catalogue that this worker can send, for its heartbeat."""
        return self._commands.digest

    def _look(self) -> None:
        self._commands.refuse_cancelled()
        requests = held.unreported(HELD_FOR)
        if requests:
            self.reports.add(*held.steps(requests))
            held.note_reported(requests)


class Heartbeats:
    """The heartbeats of this process's worker."""

    _running: Heartbeats | None = None

    def __init__(self, consumer: Any, reporter: AttachedReporter) -> None:
        self._consumer, self._reporter = consumer, reporter
        self._reports, self._application = reporter.reports, reporter.application
        self._stopped = False

    @classmethod
    def start(cls, consumer: Any, reporter: AttachedReporter) -> None:
        """Start the heartbeats, or go on with them for a consumer that was made anew."""
        if cls._running is not None:
            cls._running._consumer, cls._running._reporter = consumer, reporter
            return
        cls._running = cls(consumer, reporter)
        signals.worker_shutdown.connect(cls._running._end, weak=False)
        start_native_thread(cls._running._run)

    def _run(self) -> None:
        failures = 0
        for number in count():
            try:
                self._reports.adopt()
                self._reports.announce()
                beats.write(
                    self._consumer, number, application=self._application, catalogue=self._reporter.digest,
                    guards=self._reporter.guards.names,
                )  # fmt: skip
                if self._reporter.recovery is not None:
                    self._reporter.recovery.abandon_claims()
                failures = 0
                self._renew_claims(number)
            except redis.RedisError as error:
                failures += 1
                note_away()
                if failures == 1:
                    logger.warning("Zenith's Redis does not answer (%s); tasks go on.", error)
            except Exception:
                failures += 1
                # Once is nothing: the worker's loop may have changed a set meanwhile.
                if failures == 2:
                    logger.warning("Heartbeats fail, so Zenith takes this worker for dead; tasks go on.", exc_info=True)
            time.sleep(heartbeat.EVERY)
            if self._stopped:
                return

    def _renew_claims(self, number: int) -> None:
        if self._reporter.guards.claims and number % RENEW_EVERY == 0:
            claims.renew([(request.id, token_of(request)) for request in list(worker_state.active_requests)])

    def _end(self, **_: Any) -> None:
        """Hand back what was interrupted, send what is left, and remove the heartbeat: a worker that was stopped is not dead."""
        self._stopped = True
        if self._reporter.guards.claims and not is_away():
            for request in [held for held in list(worker_state.reserved_requests) if not held.acknowledged]:
                hand_back(request.id, RunNumber.of(request.request_dict))
        self._reports.adopt()
        self._reports.flush()
        self._reports.close()
        try:
            heartbeat.forget(self._consumer.hostname, self._application)
        except redis.RedisError as error:
            logger.info("Could not remove the heartbeat: %s", error)
