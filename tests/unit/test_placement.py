"""Placement as a table: the hosts' free capacity, and the chosen host or the reason."""

from __future__ import annotations

import pytest

from infra_app.placement import HostCapacity, ResourceRequest, Unschedulable, choose

ONE = ResourceRequest(cpus=1, memory_mb=512)


def capacity(host: str, cpus: float = 4, memory_mb: int = 4096, alike: int = 0, **more: object) -> HostCapacity:
    values = {"cpus": 4.0, "cpus_free": cpus, "memory_mb": 4096, "memory_free_mb": memory_mb, "alike": alike, **more}
    return HostCapacity(name=host, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("needs", "hosts", "host"),
    [
        (ONE, [capacity("b"), capacity("a")], "a"),
        (ONE, [capacity("a", cpus=2), capacity("b")], "b"),
        (ONE, [capacity("a", memory_mb=2048), capacity("b", cpus=1.5)], "a"),
        (ONE, [capacity("a", alike=1), capacity("b", cpus=1)], "b"),
        (ONE, [capacity("a", cpus=0.9), capacity("b", memory_mb=511), capacity("c", cpus=1, memory_mb=512)], "c"),
        (ONE, [capacity("a", online=False), capacity("b", cordoned=True), capacity("c", cpus=1)], "c"),
        (
            ResourceRequest(1, 512, region="eu"),
            [capacity("a"), capacity("b", region="us"), capacity("c", region="eu", cpus=1)],
            "c",
        ),
        (ResourceRequest(1, 512, region="eu"), [capacity("a", cpus=1), capacity("b", region="us")], "a"),
        (ResourceRequest(1, 512, region="eu"), [capacity("a"), capacity("b", region="eu", alike=3)], "b"),
        (
            ResourceRequest(1, 512, labels={"disk": "ssd"}),
            [capacity("a"), capacity("b", labels={"disk": "ssd", "rack": "7"})],
            "b",
        ),
        (ResourceRequest(1, 512, host="b"), [capacity("a"), capacity("b", alike=9)], "b"),
        (ResourceRequest(0.1, 64), [capacity("a", cpus=0.1 + 0.2 - 0.2)], "a"),
    ],
)
def test_a_node_goes_where_it_fits_fewest_of_its_group_are_and_most_is_left(
    needs: ResourceRequest, hosts: list[HostCapacity], host: str
) -> None:
    choice = choose(needs, hosts)
    assert isinstance(choice, HostCapacity)
    assert choice.name == host


@pytest.mark.parametrize(
    ("needs", "hosts", "reason"),
    [
        (ONE, [], "No Docker host is known."),
        (ONE, [capacity("a", online=False)], "No Docker host is online."),
        (ResourceRequest(1, 512, host="z"), [capacity("a")], "There is no host z."),
        (ResourceRequest(1, 512, host="a"), [capacity("a", online=False), capacity("b")], "Host a is unreachable."),
        (ResourceRequest(1, 512, region="eu"), [capacity("a", region="us")], "No suitable host is in region eu."),
        (ResourceRequest(1, 512, labels={"disk": "ssd"}), [capacity("a")], "No suitable host has the labels disk=ssd."),
        (ONE, [capacity("a", cordoned=True)], "Every suitable host is cordoned."),
        (
            ONE,
            [capacity("a", memory_mb=100), capacity("b", cpus=0.5, memory_mb=2000)],
            "No host has room for 1 CPU and 512 MB; b has the most free: 0.5 CPU and 2,000 MB.",
        ),
    ],
)
def test_a_node_without_a_host_says_why(needs: ResourceRequest, hosts: list[HostCapacity], reason: str) -> None:
    assert choose(needs, hosts) == Unschedulable(reason)


def test_a_group_spreads() -> None:
    hosts = {host: capacity(host) for host in ("a", "b", "c")}
    went = []
    for _ in range(7):
        choice = choose(ONE, list(hosts.values()))
        assert isinstance(choice, HostCapacity)
        hosts[choice.name] = choice.after_placing(ONE)
        went.append(choice.name)
    assert went == ["a", "b", "c", "a", "b", "c", "a"]
