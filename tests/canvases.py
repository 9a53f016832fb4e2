"""The messages of canvases, as Celery itself builds them, without a broker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from celery import Celery
from celery.canvas import Signature
from celery.signals import before_task_publish
from kombu.utils import json as kombu_json

from zenith_worker.wire import extras

_APP: Final = Celery("canvases", broker="memory://", backend="cache+memory://", set_as_current=False)


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
    return Signature(name, args=args, kwargs=kwargs, app=_APP)


def sent(canvas: Any, **options: Any) -> list[Message]:
    """Send a canvas; return its messages in the order in which Celery sent them."""
    messages: list[Message] = []

    def note(sender: str, headers: dict[str, Any], body: Any, **_: Any) -> None:
        told = json.loads(kombu_json.dumps([headers, body[2]]))
        messages.append(Message(headers["id"], sender, extras.of_message(*told)))

    before_task_publish.connect(note)
    try:
        canvas.clone().set(app=_APP).apply_async(**options)
    finally:
        before_task_publish.disconnect(note)
    return messages
