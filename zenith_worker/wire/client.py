"""Redis clients: an ordinary one, and a persistent connection for the commands of every task.

`Redis.execute_command` costs about six times the round trip itself (pool, retries, instrumentation). So each thread keeps one
connection; a forked child never uses its parent's.

Scripts are files in lua/; `load` reads one at import, preceded by those that it builds on.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import redis
import redis.utils
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.retry import Retry

_LUA: Final = Path(__file__).parent / "lua"


_url: str | None = None
_timeout: float = 30


def configure(url: str, *, timeout: float = 30) -> None:
    """Set the URL of Zenith's Redis (`redis://` or `rediss://`), before anything connects to it.

    `timeout` is how many seconds a command may take.
    """
    global _url, _timeout
    _url, _timeout = url, timeout


class _Packer(HiredisRespSerializer):
    """Also writes text that is not valid Unicode (`is_text`): a task's id may be any text."""

    def pack(self, *words: Any) -> Any:
        """Return a command as bytes."""
        try:
            return super().pack(*words)
        except UnicodeEncodeError:
            encoded: list[Any] = [word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word for word in words]
            return super().pack(*encoded)


_own: Final = threading.local()


def client() -> redis.Redis:
    """Return this process's connection pool to Redis, or this thread's own (`keep_own_client`).

    It retries once, immediately: a pooled connection may have died while idle.
    """
    return getattr(_own, "client", None) or shared_client()


def keep_own_client() -> None:
    """Give the calling thread a pool of its own: gevent's sockets work only in the thread that opened them."""
    _own.client = _new_client()


@cache
def shared_client() -> redis.Redis:
    """Return the pool of all threads that keep none of their own."""
    return _new_client()


def _new_client() -> redis.Redis:
    if _url is None:
        raise RuntimeError("The URL of Zenith's Redis is not set: call zenith_worker.wire.client.configure() first.")
    return redis.Redis.from_url(
        _url,
        socket_timeout=_timeout,
        socket_connect_timeout=min(5, _timeout),
        retry=Retry(NoBackoff(), retries=1),
        **_packing(),
    )


#: The clients of the processes that this one was forked from: to close one, Python would wait for the lock below.
_inherited: Final[list[redis.Redis]] = []


def _begin_anew() -> None:
    """Give a forked child a client of its own.

    redis-py means to renew a client after a fork, but waits for its pool's lock first. Another thread of the parent, such as that
    of the heartbeats, may have held the lock at that moment, and nobody would ever release it in the child.
    """
    if shared_client.cache_info().currsize:
        _inherited.append(shared_client())
    shared_client.cache_clear()


if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
    os.register_at_fork(after_in_child=_begin_anew)


def _packing() -> dict[str, Any]:
    """Return how a connection writes commands: redis-py's own packer, which is slower, is needed if there is no hiredis."""
    has_packer = getattr(redis.utils, "HIREDIS_PACK_AVAILABLE", redis.utils.HIREDIS_AVAILABLE)
    return {"command_packer": _Packer()} if has_packer else {"encoding_errors": "surrogatepass"}


def connect(pool: Any) -> Any:
    """Return a connection of one of redis-py's pools, which is never given back. Raises redis.RedisError."""
    return pool.get_connection(*_UNUSED_NAME)


#: Before redis-py 5.3, a pool demands a command's name, and does not use it.
_UNUSED_NAME: Final = () if redis.VERSION >= (5, 3) else ("",)


def command(*words: Any) -> Any:
    """Run one command. Raises redis.RedisError; then it may still have run.

    A connection that died while idle is renewed once, so commands must be idempotent.
    """
    if _GREENLETS:
        return client().execute_command(*words)
    connection = _thread_connection()
    try:
        return connection.run(*words)
    except (redis.ConnectionError, redis.TimeoutError):
        connection.connection.disconnect()
        return connection.run(*words)


#: Whether greenlets have taken the place of threads. Each task is a new one then, so a connection for each would never be used
#: again.
_GREENLETS: Final = threading.local.__module__ != "_thread"


def script(source: str, key: str, *arguments: Any) -> Any:
    """Run a Lua script on one key, by its digest if the server knows it. Raises redis.RedisError.

    The user of an isolated application may run only what an engine has loaded (`load_scripts`); redis.exceptions.NoScriptError
    means that this was not done since Redis started.
    """
    try:
        return command("EVALSHA", _digest(source), 1, key, *arguments)
    except redis.exceptions.NoScriptError as unknown:
        try:
            return command("EVAL", source, 1, key, *arguments)
        except redis.exceptions.NoPermissionError:
            raise unknown from None


def load_scripts(sources: Iterable[str]) -> None:
    """Have the server know these Lua scripts until it ends, for users who may send it none. Raises redis.RedisError."""
    sources = list(sources)
    if sources and not all(client().script_exists(*map(_digest, sources))):
        for source in sources:
            client().script_load(source)


def load(*names: str) -> str:
    """Return the content of these files in lua/, joined."""
    return "\n".join((_LUA / f"{name}.lua").read_text(encoding="utf-8") for name in names)


def load_earlier() -> list[str]:
    """Return the scripts of earlier releases that their workers may still run, each as one whole text in lua/earlier/."""
    return [path.read_text(encoding="utf-8") for path in sorted((_LUA / "earlier").glob("*.lua"))]


def is_text(value: str) -> bool:
    """Whether a value is valid Unicode: JSON may hold half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(value: bytes | str) -> str:
    """Return a name or an id from Redis as text, whatever the protocol and whatever was written there."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class _Connection:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.connection = connect(client().connection_pool)

    def run(self, *words: Any) -> Any:
        try:
            self.connection.send_command(*words, check_health=False)
            return self.connection.read_response()
        except redis.ResponseError:
            raise
        except BaseException:
            # Such as a time limit between command and answer: the next command would get this one's answer.
            self.connection.disconnect()
            raise


_connections = threading.local()


def _thread_connection() -> _Connection:
    connection: _Connection | None = getattr(_connections, "own", None)
    if connection is None or connection.pid != os.getpid():
        connection = _connections.own = _Connection()
    return connection
