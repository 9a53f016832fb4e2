"""Events and frames that all sockets of one web process share, so that a burst costs one query, not one per client."""

import asyncio
import time
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.template.loader import render_to_string

from tasks_app.analytics.sparks import Sparks, last_hour
from tasks_app.queries import feed
from tasks_app.queries.feed import FeedEvent
from tasks_app.web.context import overview_context

#: Seconds for which the counters' sparklines are cached; each of their steps is five minutes.
SPARKS_KEPT: Final = 10.0
#: Events kept in memory for sockets that are slightly behind.
KEPT: Final = 10_000


class EventCache:
    """The newest events, read from PostgreSQL once for all sockets."""

    def __init__(self) -> None:
        self._events: deque[FeedEvent] = deque(maxlen=KEPT)
        self._start = -1  # every event after this id, up to the newest, is in memory
        self._newest = -1
        self._lock = asyncio.Lock()

    async def since(self, after: int) -> list[FeedEvent] | None:
        """Return the events after `after`; None if the reader must reload its list."""
        async with self._lock:
            await self._advance()
        if after < self._start:
            older: list[FeedEvent] | None = await database_sync_to_async(feed.since)(after)
            return older
        return [event for event in self._events if event.id > after]

    async def newest(self) -> int:
        """Return the id of the newest event ever, even if it has been pruned."""
        async with self._lock:
            await self._advance()
            return self._newest

    async def _advance(self) -> None:
        if self._newest < 0:
            self._start = self._newest = await database_sync_to_async(feed.newest_id)()
            return
        events = await database_sync_to_async(feed.since)(self._newest)
        if events is None:  # too far behind: restart from the newest event
            self._events.clear()
            self._start = self._newest = await database_sync_to_async(feed.newest_id)()
        elif events:
            self._events.extend(events)
            self._newest = events[-1].id
            if len(self._events) == KEPT:
                self._start = self._events[0].id - 1


class FrameCache:
    """The Overview's fragments, rendered once for all sockets that request them at the same time."""

    def __init__(self) -> None:
        self._html = ""
        self._rendered_at = float("-inf")
        self._sparks = Sparks()
        self._sparks_at = float("-inf")
        self._lock = asyncio.Lock()

    async def html(self, requested_at: float) -> str:
        """Return a frame whose rendering started no earlier than `requested_at` (time.monotonic())."""
        async with self._lock:
            if self._rendered_at < requested_at:
                started_at = time.monotonic()
                self._html = await database_sync_to_async(self._render)()
                self._rendered_at = started_at
        return self._html

    def _render(self) -> str:
        if time.monotonic() - self._sparks_at > SPARKS_KEPT:
            self._sparks, self._sparks_at = last_hour(), time.monotonic()
        return render_to_string("overview/_frame.html", overview_context(self._sparks))


class FanOutCache:
    """The feed and the frame of one event loop (in tests there are several)."""

    def __init__(self) -> None:
        self.feed = EventCache()
        self.frame = FrameCache()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, FanOutCache] = WeakKeyDictionary()


def fan_out_cache() -> FanOutCache:
    """Return the cache that the sockets of the running event loop share."""
    return _by_loop.setdefault(asyncio.get_running_loop(), FanOutCache())
