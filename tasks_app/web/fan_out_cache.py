"""What all sockets of one web process share, so that a burst costs one query, not one per client."""

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

#: Seconds for which the small drawings in the counters are kept; each of their steps is five minutes.
SPARKS_KEPT: Final = 10.0
#: Events kept in memory for sockets that are a little behind.
KEPT: Final = 10_000


class EventCache:
    """The newest events, read from PostgreSQL once for all sockets."""

    def __init__(self) -> None:
        self._events: deque[FeedEvent] = deque(maxlen=KEPT)
        self._start = -1  # every event after this id, up to the newest, is in memory
        self._newest = -1
        self._lock = asyncio.Lock()

    async def since(self, after: int) -> list[FeedEvent] | None:
        """Return the events after `after`; None where the reader must read its list anew."""
        async with self._lock:
            await self._advance()
        if after < self._start:
            older: list[FeedEvent] | None = await database_sync_to_async(feed.since)(after)
            return older
        return [event for event in self._events if event.id > after]

    async def newest(self) -> int:
        """Return the id of the newest event there ever was, also when it is kept no more."""
        async with self._lock:
            await self._advance()
            return self._newest

    async def _advance(self) -> None:
        if self._newest < 0:
            self._start = self._newest = await database_sync_to_async(feed.newest_id)()
            return
        found = await database_sync_to_async(feed.since)(self._newest)
        if found is None:  # far behind: begin anew at the end
            self._events.clear()
            self._start = self._newest = await database_sync_to_async(feed.newest_id)()
        elif found:
            self._events.extend(found)
            self._newest = found[-1].id
            if len(self._events) == KEPT:
                self._start = self._events[0].id - 1


class FrameCache:
    """The Overview's fragments, rendered once for all sockets that want them at the same time."""

    def __init__(self) -> None:
        self._html = ""
        self._asked_at = float("-inf")
        self._sparks = Sparks()
        self._sparks_at = float("-inf")
        self._lock = asyncio.Lock()

    async def html(self, asked_at: float) -> str:
        """Return a frame that was gathered no earlier than `asked_at` (time.monotonic())."""
        async with self._lock:
            if self._asked_at < asked_at:
                started = time.monotonic()
                self._html = await database_sync_to_async(self._render)()
                self._asked_at = started
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
    """Return what the sockets of the running loop share."""
    return _by_loop.setdefault(asyncio.get_running_loop(), FanOutCache())
