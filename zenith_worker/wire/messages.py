"""Reads messages as kombu's Redis transport writes them (kombu/transport/redis.py).

A queue is one list for each priority step. What a worker holds lies in a hash, as a message with its exchange and routing key.
Anybody may write something else there, which reads as empty.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from zenith_worker.wire.client import is_text
from zenith_worker.wire.keys import PRIORITY_SEPARATOR
from zenith_worker.wire.routing import priority_of

#: kombu's priority steps, each with a list of its own; the lowest number is taken first.
PRIORITY_STEPS: Final = (0, 3, 6, 9)
# The id in the message's headers, as a JSON string. Parsing the whole message would cost far more.
_TASK_ID: Final = re.compile(rb'"id": ?("(?:[^"\\]|\\.)*")')


def keys_of(queue: str) -> list[str]:
    """Return the lists that hold a queue's messages, one for each priority step."""
    return [queue if step == 0 else f"{queue}{PRIORITY_SEPARATOR}{step}" for step in PRIORITY_STEPS]


def list_of(queue: str, message: dict[str, Any]) -> str:
    """Return the list of a queue that a message belongs into."""
    return keys_of(queue)[PRIORITY_STEPS.index(step_of(message))]


def step_of(message: dict[str, Any]) -> int:
    """Return the step of the message's priority, which kombu rounds down."""
    return max(item for item in PRIORITY_STEPS if item <= message_priority(message))


def message_priority(message: dict[str, Any]) -> int:
    """Return the message's priority, 0 to 9."""
    return priority_of((message.get("properties") or {}).get("priority")) or 0


def envelope(body: bytes | str) -> dict[str, Any]:
    """Return a message as kombu wrote it; empty if it is not kombu's."""
    try:
        return _checked(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def held(body: bytes | str) -> tuple[dict[str, Any], str]:
    """Return a message that a worker holds, and its routing key; empty if it is not kombu's."""
    try:
        message, _exchange, routing_key = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}, ""
    if not isinstance(routing_key, str) or not is_text(routing_key):
        return {}, ""
    return _checked(message), routing_key


def task_id(body: bytes | str) -> str | None:
    """Return the id of a message's task; None if it names none."""
    match = _TASK_ID.search(body if isinstance(body, bytes) else body.encode())
    try:
        return str(json.loads(match[1])) if match else None
    except (ValueError, RecursionError):
        return None


def _checked(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {}
    parts = (message.get("headers", {}), message.get("properties", {}))
    return message if all(isinstance(part, (dict, type(None))) for part in parts) else {}
