"""The relay: publishes tasks that a crash left PENDING, and tasks held in PostgreSQL until they are due."""

import threading
from typing import Final

from tasks_app.dispatch.publish import publish_due
from zenith_site.common.loops import repeat

#: Seconds between two passes, and so the longest that a due task waits to be sent.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Publish due tasks until `stop` is set."""
    repeat(stop, "relay", publish_due, every=LOOK_EVERY)
