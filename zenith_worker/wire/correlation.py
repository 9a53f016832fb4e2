"""What is going on in this thread: whose request it serves, which task it runs. Logs say it, and messages carry it on."""

import re
import secrets
from contextvars import ContextVar
from typing import Final

from zenith_worker.wire import spans
from zenith_worker.wire.headers import REQUEST_HEADER

#: Of the request that this thread serves, or of the one that sent the task which it runs; empty where there is none.
request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
#: Id and name of the task that this thread runs; empty outside of a worker.
task: Final[ContextVar[tuple[str, str]]] = ContextVar("task", default=("", ""))

_ACCEPTED: Final = re.compile(r"[\w.-]{1,64}\Z", re.ASCII)


def carried() -> dict[str, str]:
    """Return the headers by which a message says where it comes from: the request's id, and the span where somebody traces."""
    request = {REQUEST_HEADER: id_} if (id_ := request_id.get()) else {}
    return {**request, **spans.carried()}


def accept(given: str) -> str:
    """Return an id that somebody sent, where it is one that a log can hold; else a new one."""
    return given if _ACCEPTED.match(given) else secrets.token_hex(12)
