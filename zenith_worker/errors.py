"""What ends a task that its own code did not end. A task's error is stored with its class, so these names are public."""

from kombu.exceptions import EncodeError


class PoisonTaskError(Exception):
    """A task killed its worker process too often to be tried again."""


class ResultTooLargeError(EncodeError):
    """A task returned more JSON than is stored."""


class ResultNotJSONError(EncodeError):
    """A task returned something JSON cannot hold (or PostgreSQL cannot store as JSON)."""
