"""Follow the engine's event stream: a hint that a node or the host's inventory has changed."""

import logging
import threading
from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.db import DatabaseError

from infra_app.agent.names import node_of
from infra_app.errors import EngineError
from infra_app.gateway import Engine, EngineEvent
from infra_app.models import Node, NodeEvent
from zenith_site.common import live_updates
from zenith_site.common.loops import with_fresh_connection

logger = logging.getLogger(__name__)

#: Frequent actions that change nothing Zenith shows.
_IDLE: Final = frozenset(
    {"exec_create", "exec_start", "exec_die", "exec_detach", "top", "attach", "resize", "archive-path", "extract-to-dir"}
)
#: Seconds until the stream is reopened after it ended.
REOPEN_AFTER: Final = 1.0


class EventListener:
    """Listens to engine events until stopped.

    Arguments:
        key: labels what this host's agent created.
        touched: called with the id of a node whose container changed.
        changed: called with each event that changes the inventory.
        opened: called whenever the stream is opened, because earlier events were missed.
    """

    def __init__(
        self,
        engine: Engine,
        key: UUID,
        *,
        touched: Callable[[UUID], None],
        changed: Callable[[EngineEvent], None],
        opened: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._key = key
        self._touched = touched
        self._changed = changed
        self._opened = opened
        self._close: Callable[[], None] = lambda: None

    def run(self, stop: threading.Event) -> None:
        """Follow the stream, and reopen it if it ends."""
        while not stop.is_set():
            try:
                for event in self._engine.events(self._stream_opened):
                    self.take(event)
                    if stop.is_set():
                        break
            except EngineError as error:
                logger.info("No events: %s", error)
            stop.wait(REOPEN_AFTER)

    def close(self) -> None:
        """End the stream, from another thread."""
        self._close()

    def take(self, event: EngineEvent) -> None:
        """Pass one event to the callbacks."""
        if event.action in _IDLE:
            return
        self._changed(event)
        node = node_of(event.attributes, self._key) if event.kind == "container" else None
        if node is None:
            return
        if event.action == "oom":
            _note_oom(node)
        self._touched(node)

    def _stream_opened(self, close: Callable[[], None]) -> None:
        self._close = close
        self._opened()


def _note_oom(node: UUID) -> None:
    """Record that the kernel killed a process in a node's container. The container may live on: a pool replaces its processes."""
    try:
        with with_fresh_connection():
            if Node.objects.filter(pk=node).exists():
                NodeEvent.objects.create(
                    node_id=node, kind="memory", message="The kernel killed one of its processes: out of memory."
                )
                live_updates.refresh_pages("nodes")
    except DatabaseError as error:
        logger.warning("An event of node %s was not recorded: %s", node, error)
