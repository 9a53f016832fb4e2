"""The Redis of `make run` is reachable, with its password, from a container on this machine; its PostgreSQL is not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docker.engine import docker
from tests.docker.lab import FIRST_ENGINE
from zenith_site.embedded import EmbeddedServers
from zenith_site.launch.docker import answers, bridge

ASK = """
import redis, socket, sys
with socket.socket() as probe:
    print(redis.Redis.from_url(sys.argv[1]).ping(), probe.connect_ex((sys.argv[2], int(sys.argv[3]))) == 0)
"""


@pytest.fixture
def servers() -> Iterator[EmbeddedServers]:
    """Servers as `make run` starts them if an engine answers."""
    with tempfile.TemporaryDirectory(prefix="zenith-bridge-") as directory:
        # PostgreSQL runs as another user if the tests run as root.
        Path(directory).chmod(0o711)
        with EmbeddedServers(Path(directory) / "data", fast=True, bridge=bridge(FIRST_ENGINE)) as running:
            yield running


def test_a_container_reaches_redis_and_not_postgresql(servers: EmbeddedServers, image: str) -> None:
    assert answers(FIRST_ENGINE)
    where = servers.addresses
    host, port = urlsplit(where.node_redis_url).hostname or "", str(urlsplit(where.database_url).port)
    said = docker("run", "--rm", image, "python", "-c", ASK, where.node_redis_url, host, port)
    assert said == "True False"


def test_there_is_no_bridge_where_there_is_no_engine() -> None:
    assert not answers("unix:///nowhere.sock")
    assert bridge("unix:///nowhere.sock") is None
    assert bridge("tcp://10.0.0.1:2375") is None
