"""The relay: publishes tasks that a crash left PENDING, and tasks held in PostgreSQL until they are due.

Those of other applications it hands over to their workers (hand_over.py).
"""

import threading
from typing import Final

from tasks_app.dispatch.hand_over import HandOver
from tasks_app.dispatch.publish import publish_due
from zenith_site.common.loops import repeat

#: Seconds between two passes, and so the longest that a due task waits to be sent.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Publish due tasks until `stop` is set."""
    hand_over = HandOver()

    def once() -> bool:
        try:
            published = publish_due()
        finally:
            # Other applications have brokers of their own, which may well answer.
            handed = hand_over.run_once()
        return bool(published or handed)

    repeat(stop, "relay", once, every=LOOK_EVERY)
