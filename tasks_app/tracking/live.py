"""Telling the web processes that there is something new: a hint, never the news itself.

A poke carries the newest event's id over the channel layer. Whoever gets it reads the events from
PostgreSQL (insight/feed.py); a poke that gets lost delays a page until the next one.

What changes without an event (a letter discarded, a queue paused, a notification read) is told to
pages by `changed`, by topic. Other apps may send the same message to the group `pages` themselves.
"""

import asyncio
import logging
import threading
from functools import cache
from typing import Any, Final

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

GROUP: Final = "tasks"
POKE: Final = "tasks.poke"
PAGES: Final = "pages"
CHANGED: Final = "page.changed"


def poke(newest: int | None) -> None:
    """Tell every web process that events up to `newest` are committed; never raises."""
    if newest is not None:
        _tell(GROUP, {"type": POKE, "newest": newest})


def changed(*topics: str) -> None:
    """Tell every open page that shows one of these topics to read it again; never raises.

    Topics are names that pages and callers agree on: `dead-letters`, `queues`, `notifications`, … .
    Call it after the commit.
    """
    _tell(PAGES, {"type": CHANGED, "topics": list(topics)})


def _tell(group: str, message: dict[str, Any]) -> None:
    asyncio.run_coroutine_threadsafe(_send(group, message), _loop())


async def _send(group: str, message: dict[str, Any]) -> None:
    try:
        await get_channel_layer().group_send(group, message)
    except Exception as error:  # a lost hint must not fail what it hints at
        logger.debug("A poke was lost: %s", error)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return an event loop in a thread of its own: the layer keeps one connection per loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="zenith-live", daemon=True).start()
    return loop
