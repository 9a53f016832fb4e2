"""The first report of a task that Zenith did not dispatch: its call as the sender wants it shown, and what follows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from celery.utils.saferepr import saferepr

from zenith_worker.wire import extras
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import Event
from zenith_worker.wire.headers import DISPATCHED_HEADER
from zenith_worker.wire.routing import priority_of
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

#: The length of Celery's representation of arguments (celery.app.amqp).
_REPR_MAXSIZE: Final = 1024
#: Characters of it that are compared with the value's own representation.
_COMPARED: Final = 400
#: Stands for the names of hidden named arguments.
HIDDEN_KWARGS: Final = "…"


def sent(name: str, headers: Mapping[str, Any], body: Any, *, queue: str, priority: Any) -> Event:
    """Return the report of a task that this process has just sent. `body` is that of Celery's protocol 2, not yet encoded."""
    args, kwargs, embed = body
    nesting = RunNumber.of(headers).nesting
    call = _Call(name, list(args or ()), dict(kwargs or {}), headers.get("argsrepr"), headers.get("kwargsrepr"))
    return Event(
        task_id=headers["id"],
        status=Status.QUEUED,
        at=time.time(),
        nesting=nesting,
        name=name,
        queue=queue,
        args=call.shown_args,
        kwargs=call.shown_kwargs,
        parent_id=_id(headers.get("parent_id")),
        priority=priority_of(priority),
        extras=call.extras(extras.of_message(headers, embed), nesting),
    )


def origin(request: Any) -> dict[str, Any]:
    """Return the additional fields of a task's first report, if Zenith did not dispatch it.

    `request` is Celery's request as the task sees it, or None.
    """
    if request is None or getattr(request, DISPATCHED_HEADER, None):
        return {}
    # A worker that does not know the task has only a partial request.
    delivery = getattr(request, "delivery_info", None) or {}
    name = getattr(request, "task", None) or getattr(request, "name", None) or ""
    args, kwargs = list(getattr(request, "args", None) or ()), dict(getattr(request, "kwargs", None) or {})
    call = _Call(name, args, kwargs, getattr(request, "argsrepr", None), getattr(request, "kwargsrepr", None))
    return {
        "name": name,
        "queue": delivery.get("routing_key") or "",
        "args": call.shown_args,
        "kwargs": call.shown_kwargs,
        "priority": priority_of(delivery.get("priority")),
        "parent_id": _id(getattr(request, "parent_id", None)),
        "extras": call.extras(extras.of_request(request), RunNumber.of_request(request).nesting),
    }


@dataclass(slots=True)
class _Call:
    """The call in a message, and how its sender wants it shown: `argsrepr` and `kwargsrepr` are Celery's way to hide secrets."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    argsrepr: Any
    kwargsrepr: Any
    # Compared once: printing the arguments is a third of a report's cost.
    _hides_args: bool = False
    _hides_kwargs: bool = False

    def __post_init__(self) -> None:
        self._hides_args = bool(self.args) and _hides(self.argsrepr, self.args)
        self._hides_kwargs = bool(self.kwargs) and _hides(self.kwargsrepr, self.kwargs)

    @property
    def shown_args(self) -> list[Any]:
        """The arguments to show."""
        return [self.argsrepr] if self._hides_args else self.args

    @property
    def shown_kwargs(self) -> dict[str, Any]:
        """The named arguments to show."""
        return {HIDDEN_KWARGS: self.kwargsrepr} if self._hides_kwargs else self.kwargs

    def extras(self, carried_on: dict[str, Any] | None, nesting: int) -> dict[str, Any] | None:
        """Return what the message carries, with the call itself if the task's row does not have it.

        The row does not have it if arguments are hidden, or for a replacement: the row keeps the original call.
        """
        base = carried_on or {"headers": {}, "embed": {}}
        if nesting:
            return {**base, "task": self.name, "args": self.args, "kwargs": self.kwargs}
        if self._hides_args or self._hides_kwargs:
            representations = {"argsrepr": self.argsrepr, "kwargsrepr": self.kwargsrepr}
            return {**base, "headers": {**base["headers"], **representations}, "args": self.args, "kwargs": self.kwargs}
        return carried_on


def _hides(representation: Any, value: Any) -> bool:
    """Return whether a sender wants another text shown than Celery's representation of the value.

    JSON turns tuples into lists and keys into text, so such differences are ignored.
    """
    return isinstance(representation, str) and _essence(representation) != _essence(saferepr(value, _REPR_MAXSIZE))


#: Characters by which two representations of the same arguments may differ.
_DROPPED: Final = dict.fromkeys(map(ord, "()[]{},'\" "))


def _essence(representation: str) -> str:
    return representation[:_COMPARED].translate(_DROPPED)[: _COMPARED // 2]


def _id(value: Any) -> str | None:
    """Return a task's id; None if it is not one. It comes from a message, which may hold anything."""
    return value if isinstance(value, str) and value else None
