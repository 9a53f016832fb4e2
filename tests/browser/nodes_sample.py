"""Docker hosts and nodes of a realistic installation. No agent runs behind them, so their heartbeats are dated an hour ahead."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from infra_app import autoscaler, log_stream, nodes
from infra_app.autoscaler import AutoscaleLimits
from infra_app.log_stream import Line
from infra_app.models import Host, HostSnapshot, Node, NodeEvent, NodeGroup, NodeSample
from infra_app.states import NodeStatus
from infra_app.validation import Deployment
from tasks_app.models import Task
from tests.hosts import GB, host
from zenith_worker.wire.states import Status

if TYPE_CHECKING:
    from tests.browser.sample import Sample

MB = 1 << 20
SUBNETS = {"zenith": "172.18", "shop": "172.19", "bridge": "172.17"}
LOG = [
    ("stdout", "[INFO/MainProcess] Connected to redis://:***@172.17.0.1:6379/0"),
    ("stdout", "[INFO/MainProcess] reports@0198b2f0 ready."),
    ("stderr", "[WARNING/ForkPoolWorker-2] upstream answered after 9.4 s; retrying"),
    (
        "stderr",
        "[ERROR/ForkPoolWorker-1] Task reports.render_pdf raised unexpected: TimeoutError('upstream took longer than 30 s')",
    ),
    ("stderr", "Traceback (most recent call last):"),
    ("stderr", '  File "/srv/app/pdf.py", line 112, in load'),
    ("stderr", "    raise TimeoutError('upstream is slow')"),
    ("stdout", "[DEBUG/ForkPoolWorker-3] rendered 14 pages in 2.1 s"),
]
DEPLOYED: list[dict[str, Any]] = [
    {"name": "mail", "queues": ("mail",), "memory_mb": 256, "cpus": 0.5},
    {"name": "reports", "queues": ("reports", "default"), "concurrency": 4, "replicas": 4, "memory_mb": 1024, "region": "eu-1",
     "environment": {"APP_REGION": "eu", "APP_BROKER_URL": "redis://:hidden@10.0.0.4/0"}, "secrets": {"APP_SMTP": "hidden"}},
    {"name": "thumbs", "queues": ("thumbs",), "replicas": 2, "region": "eu-2", "memory_mb": 512},
    {"name": "vision", "queues": ("vision",), "labels": {"gpu": "a100"}, "memory_mb": 4096},
]  # fmt: skip
#: The observed state of each node, by name.
OBSERVED: dict[str, dict[str, Any]] = {
    "mail": {"status": NodeStatus.READY, "cpu_percent": 3, "memory_bytes": 96 * MB},
    "reports": {"status": NodeStatus.READY, "cpu_percent": 88, "memory_bytes": 610 * MB, "restarts": 1},
    "reports-2": {"status": NodeStatus.READY, "cpu_percent": 74, "memory_bytes": 580 * MB},
    "reports-3": {"status": NodeStatus.DRAINING, "cpu_percent": 41, "memory_bytes": 402 * MB, "reason": "Finishing 2 tasks."},
    "reports-4": {
        "status": NodeStatus.FAILED, "restarts": 5, "exit_code": 137, "oom_killed": True,
        "reason": "out of memory (137), 5 times in a row; restarting in 80 s.",
        "log_tail": "2026-11-25T01:02:03.000000000Z loading model weights.bin\n2026-11-25T01:02:09.000000000Z 1024 MB in use",
    },
    "thumbs": {"status": NodeStatus.READY, "cpu_percent": 12, "memory_bytes": 120 * MB},
    "thumbs-2": {"status": NodeStatus.PULLING, "reason": "Pulling zenith:latest."},
}  # fmt: skip


def fill_nodes(sample: Sample) -> None:
    """Create hosts with their inventory, and groups and nodes with their events."""
    hosts = _hosts()
    for members in DEPLOYED:
        group = nodes.deploy(Deployment(**members), "ada")
        sample.groups[group.name] = str(group.id)
    reports = NodeGroup.objects.get(name="reports")
    autoscaler.configure(reports.id, AutoscaleLimits(max_replicas=8, scale_queue="reports"))
    now = timezone.now()
    NodeGroup.objects.filter(id=reports.id).update(
        decision="+2: 1,240 waiting, 3 m 11 s to drain at 6.5/s, target 1 m.", decided_at=now, scaled_at=now
    )
    nodes.act("drain", [Node.objects.get(name="reports-3").id], "ada")
    _observe()
    sample.nodes = {node.name: str(node.id) for node in Node.objects.all()}
    for host_row in hosts:
        _snapshot(host_row)
    Host.objects.filter(name="zen-02").update(cordoned=True)
    # Its last heartbeat is four minutes old: its nodes are UNKNOWN.
    Host.objects.filter(name="zen-03").update(seen_at=now - timedelta(minutes=4))


def _hosts() -> list[Host]:
    fresh = timezone.now() + timedelta(hours=1)
    common: dict[str, Any] = {
        "seen_at": fresh, "engine_version": "29.0.2", "operating_system": "Debian GNU/Linux 13", "architecture": "x86_64",
        "agent_version": "1.0",
    }  # fmt: skip
    return [
        host("zen-01", region="eu-1", cpus=8, memory_bytes=16 * GB, cpu_percent=31, memory_used_bytes=5 * GB, **common),
        host("zen-02", region="eu-1", cpus=8, memory_bytes=16 * GB, cpu_percent=64, memory_used_bytes=11 * GB,
             labels={"disk": "ssd"}, **common),
        host("zen-03", region="eu-2", cpus=4, memory_bytes=8 * GB, cpu_percent=9, memory_used_bytes=2 * GB, **common),
    ]  # fmt: skip


def _observe() -> None:
    now, chance = timezone.now(), random.Random(11)
    for number, (name, values) in enumerate(OBSERVED.items()):
        node = Node.objects.get(name=name)
        started = now - timedelta(minutes=17 * (number + 3))
        fields = {
            "observed_generation": node.generation,
            "observed_revision": 1,
            "observed_at": now,
            "started_at": started,
            **values,
        }
        Node.objects.filter(pk=node.pk).update(container_id=node.id.hex * 2, **fields)
        NodeEvent.objects.create(node=node, kind="created", message=f"Container {node.id.hex[:12]} of zenith:latest.")
        NodeEvent.objects.create(node=node, kind="ready" if "cpu_percent" in values else "died", message=values.get("reason", ""))
        if "cpu_percent" in values:
            _samples(node, values["cpu_percent"], values["memory_bytes"], chance)
    first = Node.objects.get(name="reports")
    ended = Task.objects.filter(status=Status.SUCCESS).order_by("-id").values_list("id", flat=True)[:6]
    Task.objects.filter(id__in=list(ended)).update(worker=first.worker)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    log_stream.append(first.id, [Line(stamp, stream, text) for _ in range(12) for stream, text in LOG])


def _samples(node: Node, cpu: float, memory: int, chance: random.Random) -> None:
    now = timezone.now()
    NodeSample.objects.bulk_create(
        NodeSample(
            node=node, at=now - timedelta(seconds=20 * back), memory_bytes=int(memory * chance.uniform(0.92, 1.03)),
            cpu_percent=max(0.0, cpu * (1 + 0.3 * math.sin(back / 7)) + chance.uniform(-4, 4)),
            network_rx_bytes=4_000_000 * (180 - back), network_tx_bytes=900_000 * (180 - back),
        )
        for back in range(180)
    )  # fmt: skip


def _snapshot(of: Host) -> None:
    mine = list(Node.objects.filter(host=of).exclude(container_id=""))
    containers = [_container(of, number, node.name, node) for number, node in enumerate(mine)]
    containers += [_container(of, 20, "postgres"), _container(of, 21, "redis")]
    HostSnapshot.objects.create(
        host=of, taken_at=timezone.now(), containers=containers,
        images=[
            _image("zenith:latest", 240 * MB, len(mine)), _image("postgres", 90 * MB, 1), _image("redis", 40 * MB, 1),
            _image("", 212 * MB, 0),
        ],
        volumes=[
            {"name": "shop-data", "driver": "local", "size": 3 * GB, "used_by": ["postgres"], "dangling": False},
            {"name": "f2c0d1e3a4b5968778695a4b3c2d1e0f" * 2, "driver": "local", "size": 48 * MB, "used_by": [], "dangling": True},
        ],
        networks=[_network(name, containers) for name in SUBNETS],
    )  # fmt: skip


def _container(of: Host, number: int, name: str, node: Node | None = None) -> dict[str, Any]:
    at = (timezone.now() - timedelta(hours=7 + number)).isoformat()
    image, network = ("zenith:latest", "zenith") if node else (name, "shop")
    published = {"container": 5432, "protocol": "tcp", "host_ip": "127.0.0.1", "host": 5432}
    return {
        "id": f"{of.pk:02x}{number:02x}" * 16, "name": name, "image": image, "image_id": f"sha256:{image}",
        "status": "exited" if name == "redis" else "running", "created_at": at, "started_at": at, "size": 3 * MB * (number + 1),
        "networks": [{"name": network, "ip": f"{SUBNETS[network]}.0.{number + 2}", "mac": "", "aliases": []}],
        "ports": [published] if name == "postgres" else [], "volumes": ["shop-data"] if name == "postgres" else [],
        "node_id": str(node.id) if node else None,
    }  # fmt: skip


def _image(tag: str, size: int, containers: int) -> dict[str, Any]:
    return {
        "id": f"sha256:{tag or 'a1b2c3d4' * 8}", "tags": [tag] if tag else [], "size": size, "shared_size": None,
        "created_at": "2026-10-01T00:00:00+00:00", "containers": containers, "dangling": not tag,
    }  # fmt: skip


def _network(name: str, containers: list[dict[str, Any]]) -> dict[str, Any]:
    members = [
        {"id": container["id"], "name": container["name"], "ip": joined["ip"]}
        for container in containers
        for joined in container["networks"]
        if joined["name"] == name
    ]
    return {
        "id": name * 8, "name": name, "driver": "bridge", "scope": "local", "subnets": [f"{SUBNETS[name]}.0.0/16"],
        "gateway": f"{SUBNETS[name]}.0.1", "internal": name == "shop", "members": members,
    }  # fmt: skip
