"""Tell the web processes that there are new events: a hint, never the events themselves.

A poke carries the newest event's id over the channel layer. Its receivers read the events from PostgreSQL (queries/feed.py);
if a poke gets lost, pages are updated with the next one.
"""

from collections.abc import Sequence
from typing import Final

from zenith_site.common.live_updates import send_to_group

GROUP: Final = "tasks"
POKE: Final = "tasks.poke"
PROGRESS: Final = "tasks.progress"
#: Tasks that one hint about progress names; pages of others are updated with their next step, or by themselves.
_MOST: Final = 500


def poke(newest: int | None) -> None:
    """Tell every web process that events up to `newest` are committed; never raises."""
    if newest is not None:
        send_to_group(GROUP, {"type": POKE, "newest": newest})


def tell_progress(tasks: Sequence[tuple[str, int]]) -> None:
    """Tell every web process which tasks, each with its application's key, have told how far they are; never raises.

    That is no event.
    """
    send_to_group(GROUP, {"type": PROGRESS, "tasks": [[*task] for task in tasks[:_MOST]]})
