"""Telling the web processes that tasks have moved on: a hint, never the news itself.

A poke carries the newest event's id over the channel layer. Whoever gets it reads the events from
PostgreSQL (queries/feed.py); a poke that gets lost delays a page until the next one.
"""

from typing import Final

from zenith_site.common.live_updates import send_to_group

GROUP: Final = "tasks"
POKE: Final = "tasks.poke"


def poke(newest: int | None) -> None:
    """Tell every web process that events up to `newest` are committed; never raises."""
    if newest is not None:
        send_to_group(GROUP, {"type": POKE, "newest": newest})
