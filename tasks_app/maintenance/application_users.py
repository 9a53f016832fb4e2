"""Redis users of applications: each may write its own keys, read there what Zenith asks of it, and nothing else.

A user's password is derived from Zenith's secret key, so it is stored nowhere and is the same whenever the user is made again: a
Redis that starts anew has forgotten it. A new secret key gives new passwords; `manage.py applications add` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

from zenith_worker.wire.client import client
from zenith_worker.wire.keys import application_prefix

_SALT: Final = "zenith.redis-users.applications"
#: What an application's processes run: they append to a stream, write heartbeats, counts, what they are and what they can run,
#: and read, take over and confirm Zenith's commands.
_COMMANDS: Final = (
    "+@connection", "-@admin", "-@dangerous", "+multi", "+exec", "+discard", "+xadd", "+hset", "+sadd", "+srem", "+set", "+del",
    "+hexists", "+xreadgroup", "+xpending", "+xclaim", "+xack", "+xdel", "+zadd", "+zrange", "+exists", "+time",
)  # fmt: skip


def username(name: str) -> str:
    """Return the name of an application's Redis user."""
    return f"zenith-app-{name}"


def password(name: str) -> str:
    """Return the password of an application's Redis user."""
    return salted_hmac(_SALT, name, algorithm="sha256").hexdigest()


def url(name: str) -> str:
    """Return the URL of Zenith's Redis with an application's user; it contains the password."""
    parts = urlsplit(settings.ZENITH_REDIS_URL)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{username(name)}:{password(name)}@{address}"))


#: The users whose rights this process has renewed: those of an earlier release may have fewer.
_renewed: Final[set[str]] = set()


def grant(name: str) -> None:
    """Make an application's Redis user, or set its rights and password again. Raises redis.RedisError."""
    _set_user(name, "reset", "on", f">{password(name)}", *_rights(name))
    _renewed.add(name)


def grant_missing(names: Iterable[str]) -> None:
    """Make the users of these applications that Redis does not know, such as after its restart. Raises redis.RedisError.

    The rights of the others are renewed once by each process; their passwords stay.
    """
    for name in names:
        known: Any = client().execute_command("ACL", "GETUSER", username(name))
        if known is None:
            grant(name)
        elif name not in _renewed:
            _set_user(name, "resetkeys", "resetchannels", "-@all", *_rights(name))
            _renewed.add(name)


def _rights(name: str) -> tuple[str, ...]:
    return (f"~{application_prefix(name)}*", *_COMMANDS)


def _set_user(name: str, *rules: str) -> None:
    client().execute_command("ACL", "SETUSER", username(name), *rules)
