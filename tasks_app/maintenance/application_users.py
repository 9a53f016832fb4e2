"""Redis users of applications: each may use its own keys as its processes need them, and nothing else.

A user's password is derived from Zenith's secret key, so it is stored nowhere and is the same whenever the user is made again: a
Redis that starts anew has forgotten it. A new secret key gives new passwords; `manage.py applications add` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

from zenith_worker.wire import claims
from zenith_worker.wire.client import client, load_scripts
from zenith_worker.wire.keys import application_prefix

_SALT: Final = "zenith.redis-users.applications"
#: What an application's processes run, on its own keys. The calls of a script are checked against these and its keys as well.
_COMMANDS: Final = (
    "+@connection", "-@admin", "-@dangerous", "+multi", "+exec", "+discard",
    # They append to a stream and write heartbeats, counts, what they are and what they can run.
    "+xadd", "+hset", "+sadd", "+srem", "+set", "+del", "+hexists",
    # They read, take over and confirm Zenith's commands.
    "+xreadgroup", "+xpending", "+xclaim", "+xack", "+xdel", "+zadd", "+zrange", "+exists", "+time",
    # They claim tasks (claims.py), by scripts that an engine has loaded; EVAL is left out, since a script may run for ever, which
    # stops Redis for all, and flaws of its interpreter are open to whoever may write scripts. The scripts read claims, the
    # cancelled tasks and whether a holder lives; the worker keeps its claims from expiring.
    "+evalsha", "+get", "+zscore", "+pttl", "+expire",
    # They count deliveries (deliveries.py): redis-py's `incr` is INCRBY.
    "+incrby",
    # They ask an engine, in a list that stays short, and wait for its answer (questions.py).
    "+rpush", "+ltrim", "+blpop",
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
    load_scripts(claims.SCRIPTS)
    _set_user(name, "reset", "on", f">{password(name)}", *_rights(name))
    _renewed.add(name)


def grant_missing(names: Iterable[str]) -> None:
    """Make the users of these applications that Redis does not know, such as after its restart. Raises redis.RedisError.

    The rights of the others are renewed once by each process; their passwords stay. A Redis that forgot its users has also
    forgotten the scripts that they run: it gets those first, so that no user is without them.
    """
    names = list(names)
    if names:
        load_scripts(claims.SCRIPTS)
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
