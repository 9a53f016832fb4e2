"""The sockets for programs (`/ws/tasks`, JSON, see docs/websocket.md) and for the Overview (HTML).

The other pages' socket is in page_socket.py.

All sockets work alike. A poke over the channel layer says that something was committed. A pump, one per socket, then reads
what is new and sends it, at most a few times a second. Pokes may get lost, so the pump also polls every few seconds.
"""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs

import redis
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError

from tasks_app.models.application import NATIVE_ID
from tasks_app.queries import feed
from tasks_app.queries.application_names import ids_of
from tasks_app.queries.feed import FeedEvent, FeedFilter
from tasks_app.recording.live import GROUP
from tasks_app.web.fan_out_cache import fan_out_cache
from tasks_app.web.throttle import Throttle
from zenith_site.common.callers import VIEW, Caller, Shows
from zenith_site.common.errors import InvalidQueryError, Problem

logger = logging.getLogger(__name__)

BAD_FILTER: Final = 4400
NOT_AUTHENTICATED: Final = 4401
FORBIDDEN: Final = 4403
#: Close code for a fragmented message that is too big. A frame over MAX_FRAME never gets here: daphne closes with 1009,
#: which an application must not send itself (zenith_site/server_limits/frames.py).
TOO_BIG: Final = 4413
MAX_FRAME: Final = 64 * 1024
#: Seconds that the first frame waits for the client's first, which may be a RESUME.
GREETING: Final = 1.0
#: Parameters that the URL may have, and events after which a client learns its position, whatever its filter.
MAX_FIELDS: Final = 100
TELL_EVERY: Final = 1000
#: Frames per second under load, and frames sent at once after a pause.
RATE: Final = 4.0
BURST: Final = 4
#: Seconds after which the pump polls without having been poked.
LOOK_EVERY: Final = 4.0
#: Seconds between two notices to an Overview that the outcomes of its period have changed.
OUTCOMES_EVERY: Final = 2.0
#: Seconds to collect the steps that closely follow a first one into the same frame.
GATHER: Final = 0.01


class PumpingConsumer(AsyncWebsocketConsumer):
    """A socket that sends what is new; subclasses define what that is."""

    groups: tuple[str, ...] = (GROUP,)
    rate, burst = RATE, BURST
    #: As in `authorize()`: a socket that does not filter is only for those who may see Zenith's own application.
    shows = Shows.OWN
    #: The keys of the applications whose events the caller may see; None for all.
    seen: frozenset[int] | None = None

    async def connect(self) -> None:
        """Accept callers that may view tasks; close others with 4400, 4401 or 4403, after accepting, or browsers see no code."""
        await self.accept()
        caller: Caller | None = self.scope["caller"]
        if caller is None:
            await self.close(NOT_AUTHENTICATED)
        elif not await database_sync_to_async(self._admits)(caller):
            await self.close(FORBIDDEN)
        else:
            self._poked = asyncio.Event()
            self._throttle = Throttle(self.rate, self.burst)
            try:
                await self.begin()
            except InvalidQueryError as error:
                await self.send_json({"type": "ERROR", "detail": str(error)})
                await self.close(BAD_FILTER)
                return
            self._pump = asyncio.create_task(self._run())
            self._guard = asyncio.create_task(self._close_when_access_ends())

    def _admits(self, caller: Caller) -> bool:
        """Return whether the caller may use this socket, and read which applications they may see."""
        try:
            caller.require(VIEW, self.shows)
        except PermissionDenied:
            return False
        self.seen = ids_of(caller.applications)
        return True

    def sees(self, event: FeedEvent) -> bool:
        """Whether the caller may see an event. All sockets read the same events, so each has to ask."""
        return self.seen is None or (event.application_id or NATIVE_ID) in self.seen

    async def disconnect(self, code: int) -> None:
        """Cancel the socket's background tasks."""
        for task in (getattr(self, "_pump", None), getattr(self, "_guard", None)):
            if task is not None:
                task.cancel()

    async def tasks_poke(self, message: dict[str, Any]) -> None:
        """Wake the pump: something was committed."""
        self.wake()

    async def tasks_progress(self, message: dict[str, Any]) -> None:
        """Note which tasks have told how far they are; sockets of events show nothing of it."""

    def wake(self) -> None:
        """Make the pump poll now."""
        if hasattr(self, "_poked"):
            self._poked.set()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame from the client. An invalid frame gets an ERROR; the socket stays open."""
        if not hasattr(self, "_pump"):
            return  # refused: the socket is being closed
        if len(bytes_data or (text_data or "").encode("utf-8", "surrogatepass")) > MAX_FRAME:
            await self.close(TOO_BIG)
            return
        try:
            frame = json.loads(text_data or "")
        except (ValueError, RecursionError):
            frame = None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            await self.send_json({"type": "ERROR", "detail": "a frame must be a JSON object with a type"})
        elif frame["type"] == "PING":
            await self.send_json({"type": "PONG"})
        elif not await self.handle(frame):
            await self.send_json({"type": "ERROR", "detail": f"cannot handle {frame['type'][:50]!r}"})

    async def send_json(self, frame: dict[str, Any]) -> None:
        """Send one JSON frame."""
        await self.send(text_data=json.dumps(frame, separators=(",", ":")))

    async def _run(self) -> None:
        while True:
            self._poked.clear()
            try:
                await self.pump()
            except (DatabaseError, redis.RedisError) as error:
                logger.warning("A socket waits: %s", error)
                await asyncio.sleep(LOOK_EVERY)
                continue
            try:
                await asyncio.wait_for(self._poked.wait(), LOOK_EVERY)
                await asyncio.sleep(GATHER)
            except TimeoutError:
                pass

    async def _close_when_access_ends(self) -> None:
        """Close the socket as soon as the token is revoked or the session ends."""
        await self.scope["access_ended"]()
        self._pump.cancel()
        await self.close(NOT_AUTHENTICATED)

    async def begin(self) -> None:
        """Prepare what `pump` needs, right after the client was accepted."""

    async def pump(self) -> None:
        """Send what is new, if anything, within the throttle."""
        raise NotImplementedError

    async def handle(self, frame: dict[str, Any]) -> bool:
        """Act on a client's frame; return False if it is not understood."""
        return False


class TaskStreamConsumer(PumpingConsumer):
    """`/ws/tasks`: TASK_UPDATE frames, and RESUME after an interruption."""

    shows = Shows.FILTERED
    _filter = FeedFilter()

    async def begin(self) -> None:
        """Start after the newest event. Raises InvalidQueryError for an invalid filter."""
        self._filter = _parse_filter(self.scope["query_string"])
        self._greeted = asyncio.Event()
        self._after = self._reported = await fan_out_cache().feed.newest()

    async def pump(self) -> None:
        """Send one frame with the newest step of each task that moved.

        A reconnecting client sends RESUME as its first frame. If the server sent a frame before that, the client would
        take it for the continuation of what it has; if it then disconnected, it would resume after a gap. So the first
        frame waits a moment for the client's.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._greeted.wait(), GREETING)
        self._greeted.set()
        after = self._after
        events = await fan_out_cache().feed.since(after)
        if events:
            await self._throttle.wait()
        if self._after != after:
            return  # the client sent RESUME meanwhile, which woke the pump again
        if events is None:
            await self._refresh()
        elif events:
            self._after = events[-1].id
            accepted = (event for event in events if self.sees(event) and self._filter.accepts(event))
            tasks = [event.as_json() for event in feed.newest_per_task(accepted)]
            # Now and then send a frame without tasks, so that a client with a narrow filter does not resume far behind.
            if tasks or self._after - self._reported >= TELL_EVERY:
                previous, self._reported = self._reported, self._after
                await self.send_json({"type": "TASK_UPDATE", "after": previous, "event_id": self._after, "tasks": tasks})

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame from the client, and let the pump start after the first."""
        await super().receive(text_data, bytes_data)
        if hasattr(self, "_greeted"):
            self._greeted.set()

    async def handle(self, frame: dict[str, Any]) -> bool:
        """Handle RESUME: go back to event `after`, or tell the client to reload its list."""
        after = frame.get("after")
        if frame["type"] != "RESUME" or type(after) is not int or after < 0:
            return False
        if await database_sync_to_async(feed.reaches_back_to)(after):
            self._after = self._reported = min(after, self._after)
            self.wake()
        else:
            await self._refresh()
        return True

    async def _refresh(self) -> None:
        self._after = self._reported = await fan_out_cache().feed.newest()
        await self.send_json({"type": "REFRESH", "event_id": self._after})


def _parse_filter(query: bytes) -> FeedFilter:
    try:
        parameters = parse_qs(query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidQueryError(Problem("", f"at most {MAX_FIELDS} parameters are allowed")) from None
    return FeedFilter.of(parameters)


class OverviewConsumer(PumpingConsumer):
    """The Overview's socket. Every frame has complete fragments, so a page is up to date after any frame.

    Frames leave out what depends on the period that a page shows; the page is told now and then to reload that.
    """

    shows = Shows.EVERYTHING
    _outcomes_changed = False
    _notified_at = float("-inf")

    async def tasks_poke(self, message: dict[str, Any]) -> None:
        """Note that something was committed."""
        self._outcomes_changed = True
        await super().tasks_poke(message)

    async def pump(self) -> None:
        """Send a frame, even if nothing was committed, so that heartbeats stay current."""
        await self._throttle.wait()
        await self.send(text_data=await fan_out_cache().frame.html(time.monotonic()))
        if self._outcomes_changed and time.monotonic() - self._notified_at >= OUTCOMES_EVERY:
            self._outcomes_changed, self._notified_at = False, time.monotonic()
            await self.send_json({"type": "CHANGED", "topics": ["outcomes"]})

    async def handle(self, frame: dict[str, Any]) -> bool:
        """Handle REFRESH: send everything now."""
        if frame["type"] != "REFRESH":
            return False
        self._outcomes_changed, self._notified_at = True, float("-inf")
        self.wake()
        return True
