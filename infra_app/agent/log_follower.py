"""Copy the logs of nodes that someone is reading, and only those, into their Redis streams."""

import logging
import threading
from collections.abc import Callable
from typing import Final
from uuid import UUID

import redis

from infra_app import log_stream
from infra_app.agent.loop import Interval
from infra_app.errors import EngineError
from infra_app.gateway import Engine, LogLine
from infra_app.log_stream import MAX_LINES, Line
from infra_app.models import Node
from infra_app.states import NodeStatus
from zenith_site.common import live_updates
from zenith_site.common.loops import repeat

logger = logging.getLogger(__name__)

#: Seconds between two flushes of new lines, and between two reads of the list of nodes.
LOOK_EVERY: Final = 0.7
NODES_EVERY: Final = 2.0
#: Lines that are written without waiting for the next flush.
_BLOCK_LINES: Final = 500
#: Nodes followed at the same time: each holds a connection to the engine.
MAX_FOLLOWED: Final = 50


class Follower:
    """Follows one node's log until its container ends or it is closed."""

    def __init__(self, engine: Engine, node: UUID, container: str) -> None:
        self.node = node
        self._container = container
        self._engine = engine
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._closed = False
        self._end: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"log-{node}", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether more lines may come."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._end()

    def flush(self) -> None:
        """Write the collected lines to the stream. Raises redis.RedisError; lines that could not be written are dropped."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                log_stream.append(self.node, lines)
                live_updates.refresh_pages(log_stream.topic(self.node))

    def _run(self) -> None:
        try:
            since = log_stream.newest_at(self.node)
            for line in self._engine.follow(self._container, MAX_LINES, since, self._opened):
                self._take(line)
                if self._closed:
                    break
        except (EngineError, redis.RedisError) as error:
            # A stream that we close in the middle of a line raises any error.
            if not self._closed:
                logger.info("The log of node %s ended: %s", self.node, error)

    def _opened(self, end: Callable[[], None]) -> None:
        self._end = end

    def _take(self, line: LogLine) -> None:
        with self._lock:
            self._lines.append(Line(line.at, line.stream, line.text))
            block_full = len(self._lines) >= _BLOCK_LINES
        if block_full:
            self.flush()


class LogFollowers:
    """Keeps a follower for each node of a host whose log someone is reading."""

    def __init__(self, engine: Engine, host_id: int) -> None:
        self._engine = engine
        self._host_id = host_id
        self._containers: dict[UUID, str] = {}
        self._nodes_due = Interval(NODES_EVERY)
        self._followers: dict[UUID, Follower] = {}

    def run(self, stop: threading.Event) -> None:
        """Start and stop followers until stopped."""
        repeat(stop, "agent logs", self._look, every=LOOK_EVERY)
        for follower in self._followers.values():
            follower.close()

    def _look(self) -> None:
        for node, follower in list(self._followers.items()):
            follower.flush()
            if not follower.runs:
                del self._followers[node]
        if self._nodes_due.due():
            nodes_with_container = (
                Node.objects.filter(host_id=self._host_id).exclude(container_id="").exclude(status=NodeStatus.REMOVED)
            )
            self._containers = dict(nodes_with_container.order_by().values_list("pk", "container_id"))
        self._follow(log_stream.watched(list(self._containers)))

    def _follow(self, watched_nodes: set[UUID]) -> None:
        for node in self._followers.keys() - watched_nodes:
            self._followers.pop(node).close()
        for node in sorted(watched_nodes - self._followers.keys())[: MAX_FOLLOWED - len(self._followers)]:
            self._followers[node] = Follower(self._engine, node, self._containers[node])
