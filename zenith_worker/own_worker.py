"""What a worker of Zenith's own application does besides what every worker does: its messages and its tasks are told as well."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import redis
from celery.worker import state as worker_state

from zenith_worker import beats
from zenith_worker.catalogue import PublishedCatalogue
from zenith_worker.wire import stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.keys import NATIVE
from zenith_worker.wire.pauses import KnownPauses
from zenith_worker.worker_step import WorkerStep

logger = logging.getLogger(__name__)


class OwnWorker(WorkerStep):
    """The step of Zenith's own workers."""

    look_every = 0.05

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.pauses, self._tasks = KnownPauses(NATIVE), ToldTasks(consumer.app)

    def prepare(self, consumer: Any) -> None:
        """Read the paused queues."""
        try:
            self.pauses.refresh()
        except redis.RedisError as error:
            logger.warning("Could not read the paused queues: %s", error)

    def report(self, events: Sequence[Event]) -> bool:
        """Report steps of held tasks in one entry."""
        try:
            stream.append(events)
        except redis.RedisError as error:
            logger.warning("Could not report %s held tasks: %s", len(events), error)
            return False
        return True

    def beat(self, consumer: Any, number: int) -> bool:
        """Write a heartbeat with the messages that it holds; then tell which tasks there are, if that is not known."""
        beats.write(consumer, number, tags=_tags(consumer), about={"catalogue": self._tasks.digest})
        # After the heartbeat, which must not be late; the next one names new tasks at once.
        return self._tasks.tell()


class ToldTasks:
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
