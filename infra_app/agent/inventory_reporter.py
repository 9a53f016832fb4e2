"""Keep a snapshot of the host's inventory for the pages: refreshed soon after a change, else every minute."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from infra_app.agent.loop import Interval
from infra_app.agent.names import node_of, service_node
from infra_app.errors import EngineError
from infra_app.gateway import Connection, EngineEvent, Sizes, inventory, sizes
from infra_app.models import HostSnapshot
from zenith_site.common import live_updates
from zenith_site.common.loops import repeat

#: Seconds between two refreshes without a change, and the delay after a change.
LOOK_EVERY: Final = 60.0
SETTLED_AFTER: Final = 3.0
#: The same for disk usage, which is more expensive for the engine.
SIZES_EVERY: Final = 600.0
SIZES_AT_MOST_EVERY: Final = 60.0
TICK: Final = 0.5
#: Kinds of events that change disk usage.
_SIZED: Final = frozenset({"image", "volume"})


class InventoryReporter:
    """Keeps a host's inventory snapshot.

    Arguments:
        key: labels what this host's agent created.
    """

    def __init__(self, connection: Connection, host_id: int, key: UUID) -> None:
        self._connection = connection
        self._host_id = host_id
        self._key = key
        self._snapshot_due = Interval(LOOK_EVERY)
        self._sizes_due = Interval(SIZES_EVERY)
        self._first_change_at: float | None = None
        self._sizes_stale = False
        self._sizes_at = float("-inf")
        self._sizes = Sizes()
        self._started: dict[str, str] = {}
        self._last_written: dict[str, Any] = {}

    def run(self, stop: threading.Event) -> None:
        """Refresh the snapshot until stopped."""
        repeat(stop, "agent survey", self._look, every=TICK)

    def changed(self, event: EngineEvent) -> None:
        """Schedule a refresh once changes have settled; may be called from any thread."""
        self._first_change_at = self._first_change_at or time.monotonic()
        self._sizes_stale = self._sizes_stale or event.kind in _SIZED
        if event.kind == "container" and event.action in {"start", "die", "destroy"}:
            self._started.pop(event.id, None)

    def _look(self) -> None:
        settled = self._first_change_at is not None and time.monotonic() - self._first_change_at > SETTLED_AFTER
        if not (settled or self._snapshot_due.due()):
            return
        self._first_change_at = None
        try:
            self._measure()
            snapshot = inventory(self._connection, self._sizes, self._started, self._node_of)
        except EngineError:
            # The probe reports it on the host's row.
            return
        self._write(asdict(snapshot))

    def _node_of(self, labels: Mapping[str, str]) -> str | None:
        node = node_of(labels, self._key) or service_node(labels)
        return str(node) if node else None

    def _measure(self) -> None:
        sizes_due = self._sizes_stale or self._sizes_due.due()
        if sizes_due and time.monotonic() - self._sizes_at > SIZES_AT_MOST_EVERY:
            self._sizes_stale = False
            self._sizes_at = time.monotonic()
            self._sizes = sizes(self._connection)

    def _write(self, snapshot: dict[str, Any]) -> None:
        if snapshot == self._last_written:
            HostSnapshot.objects.filter(pk=self._host_id).update(taken_at=timezone.now())
            return
        HostSnapshot.objects.update_or_create(host_id=self._host_id, defaults={**snapshot, "taken_at": timezone.now()})
        self._last_written = snapshot
        live_updates.refresh_pages("inventory")
