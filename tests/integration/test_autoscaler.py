"""The autoscaler: one decision at a time, in words, applied or only recorded."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from infra_app import autoscaler, nodes, work
from infra_app.autoscaler import AutoscaleLimits
from infra_app.models import Node, NodeGroup
from infra_app.validation import Deployment
from infra_app.work import QueuePressure
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tests.hosts import host, observed
from zenith_worker.wire import heartbeat, stream

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def busy_group(**rules: Any) -> NodeGroup:
    """Create a group whose only node is busy, and whose queue has waited too long."""
    host(cpus=64, memory_bytes=1 << 40)
    group = nodes.deploy(Deployment(name="reports", queues=("reports",)), "ada")
    node = observed(group.nodes.get())
    heartbeat.write(node.worker, slots=1, busy=1, queues=["reports"])
    return autoscaler.configure(group.id, AutoscaleLimits(max_replicas=5, **rules))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake a queue with 120 waiting tasks, of which one per second finishes."""

    def pressure(queue: str) -> QueuePressure:
        return QueuePressure(queue, 120, 100.0, None, 1.0, tuple(work.worker_heartbeats()), False)

    monkeypatch.setattr(work, "pressure", pressure)


def test_a_decision_is_carried_out_and_said(late: None) -> None:
    group = busy_group()
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    assert group.decision == "+1: 120 waiting, 2 m to drain at 1/s, target 1 m."
    assert (group.replicas, group.nodes.count()) == (2, 2)
    assert group.scaled_at == group.decided_at
    message = Node.objects.latest("id").events.get(kind="deployed").message
    assert message == "scaled to 2 by the autoscaler (+1: 120 waiting, 2 m to drain at 1/s, target 1 m)"


def test_a_dry_run_only_says_so(late: None) -> None:
    group = busy_group(dry_run=True)
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    assert group.decision.startswith("+1: 120 waiting")
    assert (group.replicas, group.nodes.count(), group.scaled_at) == (1, 1, None)


def test_it_is_decided_once_in_a_while(late: None) -> None:
    group = busy_group(dry_run=True)
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    first = group.decided_at
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    assert group.decided_at == first
    NodeGroup.objects.update(decided_at=timezone.now() - timedelta(seconds=autoscaler.DECIDE_EVERY))
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    assert group.decided_at is not None
    assert first is not None
    assert group.decided_at > first


@pytest.mark.django_db(transaction=True)
def test_of_several_engines_one_decides(late: None) -> None:
    group = busy_group(cooldown_seconds=0)
    ready = threading.Barrier(4)

    def decide() -> None:
        ready.wait()
        autoscaler.decide_due_groups()
        connections.close_all()

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert group.nodes.count() == 2


@pytest.mark.django_db(transaction=True)
def test_what_is_seen_comes_from_the_queue_and_its_workers() -> None:
    group = busy_group()
    heartbeat.write("other@host", slots=3, busy=0, queues=["reports", "mail"])
    dispatch(Dispatch(task="analyze_text", data=["a", "b"], queue="reports"), Origin(source="api"))
    observation = autoscaler.observe(group, work.worker_heartbeats())
    assert (
        observation.replicas,
        observation.ready,
        observation.busy,
        observation.waiting,
        observation.consuming,
        observation.rate,
    ) == (1, 1, 1, 2, 4, 0)


def test_a_group_that_nobody_asked_to_scale_is_left_alone(late: None) -> None:
    group = busy_group(autoscale=False)
    autoscaler.decide_due_groups()
    group.refresh_from_db()
    assert (group.decision, group.decided_at) == ("", None)


def test_an_unknown_group_has_no_rules() -> None:
    from infra_app.errors import UnknownGroupError

    with pytest.raises(UnknownGroupError):
        autoscaler.configure(uuid4(), AutoscaleLimits())
