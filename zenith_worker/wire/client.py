"""A kept connection to Redis for what happens on the way of every task.

`Redis.execute_command` costs about six times the round trip itself (pool, retries,
instrumentation). Each thread keeps one connection; a forked child never uses its parent's.

Scripts are files in lua/; `load` reads one at import, with what it builds on in front of it.
"""

import hashlib
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.retry import Retry

_LUA: Final = Path(__file__).parent / "lua"


_url: str | None = None


def configure(url: str) -> None:
    """Say where Zenith's Redis is, before anything asks for it: `redis://` or `rediss://`."""
    global _url
    _url = url


class _Packer(HiredisRespSerializer):
    """Writes also text that is none (`is_text`), as Python does: a task's id may be any."""

    def pack(self, *words: Any) -> Any:
        """Return a command as bytes."""
        try:
            return super().pack(*words)
        except UnicodeEncodeError:
            told: list[Any] = [word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word for word in words]
            return super().pack(*told)


@cache
def client() -> "redis.Redis":
    """Return this process's connection pool to Redis (redis-py renews it after a fork).

    One immediate retry: a pooled connection may have died while it was idle.
    """
    if _url is None:
        raise RuntimeError("Nobody has called zenith_worker.wire.client.configure(): where is Zenith's Redis?")
    return redis.Redis.from_url(
        _url,
        socket_timeout=30,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), retries=1),
        command_packer=_Packer(),
    )


def command(*words: Any) -> Any:
    """Run one command. Raises redis.RedisError; then it may have been run all the same.

    A connection that died while it was idle is renewed once: commands must bear being run twice.
    """
    line = _line()
    try:
        return line.run(*words)
    except (redis.ConnectionError, redis.TimeoutError):
        line.connection.disconnect()
        return line.run(*words)


def script(source: str, key: str, *arguments: Any) -> Any:
    """Run a Lua script on one key, by its digest where the server knows it. Raises redis.RedisError."""
    try:
        return command("EVALSHA", _digest(source), 1, key, *arguments)
    except redis.exceptions.NoScriptError:
        return command("EVAL", source, 1, key, *arguments)


def load(*names: str) -> str:
    """Return the Lua of these files in lua/, one after the other."""
    return "\n".join((_LUA / f"{name}.lua").read_text(encoding="utf-8") for name in names)


def is_text(value: str) -> bool:
    """Whether it can be told to anybody else: JSON may hold halves of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(value: bytes | str) -> str:
    """Return a name or an id as Redis answers it, which depends on the protocol, as text, whatever somebody wrote there."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class _Line:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.connection = client().connection_pool.get_connection()

    def run(self, *words: Any) -> Any:
        try:
            self.connection.send_command(*words, check_health=False)
            return self.connection.read_response()
        except redis.ResponseError:
            raise
        except BaseException:
            # A time limit, say, came between question and answer: the next question would get this one's.
            self.connection.disconnect()
            raise


_lines = threading.local()


def _line() -> _Line:
    line: _Line | None = getattr(_lines, "line", None)
    if line is None or line.pid != os.getpid():
        line = _lines.line = _Line()
    return line
