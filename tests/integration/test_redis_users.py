"""The Redis user of workers and nodes reads and writes every key, and administers nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import REPOSITORY
from zenith_site.embedded import redis_users
from zenith_site.embedded.state import addresses
from zenith_worker.wire import client as wire

DEPLOY = REPOSITORY / "docs" / "deploy.md"
#: What somebody could do with Zenith's own password: to read secrets, run code, copy or destroy all data, or stop the server.
FORBIDDEN = (
    ("CONFIG", "GET", "requirepass"), ("CONFIG", "SET", "dir", "/"), ("ACL", "LIST"), ("ACL", "SETUSER", "x"),
    ("SHUTDOWN", "NOSAVE"), ("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", "0", "1"), ("KEYS", "*"), ("MODULE", "LIST"),
    ("REPLICAOF", "localhost", "1"), ("MIGRATE", "localhost", "1", "x", "0", "1"), ("SAVE",), ("BGREWRITEAOF",), ("MONITOR",),
    ("CLIENT", "KILL", "TYPE", "normal"), ("SLOWLOG", "GET"), ("LATENCY", "RESET"), ("INFO",),
)  # fmt: skip


@pytest.fixture
def worker() -> Iterator[redis.Redis]:
    found = redis.Redis.from_url(addresses(Path(os.environ["ZENITH_DATA_DIR"])).worker_redis_url)
    yield found
    found.close()


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: " ".join(command[:2]))
def test_it_administers_nothing(worker: redis.Redis, command: tuple[str, ...]) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        worker.execute_command(*command)


def test_it_uses_every_key(worker: redis.Redis) -> None:
    worker.set("any:key", "x")
    assert wire.client().get("any:key") == b"x"
    assert worker.eval("return redis.call('DEL', KEYS[1])", 1, "any:key") == 1


def test_the_command_in_the_docs_makes_the_same_user() -> None:
    told = re.search(rf"^    (ACL SETUSER) {redis_users.WORKER} (on '>PASSWORD' .*)$", DEPLOY.read_text(), re.MULTILINE)
    assert told
    wire.client().execute_command(*told[1].split(), "copy", *told[2].replace("'", "").split())
    try:
        ours, copy = (wire.client().acl_getuser(name) for name in (redis_users.WORKER, "copy"))
        assert {name: value for name, value in ours.items() if name != "passwords"} == {
            name: value for name, value in copy.items() if name != "passwords"
        }
    finally:
        wire.client().acl_deluser("copy")
