"""Whether a watched application is heard, and what its observer knows of it."""

import time
from typing import Final, NamedTuple

from tasks_app.models import Application
from tasks_app.watching import observed, observer_state
from tasks_app.watching.observed import Observed

#: Seconds that an observer must have listened for to have heard every worker.
SETTLED_AFTER: Final = 15.0


class Observation(NamedTuple):
    """How an application is observed; of one that is not watched, nothing is.

    Attributes:
        unheard: why a watched application is not heard, empty if it is; None for others.
        knows_workers: whether a worker that is not listed does not exist.
        tells_sent: whether a task is known when it is sent.
    """

    observed: Observed = Observed()
    unheard: str | None = None
    knows_workers: bool = True
    tells_sent: bool = True


def of(application: Application) -> Observation:
    """Return how an application is observed now. Raises redis.RedisError."""
    if not application.is_watched:
        return Observation()
    unheard = why_unheard(application)
    if unheard:
        return Observation(Observed(), unheard, knows_workers=False, tells_sent=False)
    state = observer_state.read(application.name)
    settled = state is not None and time.time() - state.since > SETTLED_AFTER
    known = observed.read(application.name)
    return Observation(known, "", settled, tells_sent=bool(known.sent_events))


def why_unheard(application: Application) -> str:
    """Return why a watched application is not heard; empty if it is. Raises redis.RedisError."""
    if not application.broker:
        return "it is not watched any more"
    state = observer_state.read(application.name)
    if state is None:
        return "no observer runs"
    return "" if state.listens else state.reason or "its observer is about to connect"
