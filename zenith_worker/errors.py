"""Errors that end a task, other than those of its own code. A stored error has the name of its class, so these are public."""

from __future__ import annotations

from celery.exceptions import Ignore, Reject
from kombu.exceptions import EncodeError


class NotThisDelivery(Ignore):
    """Another delivery runs or ran the task, or it was cancelled: this delivery ends without an outcome."""


class NotNow(Reject):
    """It is unknown at the moment whether the body may run: the message goes back to its queue."""


class Replaced(Ignore):
    """A task's body sent other tasks in its place."""


class PoisonTaskError(Exception):
    """A task killed its worker process too often to be tried again."""


class DrillsOffError(Exception):
    """A drill was delivered while drills are off: its message is from before, or was not dispatched through Zenith."""


class DeliveredTooOftenError(Exception):
    """A message was lost repeatedly with the processes that took it, before its task's body could start."""


class ResultTooLargeError(EncodeError):
    """A task returned more JSON than can be stored."""


class ResultNotJSONError(EncodeError):
    """A task returned a value that is not valid JSON, or that PostgreSQL cannot store as JSON."""
