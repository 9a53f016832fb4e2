"""What an attached worker does besides what every worker does: it announces its application and carries out Zenith's commands.

Nothing in its loop waits for Zenith's Redis: reports go into the buffer, and a thread of their own reads the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zenith_worker import beats, consumers
from zenith_worker.attached_commands import Commands
from zenith_worker.attached_control import ability_of
from zenith_worker.attached_purge import queue_commands
from zenith_worker.buffer import Buffer
from zenith_worker.guards import Guards
from zenith_worker.queue_depths import QueueDepths
from zenith_worker.recovery import Recovery
from zenith_worker.wire.control import Ability
from zenith_worker.wire.events import Event
from zenith_worker.worker_step import WorkerStep


def attached_worker(application: str, buffer: Buffer, guards: Guards) -> type[WorkerStep]:
    """Return the bootstep of an application's workers, which Celery makes itself."""
    members = {"application": application, "buffer": buffer, "guards": guards, "claims": guards.claims}
    return type("AttachedWorker", (AttachedWorker,), members)


class AttachedWorker(WorkerStep):
    """The step of an attached application's workers."""

    look_every = 0.1
    #: Each report of a task has its arguments, and most tasks are over by then.
    held_for = 0.5
    buffer: Buffer
    guards: Guards
    _commands: Commands
    _depths: QueueDepths
    _ability: Ability
    _queue_commands: tuple[str, ...] = ()

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.recovery: Recovery | None = None
        if self.guards.recovery:
            # Before the consumer connects.
            self.recovery = Recovery.guard(consumer, self.application, self.buffer, with_claims=self.guards.claims)

    def prepare(self, consumer: Any) -> None:
        """Start the commands, which read the paused queues and the cancelled tasks."""
        self._commands = Commands.start(consumer.app, self.application, self.buffer.add)
        self.pauses = self._commands.pauses

    def begin(self, consumer: Any) -> None:
        """Start to measure the queues, and to recover if that is asked for."""
        # What waits in a paused queue is counted as well.
        self._depths = QueueDepths.start(consumer.app, lambda: [*consumers.queues_of(consumer), *consumers.withheld_queues()])
        self._ability, self._queue_commands = ability_of(consumer), queue_commands(consumer)
        if self.recovery is not None:
            self.recovery.start(consumer)

    def look(self, consumer: Any) -> None:
        """Let Celery refuse what was cancelled."""
        self._commands.refuse_cancelled()

    def report(self, events: Sequence[Event]) -> bool:
        """Report steps of held tasks; the buffer keeps them."""
        self.buffer.add(*events)
        return True

    def beat(self, consumer: Any, number: int) -> bool:
        """Take over what children left, announce the application, and write a heartbeat."""
        self.buffer.adopt()
        self.buffer.announce()
        beats.write(consumer, number, application=self.application, about=self._about)
        if self.recovery is not None:
            self.recovery.abandon_claims()
        return False

    def end(self) -> None:
        """Send what is left."""
        self.buffer.adopt()
        self.buffer.flush()
        self.buffer.close()

    @property
    def _about(self) -> dict[str, Any]:
        """What its heartbeat tells besides what every worker's does."""
        depths, age = self._depths.told
        return {
            "catalogue": self._commands.digest, "guards": self.guards.names, "control": self._ability.value, "depths": depths,
            "depths_age": age, "queue_commands": self._queue_commands,
        }  # fmt: skip
