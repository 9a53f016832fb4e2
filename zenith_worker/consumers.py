"""Which queues this worker takes messages from: a paused one is given up, and taken again once it is resumed.

Each worker looks for itself (state_reporter.py, with every heartbeat), so one that starts while a queue is
paused, or that was away when it was resumed, does the right thing as well. What a worker has already
reserved runs.
"""

from typing import Any, Final

from celery.worker.control import control_command

from zenith_worker.wire.control import STOP_CONSUMING

_withheld: Final[set[str]] = set()


def queues_of(consumer: Any) -> list[str]:
    """Return the names of the queues that a worker's consumer takes messages from."""
    return [queue.name for queue in consumer.task_consumer.queues] if consumer.task_consumer else []


def withheld() -> list[str]:
    """Return the queues given up because they are paused."""
    return sorted(_withheld)


def follow(consumer: Any, paused: frozenset[str]) -> None:
    """Give up what is paused, take again what is not any more. Only the worker's event loop may call it."""
    if not (paused or _withheld) or not consumer.task_consumer:
        return
    for name in paused.intersection(queues_of(consumer)):
        consumer.cancel_task_queue(name)
        _withheld.add(name)
    for name in _withheld - paused:
        consumer.add_task_queue(name)
        _withheld.discard(name)


@control_command(name=STOP_CONSUMING)
def stop_consuming(state: Any, queues: list[str] | None = None, **_: Any) -> dict[str, list[str]]:
    """Take no more messages from these queues, or from any; also not once a paused one is resumed."""
    consumer = state.consumer
    consumed = queues_of(consumer)
    stopped = [name for name in [*consumed, *withheld()] if queues is None or name in queues]
    for name in stopped:
        if name in consumed:
            consumer.call_soon(consumer.cancel_task_queue, name)
        _withheld.discard(name)
    return {"ok": stopped}
