"""What is on the broker, as a test sees it in Redis itself."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from zenith_worker.wire import stream

#: Kombu keeps a list for each step of priority; this stands between the queue's name and the step.
_SEPARATOR = "\x06\x16"
_STEPS = ("", f"{_SEPARATOR}3", f"{_SEPARATOR}6", f"{_SEPARATOR}9")


@dataclass(frozen=True)
class Message:
    """One message as a worker would get it."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]

    @property
    def id(self) -> str:
        """The task's id."""
        return str(self.headers["id"])


def messages(queue: str = "default") -> list[Message]:
    """Return the messages of a queue, the oldest first, those that workers take first in front."""
    raw = [body for step in _STEPS for body in reversed(stream.client().lrange(queue + step, 0, -1))]
    return [_message(json.loads(body)) for body in raw]


def _message(envelope: dict[str, Any]) -> Message:
    args, kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
    return Message(envelope["headers"], envelope["properties"], args, kwargs, embed)
