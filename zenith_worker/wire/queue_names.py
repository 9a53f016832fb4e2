"""Reserved names of queues: a queue is a Redis key of the same name, and these keys hold something else.

A message to `unacked` or to `zenith:events` would put a list in the place of kombu's hash or of Zenith's stream, after which no
command on that key works. Everything that lets people name a queue checks here.
"""

from __future__ import annotations

from typing import Final

from zenith_worker.wire import keys
from zenith_worker.wire.client import is_text

#: Characters of a queue's name at most: the limit of AMQP, and of PostgreSQL's columns.
LONGEST: Final = 255
#: Characters of a queue name that people and programs give to Zenith.
MAX_NAME: Final = 100
#: Reserved prefixes, and their owners.
_PREFIXES: Final = {
    keys.PREFIX: "Zenith's own keys",
    "_kombu.binding.": "kombu's table of bindings",
    "celeryev.": "Celery's events",
    "celery-task-meta-": "Celery's results",
    "celery-taskset-meta-": "Celery's results",
    "asgi__": "the channel layer",
    "asgispecific.": "the channel layer",
}
_SUFFIXES: Final = {".pidbox": "the mailboxes of Celery's remote control"}
_WHOLE: Final = {
    keys.UNACKED: "kombu's messages that workers hold",
    keys.UNACKED_INDEX: "kombu's messages that workers hold",
    "unacked_mutex": "kombu's lock",
    "celeryev": "Celery's events",
}


def why_malformed(name: str) -> str | None:
    """Return why a queue cannot be given this name; None for printable ASCII characters, MAX_NAME at most."""
    if 0 < len(name) <= MAX_NAME and name.isprintable() and name.isascii():
        return None
    return f"must be 1 to {MAX_NAME} printable ASCII characters"


def may_hold_tasks(name: str) -> bool:
    """Return whether a queue of another application can have this name, which may be anything, and be shown under it."""
    return 0 < len(name) <= LONGEST and "\x00" not in name and is_text(name) and why_reserved(name) is None


def why_reserved(name: str) -> str | None:
    """Return a sentence that says why a queue must not have this name; None if it may."""
    if not name:
        return "A queue needs a name."
    if keys.PRIORITY_SEPARATOR in name:
        return f"No queue may be called {name[:100]!r}: kombu separates a queue's name from a priority by \\x06\\x16."
    if owner := _owner(name):
        return f"No queue may be called {name[:100]!r}: a queue is a key in Redis, and this one belongs to {owner}."
    return None


def _owner(name: str) -> str | None:
    if owner := _WHOLE.get(name):
        return owner
    by_prefix = (owner for prefix, owner in _PREFIXES.items() if name.startswith(prefix))
    by_suffix = (owner for suffix, owner in _SUFFIXES.items() if name.endswith(suffix))
    return next(by_prefix, None) or next(by_suffix, None)
