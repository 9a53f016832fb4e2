"""Tell the web processes that there are new events: a hint, never the events themselves.

A poke carries the newest event's id over the channel layer. Its receivers read the events from PostgreSQL (queries/feed.py);
if a poke gets lost, pages are updated with the next one.
"""

from typing import Final

from zenith_site.common.live_updates import send_to_group

GROUP: Final = "tasks"
POKE: Final = "tasks.poke"


def poke(newest: int | None) -> None:
    """Tell every web process that events up to `newest` are committed; never raises."""
    if newest is not None:
        send_to_group(GROUP, {"type": POKE, "newest": newest})
