"""One message as kombu's Redis transport keeps it, described for display without running anything of it.

Everything in it is from whoever may write to the broker: it is checked, and cut. A body is only decoded if it is JSON and small,
and only if the headers do not tell the arguments; a pickled one never is, since that would run code here.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from zenith_worker.wire.client import is_text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.messages import message_priority

#: Characters of a name or a time, and of arguments as text, that are kept.
NAME_KEPT: Final = 255
ID_KEPT: Final = 1024
TEXT_KEPT: Final = 10_000
#: Characters of a body that is decoded.
_DECODED: Final = 65_536
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class BrokerMessage:
    """One message, for display.

    Attributes:
        position: its place in its queue and priority step, from 1 for the next to be taken; None if a worker holds it.
        holder: the run of the worker that holds it.
        args, kwargs: its arguments: Python's text of them, as its sender cut it, or values; None if they are not known.
        eta, expires: its own times, as its sender wrote them.
        content_type: of its body; empty if the message is not kombu's.
    """

    task_id: str
    task_name: str
    priority: int
    step: int
    position: int | None = None
    redelivered: bool = False
    holder: str | None = None
    args: Any = None
    kwargs: Any = None
    eta: str = ""
    expires: str = ""
    content_type: str = ""


def describe(envelope: dict[str, Any], step: int, *, position: int | None = None, holder: str | None = None) -> BrokerMessage:
    """Return what a message is, by its envelope (messages.py), which may be empty."""
    headers = envelope.get("headers") or {}
    args, kwargs = (_told(headers.get(name)) for name in ("argsrepr", "kwargsrepr"))
    if args is None and kwargs is None:
        args, kwargs = _decoded(envelope)
    return BrokerMessage(
        task_id=_text(headers.get("id"), ID_KEPT), task_name=_text(headers.get("task"), NAME_KEPT),
        priority=message_priority(envelope), step=step, position=position, redelivered=bool(headers.get("redelivered")),
        holder=holder, args=args, kwargs=kwargs, eta=_text(headers.get("eta"), NAME_KEPT),
        expires=_text(headers.get("expires"), NAME_KEPT), content_type=_text(envelope.get("content-type"), NAME_KEPT),
    )  # fmt: skip


def _told(text: Any) -> str | None:
    """Return arguments as Celery's headers describe them, None if they do not."""
    return _text(text, TEXT_KEPT) if isinstance(text, str) else None


def _decoded(envelope: dict[str, Any]) -> tuple[Any, Any]:
    """Return the arguments in a body of JSON: clients in other languages describe none."""
    body, properties = envelope.get("body"), envelope.get("properties") or {}
    if not isinstance(body, str) or len(body) > _DECODED or envelope.get("content-type") != JSON:
        return None, None
    try:
        args, kwargs, _ = json.loads(base64.b64decode(body) if properties.get("body_encoding") == "base64" else body)
    except (ValueError, TypeError, RecursionError):
        return None, None
    return (args, kwargs) if isinstance(args, list) and isinstance(kwargs, dict) else (None, None)


def _text(value: Any, kept: int) -> str:
    """Return the beginning of a text, without what PostgreSQL and pages cannot hold."""
    if not isinstance(value, str):
        return "" if value is None else str(value)[:kept]
    text = value[:kept].replace("\x00", "\ufffd")
    return text if is_text(text) else text.encode(errors="replace").decode()
