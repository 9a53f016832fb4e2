"""The cost of idle agents with 200 nodes on two hosts, and the delay until an agent acts on a new desired state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

from bench.lab import Lab
from bench.processes import BenchError, Processes, cpu_seconds
from bench.report import Figure, Report, below, progress, say
from zenith_site.launch.docker import answers

NODES = 200
HOSTS = ("first", "second")
#: Seconds for which an idle agent is measured, long enough for all its periodic work to happen a few times.
IDLE_SECONDS = 90.0
CHANGES = 15
#: A container of the project takes 100 MB; the agent's work does not depend on what runs in the container.
IMAGE = "zenith-bench-idle"
DOCKERFILE = b'FROM debian:bookworm-slim\nENTRYPOINT ["/bin/sh", "-c", "trap exit TERM; while :; do sleep 1000 & wait; done"]\n'
#: A second engine, if there is one; else both hosts share the first, and each agent also sees the other's containers.
SECOND = os.environ.get("SECOND_DOCKER_HOST", "")
READY_SECONDS = 900.0
HEARTBEAT_EVERY = 4.0


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    engines = [os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")]
    engines.append(SECOND or engines[0])
    count, seconds = (20, 30.0) if quick else (NODES, IDLE_SECONDS)
    if not answers(engines[0]):
        return Report("nodes", notes=[f"  No Docker engine answers at {engines[0]}: not measured."])
    for engine in set(engines):
        _build(engine)
    with Lab() as lab:
        # Nothing listens there; the stand-in for a worker does not need it.
        os.environ["ZENITH_NODE_REDIS_URL"] = "redis://192.0.2.1:6379/0"
        lab.load_zenith()
        agents = Processes(lab.logs, {})
        stop = threading.Event()
        heartbeats = threading.Thread(target=_write_heartbeats, args=(stop,))
        try:
            for host, engine in zip(HOSTS, engines, strict=True):
                agents.start(host, (sys.executable, "manage.py", "run_agent", "--host", host, "--engine", engine))
            _until(lambda: _online() == len(HOSTS), 60, "the agents do not come online")
            heartbeats.start()
            _deploy(count)
            shares = _measure_idle(agents, seconds, rounds or 1)
            delays = _measure_changes(rounds or 1)
        finally:
            stop.set()
            _remove()
            agents.stop()
            for engine in set(engines):
                _docker(engine, "image", "rm", "--force", IMAGE)
    return _report(count, shares, delays, same=engines[0] == engines[1])


def _report(count: int, shares: dict[str, list[float]], delays: list[float], *, same: bool) -> Report:
    report = Report(f"nodes: {count} on two hosts")
    where = "both on one engine, so that each agent reads the usage of all nodes" if same else "with an engine each"
    report.notes = [
        f"  {count // 2} nodes on each host, {where}. Each runs a sleeping shell",
        "  in place of a worker; the benchmark writes the workers' heartbeats.",
    ]
    for host, values in shares.items():
        report.figures.append(Figure(f"nodes: share of one core, agent of the {host} host", values, unit="%", target=below(5)))
    report.figures.append(Figure("nodes: from a change until the agent acts", delays, unit="s", target=below(1)))
    return report


def _build(engine: str) -> None:
    _docker(engine, "build", "--quiet", "--tag", IMAGE, "-", body=DOCKERFILE)


def _docker(engine: str, *arguments: str, body: bytes = b"") -> None:
    command = ["docker", "--host", engine, *arguments]
    done = subprocess.run(command, input=body, capture_output=True, check=False, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {done.stderr.decode().strip()}")


def _deploy(count: int) -> None:
    from infra_app.models import Host, Node, NodeGroup

    for host in Host.objects.all():
        group = NodeGroup.objects.create(
            name=f"bench-{host.name}", image=IMAGE, queues=["bench"], memory_mb=16, cpus=0.01, replicas=count // 2
        )
        nodes = [Node(group=group, host=host, name=f"{group.name}-{number}") for number in range(count // 2)]
        Node.objects.bulk_create(nodes)

    def ready() -> bool:
        done = Node.objects.filter(status="READY").count()
        progress(f"nodes: {done} of {count} ready")
        return done == count

    _until(ready, READY_SECONDS, "the nodes do not become ready")


def _measure_idle(agents: Processes, seconds: float, rounds: int) -> dict[str, list[float]]:
    pids = {role: pid for pid, role in agents.roles().items()}
    shares: dict[str, list[float]] = {host: [] for host in HOSTS}
    # Wait for the inventory to settle and for the first usage readings.
    time.sleep(10)
    for number in range(rounds):
        progress(f"nodes: idle, round {number + 1} of {rounds}")
        before = {host: cpu_seconds(pids[host]) for host in HOSTS}
        started_at = time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - started_at
        for host in HOSTS:
            shares[host].append(100 * (cpu_seconds(pids[host]) - before[host]) / elapsed)
        say(f"nodes: idle, round {number + 1} of {rounds}: " + ", ".join(f"{host} {shares[host][-1]:.2f} %" for host in HOSTS))
    return shares


def _measure_changes(rounds: int) -> list[float]:
    """Return the seconds from an order's commit to the event that the agent writes before it calls its engine."""
    from django.db.models import F
    from django.utils import timezone

    from infra_app.models import Node, NodeEvent

    delays = []
    for node in Node.objects.order_by("?")[: CHANGES * rounds]:
        Node.objects.filter(pk=node.pk).update(desired="STOPPED", generation=F("generation") + 1)
        started_at = timezone.now()
        stopping = NodeEvent.objects.filter(node=node, kind="stopping")
        _until(stopping.exists, 30, "no agent acts on a change")
        delays.append((stopping.get().at - started_at).total_seconds())
    say(f"nodes: from a change until the agent acts: {min(delays):.2f} to {max(delays):.2f} s")
    return delays


def _remove() -> None:
    from django.db.models import F

    from infra_app.models import Node

    Node.objects.update(desired="REMOVED", generation=F("generation") + 1)
    _until(lambda: not Node.objects.exclude(status="REMOVED").exists(), READY_SECONDS, "the nodes are not removed")


def _write_heartbeats(stop: threading.Event) -> None:
    """Write heartbeats for all workers, none of which runs."""
    from infra_app.models import Node
    from zenith_worker.wire import heartbeat

    while not stop.is_set():
        for node in Node.objects.exclude(status="REMOVED").only("id", "name"):
            heartbeat.write(node.worker, slots=1, busy=0, queues=["bench"])
        stop.wait(HEARTBEAT_EVERY)


def _online() -> int:
    from infra_app.models import Host

    return sum(host.online for host in Host.objects.all())


def _until(condition: Any, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"nodes: {otherwise} within {seconds:.0f} s")
        time.sleep(0.1)
