"""Applications that announce themselves: each process of one writes what it is into a hash, and the engine reads it.

Everything in the hash is from strangers. At most ANNOUNCED_AT_MOST applications are read, and an invalid one is left out.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import celery
import redis

from zenith_worker.wire.client import client, command, load, script, text
from zenith_worker.wire.keys import APPLICATIONS, application_keys

#: An application's name, as a regular expression.
NAME: Final = r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?"
#: The name of Zenith's own application, which no other may have.
NATIVE_NAME: Final = "zenith"
#: The most applications that may announce themselves: each costs its own stream and the recorders' time.
ANNOUNCED_AT_MOST: Final = 100
#: Characters of a value in an announcement.
_VALUE_KEPT: Final = 50
_MAIN_KEPT: Final = 255
#: Digits of a count.
_COUNT_KEPT: Final = 16

_ANNOUNCE: Final = load("application_announce")


class Announcement(NamedTuple):
    """What the newest process of an application says of itself: the Celery app's main name, and versions."""

    name: str
    main: str = ""
    celery: str = ""
    python: str = ""


class TooManyApplicationsError(RuntimeError):
    """Zenith knows as many applications as it takes."""


def is_name(name: str) -> bool:
    """Whether a text can be the name of an application other than Zenith's own."""
    return re.fullmatch(NAME, name) is not None and name != NATIVE_NAME


def announce(name: str, main: str) -> None:
    """Announce an application; one with a Redis user of its own does so below its own keys.

    Raises redis.RedisError or TooManyApplicationsError.
    """
    about = json.dumps({"main": main[:_MAIN_KEPT], "celery": celery.__version__, "python": platform.python_version()})
    try:
        is_taken_in = script(_ANNOUNCE, APPLICATIONS, name, about, ANNOUNCED_AT_MOST)
    except redis.exceptions.NoPermissionError:
        is_taken_in = command("SET", application_keys(name).about, about)
    if not is_taken_in:
        raise TooManyApplicationsError(f"Zenith takes in at most {ANNOUNCED_AT_MOST} applications")


def announced(isolated: Iterable[str] = ()) -> list[Announcement]:
    """Return the applications that announced themselves, by name, without invalid ones. Raises redis.RedisError.

    `isolated` are those with a Redis user of their own: what others say in their name does not count.
    """
    rows: Any = client().hscan(APPLICATIONS, count=ANNOUNCED_AT_MOST * 2)[1] if client().hlen(APPLICATIONS) else {}
    said = {text(name): about for name, about in sorted(rows.items())[:ANNOUNCED_AT_MOST]}
    said |= {name: _about(name) for name in isolated}
    read = (_announcement(name, about) for name, about in sorted(said.items()))
    return [announcement for announcement in read if announcement is not None]


def dropped_reports(name: str) -> int:
    """Return how many reports an application's processes dropped because they could not send them. Raises redis.RedisError.

    Values that are no counts are left out: whoever writes there may write anything.
    """
    counts: Any = client().hvals(application_keys(name).dropped)
    return sum(int(count) for count in counts if count.isdigit() and len(count) < _COUNT_KEPT)


def _about(name: str) -> Any:
    try:
        return client().get(application_keys(name).about)
    except redis.ResponseError:
        return None  # it holds something else


def _announcement(name: str, about: Any) -> Announcement | None:
    try:
        values = json.loads(about)
        kept = {member: _value(values.get(member, ""), _MAIN_KEPT if member == "main" else _VALUE_KEPT) for member in _MEMBERS}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Announcement(name, **kept) if is_name(name) else None


_MEMBERS: Final = ("main", "celery", "python")


def _value(value: Any, kept: int) -> str:
    if type(value) is not str or "\x00" in value:
        raise TypeError("not text")
    value.encode()
    return value[:kept]
