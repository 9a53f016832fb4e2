"""`GET /health`: open to all, exact in shape, and quick to say what is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.test import Client

from zenith_site import health
from zenith_worker.wire import heartbeat, stream


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks anew, and no worker is left of another's."""
    stream.client().flushdb()
    monkeypatch.setattr(health._Memory, "answer", None)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def lead_database_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = health._parameters()
    monkeypatch.setattr(health, "_parameters", lambda: {**given, "port": str(port)})


def test_all_is_well(db: None) -> None:
    response = Client().get("/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "active", "redis_connected": True, "database_connected": True, "workers": 0,
        "version": health.VERSION,
    }  # fmt: skip


def test_workers_with_a_recent_heartbeat_are_counted(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat.write("w1@health", slots=4, busy=0, queues=["default"], held=[])
    heartbeat.write("w2@health", slots=4, busy=0, queues=["default"], held=[])
    try:
        assert Client().get("/health").json()["workers"] == 2
    finally:
        heartbeat.forget("w1@health")
        heartbeat.forget("w2@health")


def test_without_postgresql_it_is_degraded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_database_to(1, monkeypatch)
    response = Client().get("/health")
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("application/json")
    answer = response.json()
    assert (answer["status"], answer["database_connected"]) == ("degraded", False)
    assert answer["redis_connected"] is True


def test_without_redis_it_is_degraded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        return redis.Redis(port=1).ping()

    monkeypatch.setattr(heartbeat, "read_all", fail)
    response = Client().get("/health")
    assert response.status_code == 503
    answer = response.json()
    assert (answer["status"], answer["redis_connected"], answer["workers"]) == (
        "degraded",
        False,
        0,
    )
    assert answer["database_connected"] is True


def test_a_database_that_hangs_does_not_hang_the_answer(db: None, silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_database_to(silent_port, monkeypatch)
    started = time.monotonic()
    assert Client().get("/health").status_code == 503
    assert time.monotonic() - started < 3 * health.PATIENCE


def test_asking_often_does_not_ask_the_servers_often(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(health, "KEPT", 60.0)
    monkeypatch.setattr(heartbeat, "read_all", lambda: asked.append(1) or [])
    for _ in range(20):
        assert Client().get("/health").status_code == 200
    assert len(asked) == 1


def test_head_is_enough(db: None) -> None:
    response = Client().head("/health")
    assert (response.status_code, response.content) == (200, b"")
