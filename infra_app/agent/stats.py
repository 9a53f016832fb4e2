"""Report what nodes use: read from the engine in parallel, written in two statements however many nodes there are."""

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
#: Containers read at the same time.
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
    """What one container uses; 100 percent is one CPU."""

    cpu_percent: float
    memory_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int


class StatsReporter:
    """Reports what the containers of one host use.

    Arguments:
        key: labels what this host's agent created.
    """

    def __init__(self, engine: Engine, host_id: int, key: UUID) -> None:
        self._engine = engine
        self._host_id = host_id
        self._key = key
        self._previous: dict[str, ContainerStats] = {}

    def run(self, stop: threading.Event) -> None:
        """Read and write usage until stopped."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="stats") as self._pool:
            repeat(stop, "agent figures", self._look, every=READ_EVERY)

    def _look(self) -> None:
        try:
            running = self._engine.running()
            now = dict(zip((container.id for container in running), self._pool.map(self._read, running), strict=True))
        except EngineError:
            # The probe reports it on the host's row.
            return
        uses = {id_: usage_between(self._previous.get(id_), stats) for id_, stats in now.items() if stats}
        self._previous = {id_: stats for id_, stats in now.items() if stats}
        at = timezone.now()
        _store(
            {
                node: uses[container.id]
                for container in running
                if container.id in uses and (node := node_of(container.labels, self._key) or service_node(container.labels))
            },
            at,
        )
        self._store_totals(uses.values())
        live_updates.refresh_pages("node-figures")

    def _read(self, container: OwnedContainer) -> ContainerStats | None:
        return self._engine.stats(container.id)

    def _store_totals(self, usages: Iterable[NodeUsage]) -> None:
        host = Host.objects.only("cpus").get(pk=self._host_id)
        totals = list(usages)
        Host.objects.filter(pk=self._host_id).update(
            cpu_percent=sum(usage.cpu_percent for usage in totals) / max(host.cpus, 1),
            memory_used_bytes=sum(usage.memory_bytes for usage in totals),
        )


def usage_between(before: ContainerStats | None, now: ContainerStats) -> NodeUsage:
    """Return the usage between two readings; without a previous reading, CPU usage counts as 0."""
    seconds = now.read_at - before.read_at if before else 0.0
    spent = now.cpu_seconds - before.cpu_seconds if before else 0.0
    # The counters of a restarted container begin at zero.
    percent = 100 * spent / seconds if seconds > 0 and spent >= 0 else 0.0
    return NodeUsage(round(percent, 2), now.memory_bytes, now.network_rx_bytes, now.network_tx_bytes)


def _store(uses: Mapping[UUID, NodeUsage], at: datetime) -> None:
    if not uses:
        return
    rows = [
        (id_, usage.cpu_percent, usage.memory_bytes, usage.network_rx_bytes, usage.network_tx_bytes)
        for id_, usage in sorted(uses.items())
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, [at, *columns])
        cursor.execute(_INSERT, [at, *columns])
