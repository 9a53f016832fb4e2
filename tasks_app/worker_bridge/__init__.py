"""The parts of a worker that still need Django: results and the check for finished tasks read PostgreSQL. To be removed."""

from zenith_worker import signals

# Imported in every process that sends or runs tasks: what Celery's signals add travels with the messages.
__all__ = ["signals"]
