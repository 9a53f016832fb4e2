"""The engine's upkeep of nodes: it places waiting nodes, removes drained ones, and prunes old rows."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from infra_app import nodes, upkeep
from infra_app.models import Node, NodeEvent, NodeGroup, NodeSample
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment
from tests.hosts import host, observed
from tests.waiting import eventually


def deploy(replicas: int = 1) -> NodeGroup:
    return nodes.deploy(Deployment(name="reports", replicas=replicas), "ada")


@pytest.mark.django_db(transaction=True)
def test_the_loop_places_what_waits_and_removes_what_has_drained() -> None:
    host(cordoned=True)
    group = deploy(2)
    stop = threading.Event()
    thread = threading.Thread(target=upkeep.run, args=(stop,))
    thread.start()
    try:
        host(cordoned=False)
        eventually(lambda: not Node.objects.filter(host=None).exists())
        nodes.scale(group.id, 1, "ada")
        for leaving in Node.objects.filter(leaving=True):
            observed(leaving, NodeStatus.STOPPED)
        eventually(lambda: Node.objects.filter(desired=Desired.REMOVED).exists())
    finally:
        stop.set()
        thread.join()


@pytest.mark.django_db
def test_what_is_too_old_is_forgotten() -> None:
    host()
    long_gone, gone = deploy(2).nodes.order_by("id")
    nodes.remove_group(gone.group_id, "ada")
    now = timezone.now()
    observed(long_gone, NodeStatus.REMOVED, finished_at=now - timedelta(days=31))
    observed(gone, NodeStatus.REMOVED, finished_at=now - timedelta(days=29))
    for days in (0.9, 1.1):
        NodeSample.objects.create(
            node=gone, at=now - timedelta(days=days), cpu_percent=1, memory_bytes=1, network_rx_bytes=0, network_tx_bytes=0
        )
    upkeep.prune()
    assert list(Node.objects.all()) == [gone]
    assert NodeSample.objects.count() == 1
    NodeGroup.objects.update(removed_at=now - timedelta(days=31))
    upkeep.prune()
    assert NodeGroup.objects.exists()
    observed(gone, finished_at=now - timedelta(days=31), status=NodeStatus.REMOVED)
    upkeep.prune()
    assert not NodeGroup.objects.exists()
    assert not NodeEvent.objects.exists()
