"""The servers of `make run` are reachable, with their passwords, from a container on this machine; nodes get their addresses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import docker
from tests.docker.lab import FIRST_ENGINE
from zenith_site.embedded import EmbeddedServers
from zenith_site.launch.docker import answers, bridge

ASK = """
import psycopg, redis, sys
print(psycopg.connect(sys.argv[1]).execute("SELECT 40 + 2").fetchone()[0], redis.Redis.from_url(sys.argv[2]).ping())
"""


@pytest.fixture
def servers() -> Iterator[EmbeddedServers]:
    """Servers as `make run` starts them if an engine answers."""
    with tempfile.TemporaryDirectory(prefix="zenith-bridge-") as directory:
        # PostgreSQL runs as another user if the tests run as root.
        Path(directory).chmod(0o711)
        with EmbeddedServers(Path(directory) / "data", fast=True, bridge=bridge(FIRST_ENGINE)) as running:
            yield running


def test_a_container_reaches_both_servers(servers: EmbeddedServers, image: str) -> None:
    assert answers(FIRST_ENGINE)
    where = servers.addresses
    said = docker("run", "--rm", image, "python", "-c", ASK, where.node_database_url, where.node_redis_url)
    assert said == "42 True"


def test_there_is_no_bridge_where_there_is_no_engine() -> None:
    assert not answers("unix:///nowhere.sock")
    assert bridge("unix:///nowhere.sock") is None
    assert bridge("tcp://10.0.0.1:2375") is None
