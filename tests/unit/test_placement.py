"""Where a node goes, as a table: what each host has left, and the host or the sentence that follows."""

from __future__ import annotations

import pytest

from infra_app.placement import HostCapacity, ResourceRequest, Unschedulable, choose

ONE = ResourceRequest(cpus=1, memory_mb=512)


def room(host: str, cpus: float = 4, memory_mb: int = 4096, alike: int = 0, **more: object) -> HostCapacity:
    values = {"cpus": 4.0, "cpus_free": cpus, "memory_mb": 4096, "memory_free_mb": memory_mb, "alike": alike, **more}
    return HostCapacity(host=host, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "rooms", "host"),
    [
        (ONE, [room("b"), room("a")], "a"),
        (ONE, [room("a", cpus=2), room("b")], "b"),
        (ONE, [room("a", memory_mb=2048), room("b", cpus=1.5)], "a"),
        (ONE, [room("a", alike=1), room("b", cpus=1)], "b"),
        (ONE, [room("a", cpus=0.9), room("b", memory_mb=511), room("c", cpus=1, memory_mb=512)], "c"),
        (ONE, [room("a", online=False), room("b", cordoned=True), room("c", cpus=1)], "c"),
        (ResourceRequest(1, 512, region="eu"), [room("a"), room("b", region="us"), room("c", region="eu", cpus=1)], "c"),
        (ResourceRequest(1, 512, region="eu"), [room("a", cpus=1), room("b", region="us")], "a"),
        (ResourceRequest(1, 512, region="eu"), [room("a"), room("b", region="eu", alike=3)], "b"),
        (ResourceRequest(1, 512, labels={"disk": "ssd"}), [room("a"), room("b", labels={"disk": "ssd", "rack": "7"})], "b"),
        (ResourceRequest(1, 512, host="b"), [room("a"), room("b", alike=9)], "b"),
        (ResourceRequest(0.1, 64), [room("a", cpus=0.1 + 0.2 - 0.2)], "a"),
    ],
)
def test_a_node_goes_where_it_fits_fewest_of_its_group_are_and_most_is_left(
    wish: ResourceRequest, rooms: list[HostCapacity], host: str
) -> None:
    found = choose(wish, rooms)
    assert isinstance(found, HostCapacity)
    assert found.host == host


@pytest.mark.parametrize(
    ("wish", "rooms", "reason"),
    [
        (ONE, [], "No Docker host is known."),
        (ONE, [room("a", online=False)], "No Docker host is online."),
        (ResourceRequest(1, 512, host="z"), [room("a")], "There is no host z."),
        (ResourceRequest(1, 512, host="a"), [room("a", online=False), room("b")], "Host a is unreachable."),
        (ResourceRequest(1, 512, region="eu"), [room("a", region="us")], "No host that could take it is in region eu."),
        (ResourceRequest(1, 512, labels={"disk": "ssd"}), [room("a")], "No host that could take it has the labels disk=ssd."),
        (ONE, [room("a", cordoned=True)], "Every host that could take it is cordoned."),
        (
            ONE,
            [room("a", memory_mb=100), room("b", cpus=0.5, memory_mb=2000)],
            "No host has room for 1 CPU and 512 MB; b has most left: 0.5 CPU and 2,000 MB.",
        ),
    ],
)
def test_a_node_without_a_host_says_why(wish: ResourceRequest, rooms: list[HostCapacity], reason: str) -> None:
    assert choose(wish, rooms) == Unschedulable(reason)


def test_a_group_spreads() -> None:
    rooms = {host: room(host) for host in ("a", "b", "c")}
    went = []
    for _ in range(7):
        found = choose(ONE, list(rooms.values()))
        assert isinstance(found, HostCapacity)
        rooms[found.host] = found.less(ONE)
        went.append(found.host)
    assert went == ["a", "b", "c", "a", "b", "c", "a"]
