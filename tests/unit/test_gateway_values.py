"""Responses of different engine versions, parsed to values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from infra_app.agent.names import service_node, slot_id, slot_template
from infra_app.agent.stats import NodeUsage, usage_between
from infra_app.gateway.engine import _lines, _unix
from infra_app.gateway.values import (
    ContainerStats,
    EngineEvent,
    container_state,
    container_stats,
    engine_event,
    engine_info,
    moment,
    owned_container,
)

READ = "2026-01-01T12:00:00.5Z"
AT = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC).timestamp()
GROUP = UUID("01a21072-22d0-715a-9f7e-3d1ca1f844fd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T12:00:00.123456789Z", datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-01T12:00:00.5Z", datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-01T12:00:00Z", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("2026-01-01T14:00:00.123456789+02:00", datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_times_have_nanoseconds_and_a_never(text: str | None, expected: datetime | None) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 5}}, 70),
        ({"usage": 100, "stats": {"inactive_file": 20}}, 80),
        ({"usage": 100}, 100),
        ({"usage": 10, "stats": {"inactive_file": 20}}, 0),
    ],
)
def test_memory_is_without_the_cache_that_can_be_given_back(memory: dict[str, Any], expected: int) -> None:
    found = container_stats({"read": READ, "memory_stats": memory})
    assert found == ContainerStats(AT, 0.0, expected, 0, 0)


def test_figures_add_up_all_interfaces() -> None:
    networks = {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}}
    stats = {
        "read": READ,
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 1},
        "networks": networks,
    }
    assert container_stats(stats) == ContainerStats(AT, 1.5, 1, 11, 22)


@pytest.mark.parametrize(
    "stats",
    [{}, {"read": READ}, {"read": READ, "memory_stats": {}}, {"read": "0001-01-01T00:00:00Z", "memory_stats": {"usage": 1}}],
)
def test_a_container_that_does_not_run_has_none(stats: dict[str, Any]) -> None:
    assert container_stats(stats) is None


def test_cpu_is_the_difference_of_two_readings() -> None:
    assert usage_between(ContainerStats(10, 1.0, 5, 6, 7), ContainerStats(20, 3.0, 50, 60, 70)) == NodeUsage(20.0, 50, 60, 70)
    assert usage_between(None, ContainerStats(20, 3.0, 50, 60, 70)).cpu_percent == 0
    assert usage_between(ContainerStats(10, 9.0, 5, 6, 7), ContainerStats(20, 3.0, 50, 60, 70)).cpu_percent == 0
    assert usage_between(ContainerStats(20, 1.0, 5, 6, 7), ContainerStats(20, 3.0, 50, 60, 70)).cpu_percent == 0


def test_an_action_loses_its_details() -> None:
    event = {"Type": "container", "Action": "exec_create: ls /", "Actor": {"ID": "c1", "Attributes": {"name": "one"}}}
    assert engine_event(event) == EngineEvent("container", "exec_create", "c1", {"name": "one"})
    assert engine_event({}) == EngineEvent("", "", "", {})


def test_a_container_is_read_closely_and_from_a_list() -> None:
    state = {
        "Status": "exited",
        "ExitCode": 137,
        "OOMKilled": True,
        "Error": "",
        "StartedAt": READ,
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    found = container_state({"Id": "c1", "Name": "/zenith-1", "Image": "sha256:1", "Config": {"Labels": None}, "State": state})
    assert (found.name, found.exit_code, found.oom_killed, found.running, found.labels) == ("zenith-1", 137, True, False, {})
    assert (found.started_at, found.finished_at) == (moment(READ), None)
    row = owned_container({"Id": "c1", "Names": ["/zenith-1"], "Labels": {"a": "b"}, "State": "paused"})
    assert (row.name, row.labels, row.running) == ("zenith-1", {"a": "b"}, True)


def test_an_engine_outside_a_swarm_says_so() -> None:
    assert not engine_info({"ServerVersion": "20", "NCPU": 2, "MemTotal": 5, "Swarm": {"NodeID": ""}}).swarm_manager
    swarm = {"NodeID": "n1", "ControlAvailable": True, "Cluster": {"ID": "s1"}}
    found = engine_info({"Swarm": swarm})
    assert (found.swarm_id, found.swarm_node_id, found.swarm_manager) == ("s1", "n1", True)


class Raw:
    """The body of a response."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        part, self._body = self._body[:size], self._body[size:]
        return part


def frame(stream: int, body: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def test_lines_of_two_streams_are_put_together_from_their_frames() -> None:
    body = frame(1, b"T1 one\nT2 tw") + frame(2, b"T3 \xff err\r\n") + frame(1, b"o\nT4 cut off")
    found = [(line.at, line.stream, line.text) for line in _lines(Raw(body))]
    assert found == [("T1", "stdout", "one"), ("T3", "stderr", "\ufffd err"), ("T2", "stdout", "two")]
    assert list(_lines(Raw(b"\x01\x00"))) == []


def test_since_is_passed_on_to_the_nanosecond() -> None:
    assert _unix("2026-01-01T12:00:00.123456789Z") == "1767268800.123456789"
    assert _unix("nonsense"[:0]) == "0"


def test_the_id_of_a_services_node_follows_from_group_and_slot() -> None:
    assert slot_id(GROUP, 3) == UUID("01a21072-22d0-715a-9f7e-000000000003")
    assert slot_template(GROUP) == '01a21072-22d0-715a-9f7e-{{slice (print "000000000000" .Task.Slot) (len .Task.Slot)}}'
    labels = {"io.zenith.service": "k", "io.zenith.group": str(GROUP), "com.docker.swarm.task.name": f"zenith-{GROUP}.3.abc"}
    assert service_node(labels) == slot_id(GROUP, 3)
    assert service_node({**labels, "com.docker.swarm.task.name": "odd"}) is None
    assert service_node({name: value for name, value in labels.items() if name != "io.zenith.service"}) is None
