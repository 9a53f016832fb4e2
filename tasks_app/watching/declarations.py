"""How workers declare the queues that they consume, as they answer when they are asked: brokers tell less of a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

#: Types of RabbitMQ's queues, of which no other is believed.
_TYPES: Final = ("classic", "quorum", "stream")
#: RabbitMQ's highest priority.
_MOST_PRIORITY: Final = 255


class Declaration(NamedTuple):
    """A queue as a worker declares it.

    Attributes:
        queue_type: None if the worker leaves it to the broker.
        max_priority: 0 without priorities.
        expires: whether it is removed once nobody uses it.
    """

    queue_type: str | None = None
    max_priority: int = 0
    expires: bool = False


def declarations(answer: Sequence[Any]) -> dict[str, Declaration]:
    """Return the queues in a worker's answer to `active_queues` by name. What is odd is left out."""
    return {
        queue["name"]: _declaration(queue) for queue in answer if isinstance(queue, dict) and isinstance(queue.get("name"), str)
    }


def _declaration(queue: dict[str, Any]) -> Declaration:
    arguments = queue.get("queue_arguments")
    arguments = arguments if isinstance(arguments, dict) else {}
    queue_type, priority = arguments.get("x-queue-type"), arguments.get("x-max-priority", queue.get("max_priority"))
    return Declaration(
        queue_type if queue_type in _TYPES else None,
        priority if type(priority) is int and 0 <= priority <= _MOST_PRIORITY else 0,
        bool(arguments.get("x-expires") or queue.get("expires")),
    )
