"""Telling the web processes that there is something new: a hint, never the news itself.

A poke carries the newest event's id over the channel layer. Whoever gets it reads the events from
PostgreSQL (insight/feed.py); a poke that gets lost delays a page until the next one.
"""

import asyncio
import logging
import threading
from functools import cache
from typing import Final

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

GROUP: Final = "tasks"
POKE: Final = "tasks.poke"


def poke(newest: int | None) -> None:
    """Tell every web process that events up to `newest` are committed; never raises."""
    if newest is not None:
        asyncio.run_coroutine_threadsafe(_send(newest), _loop())


async def _send(newest: int) -> None:
    try:
        await get_channel_layer().group_send(GROUP, {"type": POKE, "newest": newest})
    except Exception as error:  # a lost hint must not fail what it hints at
        logger.debug("A poke was lost: %s", error)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return an event loop in a thread of its own: the layer keeps one connection per loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="zenith-live", daemon=True).start()
    return loop
