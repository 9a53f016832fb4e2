"""Ten thousand pieces of garbage, wherever other programs write: afterwards everything works, and what is bad is counted."""

from __future__ import annotations

import asyncio
import io
import os
import random
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from infra_app import nodes
from infra_app.models import Node
from infra_app.validation import Deployment
from tasks_app.models import Task
from tests import hosts
from tests.hostile import places
from tests.hostile.garbage import Garbage
from tests.processes import free_port
from tests.stack import Stack, running, settling
from tests.waiting import eventually
from zenith_site.auth.tokens import create_token
from zenith_site.common import faults
from zenith_worker.wire import heartbeat, keys, stream, task_logs
from zenith_worker.wire.states import Status

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

PAGES = (
    "/", "/tasks/", "/workers/", "/queues/", "/events/", "/dead-letters/", "/analytics/", "/nodes/", "/notifications/",
    "/settings/", "/health", "/ready", "/metrics", "/tasks/all", "/api/v1/tasks", "/api/v1/workers", "/api/v1/queues",
)  # fmt: skip


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory: pytest.TempPathFactory, module_database: None) -> Iterator[Stack]:
    limits = ("ZENITH_RATE_LIMIT", "ZENITH_READ_RATE_LIMIT", "ZENITH_REFUSAL_RATE_LIMIT", "ZENITH_SOCKET_FRAME_LIMIT")
    yield from running(tmp_path_factory.mktemp("hostile"), **dict.fromkeys(limits, "1000000/1s"))


@pytest.fixture
def stack(module_stack: Stack, transactional_db: None) -> Iterator[Stack]:
    yield from settling(module_stack)


@pytest.fixture
def garbage() -> Garbage:
    seed = int(os.environ.get("ZENITH_FAULTS_SEED") or random.randrange(1_000_000))
    print(f"ZENITH_FAULTS_SEED={seed}")  # noqa: T201 (pytest shows it for a failed test only)
    return Garbage(seed)


@pytest.fixture
def node(transactional_db: None) -> UUID:
    hosts.host()
    nodes.deploy(Deployment(name="one"), "ann")
    return Node.objects.get().pk


def test_everything_works_afterwards_and_what_is_bad_is_counted(stack: Stack, garbage: Garbage, node: UUID) -> None:
    port = free_port()
    stack.web(port)
    stack.engine()
    stack.worker("w@host")
    ann = User.objects.create_superuser("ann", password="a long enough one")
    token = create_token(ann, "t", ["read", "dispatch", "operate", "infra"])[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": token}, timeout=60) as web:
        places.write(garbage, node)
        # Where no agent gives a sign of life, nothing can be deployed, whatever is asked for.
        failed = {(path, status) for path, status in places.call(garbage, web) if status >= 500} - {("/deploy", 503)}
        assert not failed
        asyncio.run(places.speak(garbage, port, token))

        redis = stream.client()
        eventually(lambda: stream.length() == 0, within=120, but=stack.news)
        eventually(lambda: task_logs.length() == 0, within=120, but=stack.news)
        eventually(lambda: redis.llen("default") == 0, within=120, but=stack.news)
        eventually(lambda: not any(tag.startswith(b"bad") for tag in redis.hkeys(keys.UNACKED)), within=120, but=stack.news)
        assert stream.unreadable_count() > places.ENTRIES / 3
        assert len(heartbeat.unreadable()) > places.BEATS / 3
        it_works(stack, web, node)
    assert all(process.runs for process in stack.processes), stack.news()
    assert faults.counts() == {}, faults.recent()


def it_works(stack: Stack, web: httpx.Client, node: UUID) -> None:
    """Assert that tasks run, pages answer, and the doctor can look at everything."""
    asked = web.post("/api/v1/tasks", json={"dispatches": [{"data": "It goes on.", "count": 5}]})
    assert asked.status_code == 201, asked.text
    ended = Task.objects.filter(pk__in=asked.json()["batches"][0]["ids"], status=Status.SUCCESS)
    eventually(lambda: ended.count() == 5, within=60, but=stack.news)
    for path in (*PAGES, f"/nodes/{node}/log/", f"/api/v1/nodes/{node}/logs"):
        answer = web.get(path, follow_redirects=True)
        assert answer.status_code == 200, (path, answer.text)
    assert "No metrics of" not in stack.news()
    assert web.get("/health").json()["status"] == "active"
    told = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=told)
    assert "could not be checked" not in told.getvalue()
