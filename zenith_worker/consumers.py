"""The queues that this worker consumes: it stops consuming a paused queue, and starts again once the queue is resumed.

Each worker checks for itself (worker_step.py, several times a second), so it does not matter if one starts while a queue is
paused, or is unreachable when it is resumed. Tasks that a worker has already reserved run.
"""

from __future__ import annotations

from typing import Any, Final

from celery.worker.control import control_command

from zenith_worker.wire.control import STOP_CONSUMING

_withheld: Final[set[str]] = set()


def queues_of(consumer: Any) -> list[str]:
    """Return the names of the queues that a worker consumes."""
    return [queue.name for queue in consumer.task_consumer.queues] if consumer.task_consumer else []


def withheld_queues() -> list[str]:
    """Return the queues that this worker does not consume because they are paused."""
    return sorted(_withheld)


def apply_pauses(consumer: Any, paused: frozenset[str]) -> None:
    """Stop consuming paused queues, and resume those that are no longer paused. Only the worker's event loop may call it."""
    if not (paused or _withheld) or not consumer.task_consumer:
        return
    for name in paused.intersection(queues_of(consumer)):
        consumer.cancel_task_queue(name)
        _withheld.add(name)
    for name in _withheld - paused:
        _consume_again(consumer, name)
        _withheld.discard(name)


def _consume_again(consumer: Any, name: str) -> None:
    """Consume a queue again, also after the next loss of the broker: before Celery 5.7 it would be forgotten then."""
    consumer.add_task_queue(name)
    queues = consumer.app.amqp.queues
    if name not in queues.consume_from:
        queues.select_add(queues[name])


@control_command(name=STOP_CONSUMING)
def stop_consuming(state: Any, queues: list[str] | None = None, **_: Any) -> dict[str, list[str]]:
    """Stop consuming these queues, or all, even once a paused one is resumed."""
    consumer = state.consumer
    consumed = queues_of(consumer)
    stopped = [name for name in [*consumed, *withheld_queues()] if queues is None or name in queues]
    for name in stopped:
        if name in consumed:
            consumer.call_soon(consumer.cancel_task_queue, name)
        _withheld.discard(name)
    return {"ok": stopped}
