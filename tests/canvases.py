"""The messages of canvases, as Celery itself builds them, without a broker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from celery import Celery
from celery.canvas import Signature
from kombu.utils import json as kombu_json

from zenith_worker.wire import extras

#: Sends nothing.
APP: Final = Celery("canvases", broker="memory://", backend="cache+memory://", set_as_current=False)


@dataclass(frozen=True)
class Message:
    """A sent message: Celery's id, the task's name, and its extras as the recorder gets them."""

    id: str
    name: str
    extras: dict[str, Any] | None

    @property
    def embed(self) -> dict[str, Any]:
        """What follows the task."""
        return dict((self.extras or {}).get("embed") or {})


def sig(name: str, *args: Any, **kwargs: Any) -> Signature:
    """Return the signature of a task that nobody runs."""
    return Signature(name, args=args, kwargs=kwargs, app=APP)


def sent(canvas: Any, **options: Any) -> list[Message]:
    """Send a canvas; return its messages in the order in which Celery sent them. Nothing is published, so nothing is reported."""
    messages: list[Message] = []

    def note(producer: Any, name: str, message: Any, **_: Any) -> None:
        headers, embed = json.loads(kombu_json.dumps([message.headers, message.body[2]]))
        messages.append(Message(headers["id"], name, extras.of_message(headers, embed)))

    with patch.object(APP.amqp, "send_task_message", note):
        canvas.clone().apply_async(**options)
    return messages
