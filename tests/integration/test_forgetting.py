"""Hosts that do not come back are forgotten with their nodes, which are replaced elsewhere; a returning agent undoes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from infra_app import forgetting, nodes, scheduler
from infra_app.agent.lease import Lease, LeaseLostError
from infra_app.models import Host, HostSnapshot, Node, NodeEvent, NodeGroup
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment
from tests.hosts import HELD, host, observed, snapshot
from tests.integration.conftest import ApiClient
from zenith_site.models import AuditEntry
from zenith_worker.wire import stream

pytestmark = pytest.mark.django_db
HOSTS = "/api/v1/hosts"
LONG_AGO = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def client(api: ApiClient) -> Client:
    return api("read", "infra")


@pytest.fixture
def person(admin: User) -> Client:
    person = Client(headers={"Accept": "text/html"})
    person.force_login(admin)
    return person


def deploy(**changes: Any) -> NodeGroup:
    return nodes.deploy(Deployment(**{"name": "reports", **changes}), "ada")


def lose(name: str) -> Host:
    """Create a host whose agent is offline."""
    return host(name, seen_at=timezone.now() - LONG_AGO)


def conflict(response: Any) -> str:
    assert response.status_code == 409, response.content
    return str(response.json()["detail"])


def test_its_wanted_nodes_are_made_elsewhere_and_all_of_them_count_as_removed(client: Client) -> None:
    host("zen-01")
    group = deploy(replicas=3)
    stopped = observed(group.nodes.earliest("created_at"))
    nodes.act("stop", [stopped.pk], "ada")
    snapshot(lose("zen-01"), **HELD)
    host("zen-02")

    answer = client.delete(f"{HOSTS}/zen-01")
    assert answer.json() == {"host": "zen-01", "removed": ["reports", "reports-2", "reports-3"], "replaced": 2}
    lost = Node.objects.filter(host__name="zen-01")
    assert set(lost.values_list("status", "desired", "host__name")) == {(NodeStatus.REMOVED, Desired.REMOVED, "zen-01")}
    assert {node.shown_status for node in lost} == {NodeStatus.REMOVED}
    assert "Its host zen-01 was forgotten" in lost[0].reason
    assert NodeEvent.objects.filter(kind="forgotten").count() == 3
    there = group.nodes.exclude(status=NodeStatus.REMOVED)
    assert list(there.values_list("host__name", "desired")) == [("zen-02", Desired.RUNNING)] * 2
    group.refresh_from_db()
    assert (group.replicas, group.removed_at) == (2, None)
    assert not HostSnapshot.objects.exists()
    assert [item["name"] for item in client.get(HOSTS).json()] == ["zen-02"]
    assert client.get(f"{HOSTS}/zen-01").status_code == 404
    assert client.delete(f"{HOSTS}/zen-01").status_code == 404
    assert AuditEntry.objects.get().detail == {"host": "zen-01", "nodes": 3, "replaced": 2}


def test_a_group_that_had_nothing_else_ends_with_it(client: Client) -> None:
    host("zen-01")
    group = deploy()
    nodes.act("stop", [observed(group.nodes.get()).pk], "ada")
    lose("zen-01")
    assert client.delete(f"{HOSTS}/zen-01").json()["replaced"] == 0
    group.refresh_from_db()
    assert group.removed_at is not None


def test_a_node_in_its_place_waits_where_nobody_has_room(client: Client) -> None:
    host("zen-01")
    group = deploy()
    lose("zen-01")
    assert client.delete(f"{HOSTS}/zen-01").json()["replaced"] == 1
    waiting = group.nodes.get(host=None)
    assert (waiting.name, waiting.status) == ("reports", NodeStatus.PENDING)
    host("zen-02")
    assert scheduler.place_waiting() == 1


def test_a_host_whose_agent_lives_is_left_alone(client: Client) -> None:
    host("zen-01")
    group = deploy()
    assert "sent a heartbeat in the last 12 s" in conflict(client.delete(f"{HOSTS}/zen-01"))
    assert Host.objects.get().forgotten_at is None
    assert group.nodes.get().desired == Desired.RUNNING


def test_a_host_that_a_group_is_bound_to_is_left_alone_with_all_its_nodes(client: Client) -> None:
    host("zen-01")
    free, bound = deploy(), deploy(name="disk", host="zen-01")
    lose("zen-01")
    assert "only: disk." in conflict(client.delete(f"{HOSTS}/zen-01"))
    assert free.nodes.get().desired == Desired.RUNNING
    nodes.remove_group(bound.pk, "ada")
    assert client.delete(f"{HOSTS}/zen-01").json()["replaced"] == 1


def test_it_is_known_again_when_its_agent_returns_and_marks_what_it_made_as_before() -> None:
    key = lose("zen-01").key
    Host.objects.update(forgotten_at=timezone.now())
    assert not Host.objects.exists()
    again = Lease("zen-01", {"address": "unix:///var/run/docker.sock"}).take()
    assert again is not None
    assert (again.key, again.forgotten_at, again.agent_online) == (key, None, True)
    assert Host.objects.get() == again


def test_an_agent_that_was_only_asleep_has_lost_the_host_and_takes_it_anew() -> None:
    lease = Lease("zen-01", {"address": "unix:///var/run/docker.sock"})
    taken = lease.take()
    assert taken is not None
    forgetting.forget(lose("zen-01"), "ada")
    with pytest.raises(LeaseLostError):
        lease.renew(taken.pk)
    assert lease.take() == Host.objects.get()


def test_the_page_asks_with_the_counts_and_says_what_was_done(person: Client) -> None:
    host("zen-01")
    deploy(replicas=2)
    assert "/nodes/hosts/zen-01/forget/" not in person.get("/nodes/").content.decode()
    lose("zen-01")
    host("zen-02")
    assert "/nodes/hosts/zen-01/forget/" in person.get("/nodes/").content.decode()
    asked = person.get("/nodes/hosts/zen-01/forget/").content.decode()
    assert "Forget it and 2 nodes" in asked
    assert "Its 2 nodes count as removed; 2 replacements are created on other hosts." in asked
    page = person.post("/nodes/hosts/zen-01/forget/", follow=True).content.decode()
    assert "Host zen-01 was forgotten. Its 2 nodes count as removed; 2 replacements are created on other hosts." in page
    assert person.get("/nodes/hosts/zen-01/forget/").status_code == 404
    for ask in (person.get, person.post):
        assert "The agent of host zen-02 sent a heartbeat" in ask("/nodes/hosts/zen-02/forget/", follow=True).content.decode()
    assert Host.objects.filter(name="zen-02").exists()
