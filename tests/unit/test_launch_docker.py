"""Whether an engine is here is found out by knocking, and its bridge is read even where it does not say its own address."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra_app.gateway.bridge import Bridge, _bridge, _is_here
from tests.processes import free_port
from zenith_site.launch.docker import answers, bridge


def test_a_socket_that_somebody_listens_on_answers(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    assert not answers(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not answers(f"unix://{path}")
        server.listen()
        assert answers(f"unix://{path}")


def test_so_does_a_port_and_an_engine_behind_ssh_is_left_to_the_agent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert answers(f"tcp://127.0.0.1:{server.getsockname()[1]}")
    assert not answers(f"tcp://127.0.0.1:{free_port()}")
    assert answers("ssh://docker@build-2")


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:2375", "ssh://docker@build-2", "unix:///nowhere.sock"])
def test_an_engine_elsewhere_or_none_has_no_bridge_here(url: str) -> None:
    assert bridge(url) is None


def test_a_bridge_without_an_address_has_taken_the_first() -> None:
    assert _bridge({"Subnet": "172.17.0.0/16"}) == Bridge("172.17.0.1", "172.17.0.0/16")
    assert _bridge({"Subnet": "172.18.0.1/24", "Gateway": "172.18.0.9"}) == Bridge("172.18.0.9", "172.18.0.0/24")


def test_an_address_of_another_machine_is_not_here() -> None:
    assert _is_here("127.0.0.1")
    assert not _is_here("192.0.2.200")
