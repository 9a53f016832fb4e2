"""Drawings of nodes on the server: short histories, and the map of a host's networks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from infra_app.models import Host, HostSnapshot
from infra_app.web.drawings import HEIGHT, WIDTH, rates, trace
from infra_app.web.network_map import BOX, MOST, network_map
from tests.hosts import CONTAINER, NETWORK

START = datetime(2026, 1, 1, tzinfo=UTC)


def points(*values: float) -> list[tuple[datetime, float]]:
    return [(START + timedelta(seconds=10 * index), value) for index, value in enumerate(values)]


def percent(value: float) -> str:
    return f"{value:.0f} %"


def test_a_history_runs_over_the_whole_width_and_says_itself_in_words() -> None:
    drawn = trace("CPU", points(0, 50, 100), percent, full=200)
    assert drawn is not None
    assert drawn.line == f"M0.0 45.0L{WIDTH / 2:.1f} 34.5L{WIDTH:.1f} 24.0"
    assert drawn.area.endswith(f"L{WIDTH} {HEIGHT}L0 {HEIGHT}Z")
    assert (drawn.now, drawn.most) == ("100 %", "100 %")
    assert drawn.words == "CPU from 00:00 to 00:00: now 100 %, at most 100 %"


def test_of_too_little_nothing_is_drawn() -> None:
    assert trace("CPU", points(), percent) is None
    assert trace("CPU", points(1), percent) is None
    assert trace("CPU", points(0, 0), percent) is not None


def test_a_counter_is_read_as_a_rate_and_may_begin_anew() -> None:
    assert [value for _, value in rates(points(100, 150, 150, 20))] == [5, 0, 2]
    assert rates([(START, 1), (START, 2)]) == []


def test_a_container_is_linked_to_each_of_its_networks_with_its_address() -> None:
    other = {**NETWORK, "id": "n2", "name": "shop", "members": []}
    both = {**CONTAINER, "networks": [{"name": "zenith", "ip": "172.18.0.5"}, {"name": "shop", "ip": ""}]}
    alone = {**CONTAINER, "name": "old", "status": "exited", "networks": [{"name": "gone", "ip": ""}], "ports": []}
    drawn = network_map(HostSnapshot(host=Host(name="zen-01"), containers=[alone, both], networks=[NETWORK, other]))
    assert drawn is not None
    assert [box.title for box in drawn.networks] == ["shop", "zenith"]
    assert [(box.title, box.below, box.quiet) for box in drawn.containers] == [
        ("reports", "running 8080→80", False), ("old", "exited", True),
    ]  # fmt: skip
    assert [link.address for link in drawn.links] == ["172.18.0.5", ""]
    assert all(link.path.startswith(f"M{drawn.networks[0].x + BOX} ") for link in drawn.links)
    assert drawn.words == "2 containers in 2 networks on zen-01; the tables below list the same data"


def test_of_very_many_containers_the_map_shows_some_and_says_so() -> None:
    many = [{**CONTAINER, "name": f"c{number:03}"} for number in range(MOST + 5)]
    drawn = network_map(HostSnapshot(host=Host(name="zen-01"), containers=many, networks=[NETWORK]))
    assert drawn is not None
    assert (len(drawn.containers), drawn.left_out) == (MOST, 5)
    assert network_map(HostSnapshot(host=Host(name="zen-01"), containers=[], networks=[NETWORK])) is None
