"""The relay: publishes what a crash left behind, and what was held back until it is due."""

import threading
from typing import Final

from tasks_app.dispatch.publish import publish_due
from zenith_site.common.loops import repeat

#: Seconds between two looks, so a task is sent at most this long after it is due.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Publish due tasks until `stop` is set."""
    repeat(stop, "relay", publish_due, every=LOOK_EVERY)
