"""`GET /ready`: yes only once the database has all that this version needs, and everything answers."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from zenith_site import health, schema
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks anew."""
    stream.client().flushdb()
    monkeypatch.setattr(health._Memory, "answer", None)
    monkeypatch.setattr(health._Memory, "migrated", False)
    # How long a busy machine takes is not what is tested here.
    monkeypatch.setattr(health, "PATIENCE", 15.0)


def test_all_is_well() -> None:
    response = Client().get("/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready", "redis_connected": True, "database_connected": True, "migrations_applied": True,
        "version": health.VERSION,
    }  # fmt: skip
    assert Client().head("/ready").status_code == 200


def test_a_migration_that_is_missing_keeps_requests_away_until_it_is_applied() -> None:
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("tasks_app")
    recorded = MigrationRecorder(connection)
    recorded.record_unapplied(app, newest)
    try:
        assert schema.unapplied() == [f"{app}.{newest}"]
        response = Client().get("/ready")
        assert (response.status_code, response.json()["status"]) == (503, "not ready")
        assert response.json()["migrations_applied"] is False
        assert Client().get("/health").status_code == 200
    finally:
        recorded.record_applied(app, newest)
    assert Client().get("/ready").status_code == 200


def test_what_was_applied_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client().get("/ready").status_code == 200
    monkeypatch.setattr(schema, "unapplied", lambda: pytest.fail("asked again"))
    assert Client().get("/ready").status_code == 200


def test_without_redis_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        return redis.Redis(port=1).ping()

    monkeypatch.setattr(heartbeat, "read_all", fail)
    response = Client().get("/ready")
    assert (response.status_code, response.json()["redis_connected"]) == (503, False)


def test_without_postgresql_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    given = health._parameters()
    monkeypatch.setattr(health, "_parameters", lambda: {**given, "port": "1"})
    response = Client().get("/ready")
    assert (response.status_code, response.json()["database_connected"]) == (503, False)
    assert response.json()["migrations_applied"] is False
