"""The request that this thread serves and the task that it runs, for log lines and for the headers of messages."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

from zenith_worker.wire import spans
from zenith_worker.wire.headers import REQUEST_HEADER

#: The id of the request that this thread serves, or that sent the task which it runs; empty if there is none.
request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
#: The id and the name of the task that this thread runs; empty outside of a worker.
task: Final[ContextVar[tuple[str, str]]] = ContextVar("task", default=("", ""))

_ACCEPTED: Final = re.compile(r"[\w.-]{1,64}\Z", re.ASCII)


def carried() -> dict[str, str]:
    """Return the headers of a message's origin: the request's id, and the current span if tracing is enabled."""
    request = {REQUEST_HEADER: id_} if (id_ := request_id.get()) else {}
    return {**request, **spans.carried()}


def accept(id_: str) -> str:
    """Return a client's id if it is safe for a log; else a new one."""
    return id_ if _ACCEPTED.match(id_) else secrets.token_hex(12)
