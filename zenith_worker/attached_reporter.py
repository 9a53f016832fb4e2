"""Reports what an attached worker holds and runs, and that it lives, and starts what carries out Zenith's commands.

Nothing here assumes Zenith's transport.

As in native workers, a step in the worker's own loop reports tasks that are held for longer than a moment; an outcome carries the
times of the others. The heartbeat is a thread of the operating system also if greenlets have taken the place of threads: a busy
greenlet must not make a living worker look dead.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

import redis
from celery import bootsteps, signals

from zenith_worker import beats, consumers, held
from zenith_worker.attached_commands import Commands
from zenith_worker.attached_control import ability_of
from zenith_worker.attached_purge import queue_commands
from zenith_worker.buffer import Buffer
from zenith_worker.crashes import hand_back_reserved
from zenith_worker.guards import Guards
from zenith_worker.native_threads import start_native_thread
from zenith_worker.queue_depths import QueueDepths
from zenith_worker.recovery import Recovery
from zenith_worker.reporting import is_away
from zenith_worker.reporting_backend import quietly
from zenith_worker.wire import heartbeat
from zenith_worker.wire.control import Ability

logger = logging.getLogger(__name__)

#: Seconds between two checks of the held requests, and for which one is held before it is reported: each report of a task has its
#: arguments, and most tasks are over by then.
LOOK_EVERY: Final = 0.1
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
    _depths: QueueDepths
    _ability: Ability
    _queue_commands: tuple[str, ...] = ()

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        self.recovery: Recovery | None = None
        if self.guards.recovery:
            # Before the consumer connects.
            self.recovery = Recovery.guard(consumer, self.application, self.reports, with_claims=self.guards.claims)

    def start(self, consumer: Any) -> None:
        """Start the checks in the worker's loop, and once the heartbeats and the commands."""
        self._commands = Commands.start(consumer.app, self.application, self.reports.add)
        # Before the first message is taken, so that none of a paused queue is.
        consumers.apply_pauses(consumer, self._commands.pauses.names)
        # What waits in a paused queue is counted as well.
        self._depths = QueueDepths.start(consumer.app, lambda: [*consumers.queues_of(consumer), *consumers.withheld_queues()])
        self._ability, self._queue_commands = ability_of(consumer), queue_commands(consumer)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY, lambda: quietly(lambda: self._look(consumer)), priority=10)
        if self.recovery is not None:
            self.recovery.start(consumer)
        Heartbeats.start(consumer, self)

    def stop(self, consumer: Any) -> None:
        """Stop the checks, but not the heartbeats: a worker that lost its connection still runs its tasks."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def about(self) -> dict[str, Any]:
        """What its heartbeat tells besides what every worker's does."""
        depths, age = self._depths.told
        return {
            "catalogue": self._commands.digest, "guards": self.guards.names, "control": self._ability.value, "depths": depths,
            "depths_age": age, "queue_commands": self._queue_commands,
        }  # fmt: skip

    def refresh_pauses(self) -> None:
        """Read again which queues are paused. Raises redis.RedisError."""
        self._commands.pauses.refresh()

    def _look(self, consumer: Any) -> None:
        self._commands.refuse_cancelled()
        with suppress(*consumer.connection_errors):  # the worker's loop finds that by itself, and connects again
            consumers.apply_pauses(consumer, self._commands.pauses.names)
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
        beats.repeat(self._step, lambda: self._stopped)

    def _step(self, number: int) -> bool:
        self._reports.adopt()
        self._reports.announce()
        self._reporter.refresh_pauses()
        beats.write(self._consumer, number, application=self._application, about=self._reporter.about)
        if self._reporter.recovery is not None:
            self._reporter.recovery.abandon_claims()
        if self._reporter.guards.claims:
            beats.renew_claims(number)
        return False

    def _end(self, **_: Any) -> None:
        """Hand back what was interrupted, send what is left, and remove the heartbeat: a worker that was stopped is not dead."""
        self._stopped = True
        if self._reporter.guards.claims and not is_away():
            hand_back_reserved()
        self._reports.adopt()
        self._reports.flush()
        self._reports.close()
        try:
            heartbeat.forget(self._consumer.hostname, self._application)
        except redis.RedisError as error:
            logger.info("Could not remove the heartbeat: %s", error)
