"""What still needs Django in a worker: results that are read from PostgreSQL, and one question to it. Later work removes it."""

from zenith_worker import signals

# In every process that sends or runs tasks: what Celery's signals add travels with the messages.
__all__ = ["signals"]
