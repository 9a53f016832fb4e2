"""What nodes use: asked of the engine in parallel, kept in two statements however many nodes there are."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from infra_app.agent.names import node_of, service_node
from infra_app.errors import EngineError
from infra_app.gateway import ContainerStats, Engine, OwnedContainer
from infra_app.models import Host
from zenith_site.common import live_updates
from zenith_site.common.loops import repeat

#: Seconds between two readings.
READ_EVERY: Final = 20.0
#: Containers asked at once.
THREADS: Final = 6

_UPDATE: Final = """
    UPDATE infra_app_node AS node
    SET cpu_percent = seen.cpu, memory_bytes = seen.memory, network_rx_bytes = seen.rx, network_tx_bytes = seen.tx,
        sampled_at = %s
    FROM unnest(%s::uuid[], %s::float8[], %s::bigint[], %s::bigint[], %s::bigint[]) AS seen (id, cpu, memory, rx, tx)
    WHERE node.id = seen.id
"""
_INSERT: Final = """
    INSERT INTO infra_app_nodesample (node_id, at, cpu_percent, memory_bytes, network_rx_bytes, network_tx_bytes)
    SELECT node.id, %s, seen.cpu, seen.memory, seen.rx, seen.tx
    FROM unnest(%s::uuid[], %s::float8[], %s::bigint[], %s::bigint[], %s::bigint[]) AS seen (id, cpu, memory, rx, tx)
    JOIN infra_app_node AS node ON node.id = seen.id
"""


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What one container uses now; 100 percent is one CPU."""

    cpu_percent: float
    memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int


class StatsReporter:
    """Reads what the containers of one host use.

    Arguments:
        key: marks what this host's agent made.
    """

    def __init__(self, engine: Engine, host_id: int, key: UUID) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._before: dict[str, ContainerStats] = {}

    def run(self, stop: threading.Event) -> None:
        """Read until stopped."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="figures") as self._pool:
            repeat(stop, "agent figures", self._look, every=READ_EVERY)

    def _look(self) -> None:
        try:
            running = self._engine.running()
            now = dict(zip((box.id for box in running), self._pool.map(self._read, running), strict=True))
        except EngineError:
            # The host's row says so.
            return
        uses = {id_: use(self._before.get(id_), figures) for id_, figures in now.items() if figures}
        self._before = {id_: figures for id_, figures in now.items() if figures}
        at = timezone.now()
        _keep(
            {
                node: uses[box.id]
                for box in running
                if box.id in uses and (node := node_of(box.labels, self._key) or service_node(box.labels))
            },
            at,
        )
        self._keep_totals(uses.values())
        live_updates.refresh_pages("node-figures")

    def _read(self, box: OwnedContainer) -> ContainerStats | None:
        return self._engine.stats(box.id)

    def _keep_totals(self, uses: Iterable[NodeUsage]) -> None:
        host = Host.objects.only("cpus").get(pk=self._host_id)
        found = list(uses)
        Host.objects.filter(pk=self._host_id).update(
            cpu_percent=sum(one.cpu_percent for one in found) / max(host.cpus, 1),
            memory_used_bytes=sum(one.memory_bytes for one in found),
        )


def use(before: ContainerStats | None, now: ContainerStats) -> NodeUsage:
    """Return what is used, from two readings; from a first one the CPU since the start is not known, and counts as none."""
    seconds = now.read_at - before.read_at if before else 0.0
    spent = now.cpu_seconds - before.cpu_seconds if before else 0.0
    # A container that was started again counts from nothing.
    percent = 100 * spent / seconds if seconds > 0 and spent >= 0 else 0.0
    return NodeUsage(round(percent, 2), now.memory_bytes, now.network_rx_bytes, now.network_tx_bytes)


def _keep(uses: Mapping[UUID, NodeUsage], at: datetime) -> None:
    if not uses:
        return
    rows = [
        (id_, one.cpu_percent, one.memory_bytes, one.network_rx_bytes, one.network_tx_bytes) for id_, one in sorted(uses.items())
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, [at, *columns])
        cursor.execute(_INSERT, [at, *columns])
