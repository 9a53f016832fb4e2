"""What the host holds, kept for the pages: looked at soon after something changed, else every minute."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from infra_app.agent.loop import Every
from infra_app.agent.names import node_of, service_node
from infra_app.errors import EngineError
from infra_app.gateway import Connection, EngineEvent, Sizes, inventory, sizes
from infra_app.models import HostSnapshot
from zenith_site.common import live_updates
from zenith_site.common.loops import repeat

#: Seconds between two looks without a change, and at least between two with one.
LOOK_EVERY: Final = 60.0
SETTLED_AFTER: Final = 3.0
#: The same for adding up sizes, which costs the engine more.
SIZES_EVERY: Final = 600.0
SIZES_AT_MOST_EVERY: Final = 60.0
TICK: Final = 0.5
#: Kinds of events after which something takes another size.
_SIZED: Final = frozenset({"image", "volume"})


class InventoryReporter:
    """Keeps a host's snapshot.

    Arguments:
        key: marks what this host's agent made.
    """

    def __init__(self, connection: Connection, host_id: int, key: UUID) -> None:
        self._connection = connection
        self._host_id = host_id
        self._key = key
        self._regular = Every(LOOK_EVERY)
        self._sizes_regular = Every(SIZES_EVERY)
        self._changed_at: float | None = None
        self._sizes_stale = False
        self._sizes_at = float("-inf")
        self._sizes = Sizes()
        self._started: dict[str, str] = {}
        self._written: dict[str, Any] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until stopped."""
        repeat(stop, "agent survey", self._look, every=TICK)

    def changed(self, event: EngineEvent) -> None:
        """Look again once it has settled; from any thread."""
        self._changed_at = self._changed_at or time.monotonic()
        self._sizes_stale = self._sizes_stale or event.kind in _SIZED
        if event.kind == "container" and event.action in {"start", "die", "destroy"}:
            self._started.pop(event.id, None)

    def _look(self) -> None:
        settled = self._changed_at is not None and time.monotonic() - self._changed_at > SETTLED_AFTER
        if not (settled or self._regular.due()):
            return
        self._changed_at = None
        try:
            self._measure()
            found = inventory(self._connection, self._sizes, self._started, self._node_of)
        except EngineError:
            # The host's row says so.
            return
        self._write(asdict(found))

    def _node_of(self, labels: Mapping[str, str]) -> str | None:
        node = node_of(labels, self._key) or service_node(labels)
        return str(node) if node else None

    def _measure(self) -> None:
        wanted = self._sizes_stale or self._sizes_regular.due()
        if wanted and time.monotonic() - self._sizes_at > SIZES_AT_MOST_EVERY:
            self._sizes_stale = False
            self._sizes_at = time.monotonic()
            self._sizes = sizes(self._connection)

    def _write(self, found: dict[str, Any]) -> None:
        if found == self._written:
            HostSnapshot.objects.filter(pk=self._host_id).update(taken_at=timezone.now())
            return
        HostSnapshot.objects.update_or_create(host_id=self._host_id, defaults={**found, "taken_at": timezone.now()})
        self._written = found
        live_updates.refresh_pages("inventory")
