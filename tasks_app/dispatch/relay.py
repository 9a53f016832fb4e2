"""The relay: publishes what a crash left behind, and what was held back until it is due."""

import logging
import threading
from typing import Final

from django.db import DatabaseError

from tasks_app.dispatch.publish import publish_due
from tasks_app.errors import BrokerUnavailableError
from tasks_app.tracking.loops import Pause, with_fresh_connection

logger = logging.getLogger(__name__)

#: Seconds between two looks, so a task is sent at most this long after it is due.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Publish due tasks until `stop` is set, waiting out a database or broker that is away."""
    pause = Pause(stop)
    while not stop.is_set():
        try:
            with with_fresh_connection():
                while not stop.is_set() and publish_due():
                    pass
            pause.reset()
            stop.wait(LOOK_EVERY)
        except (DatabaseError, BrokerUnavailableError) as error:
            pause.after("The relay", error)
