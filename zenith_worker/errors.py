"""What ends a task that its own code did not end. A task's error is stored with its class, so these names are public."""

from celery.exceptions import Ignore, Reject
from kombu.exceptions import EncodeError


class NotThisDelivery(Ignore):
    """Another delivery of the same task runs or ran it, or it was cancelled: this one ends without an outcome."""


class NotNow(Reject):
    """What must be known before the body runs cannot be told now: the message goes back to its queue."""


class Replaced(Ignore):
    """A task's body sent other tasks in its place."""


class PoisonTaskError(Exception):
    """A task killed its worker process too often to be tried again."""


class DrillsOffError(Exception):
    """A drill was to run where drills are off: its message came from before, or past what checks dispatches."""


class DeliveredTooOftenError(Exception):
    """A message was lost again and again with the processes that took it, before its task's body could begin."""


class ResultTooLargeError(EncodeError):
    """A task returned more JSON than is stored."""


class ResultNotJSONError(EncodeError):
    """A task returned something JSON cannot hold (or PostgreSQL cannot store as JSON)."""
