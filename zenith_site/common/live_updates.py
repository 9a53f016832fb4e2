"""Live updates: hints to the web processes that something changed, never the data itself.

A hint goes over the channel layer and may get lost; whoever receives it reads the data from PostgreSQL. A change without a task's
event (a letter discarded, a queue paused, a node ready) reaches pages by topic, through `refresh_pages`.
"""

import asyncio
import atexit
import logging
import threading
from functools import cache
from typing import Any, Final

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

PAGES: Final = "pages"
CHANGED: Final = "page.changed"


def refresh_pages(*topics: str) -> None:
    """Make every open page that shows one of these topics read its data again; never raises. Call it after the commit.

    Pages and callers agree on the topics' names: `dead-letters`, `queues`, `nodes`, …
    """
    send_to_group(PAGES, {"type": CHANGED, "topics": list(topics)})


def send_to_group(group: str, message: dict[str, Any]) -> None:
    """Send a message to a group of sockets, from any thread and without waiting; never raises."""
    asyncio.run_coroutine_threadsafe(_send(group, message), _loop())


async def _send(group: str, message: dict[str, Any]) -> None:
    try:
        await get_channel_layer().group_send(group, message)
    except Exception as error:  # a lost hint must not fail the change itself
        logger.debug("A hint was lost: %s", error)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return an event loop in a thread of its own: the layer keeps one connection per loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="zenith-live", daemon=True)
    thread.start()
    atexit.register(_end, loop, thread)
    return loop


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End the thread before the interpreter exits: a thread killed in native code would abort the process."""
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=1.0)
