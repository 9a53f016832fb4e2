"""Log formats for people and for programs."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from zenith_worker.wire import correlation


class OneLine(logging.Filter):
    """Removes the traceback from a record whose message says everything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.exc_info = record.exc_text = None
        return True


class TextFormatter(logging.Formatter):
    """Formats a line for people; one of a request or a task ends with their ids, which can be searched for."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the line, without a traceback."""
        ids = {"request": correlation.request_id.get(), "task": correlation.task.get()[0]}
        suffix = " ".join(f"{name}={value}" for name, value in ids.items() if value)
        line = super().formatMessage(record)
        return f"{line} [{suffix}]" if suffix else line

    def format(self, record: logging.LogRecord) -> str:
        """Return the line with its traceback."""
        return _writable(super().format(record))


class JsonFormatter(logging.Formatter):
    """Formats one JSON object per line, with the ids of the line's request and task; empty fields are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        task_id, task_name = correlation.task.get()
        members = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname, "logger": record.name, "message": record.getMessage(),
            "request_id": correlation.request_id.get(), "task_id": task_id, "task_name": task_name,
            "traceback": self.formatException(record.exc_info) if record.exc_info else "",
        }  # fmt: skip
        return _writable(json.dumps({name: value for name, value in members.items() if value}, ensure_ascii=False))


def _writable(line: str) -> str:
    """Return a line that every stream can encode: names from outside may hold half a surrogate pair."""
    return line.encode("utf-8", "backslashreplace").decode()


def logging_config(*, formatter: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING setting; `formatter` is `text` or `json`, `level` is that of Zenith's own loggers."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"one_line": {"()": "zenith_site.logs.OneLine"}},
        "formatters": {
            "text": {"()": "zenith_site.logs.TextFormatter", "format": "%(levelname)s %(name)s: %(message)s"},
            "json": {"()": "zenith_site.logs.JsonFormatter"},
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": formatter},
        },
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # Django adds a handler of its own to this logger; ours at the root is enough.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # Requests with an invalid Host would fill the log with tracebacks.
            "django.security.DisallowedHost": {"filters": ["one_line"]},
            # A line per task costs a quarter of the throughput, and the events have the same information.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            # At DEBUG the recorders log the tasks of each batch.
            "tasks_app": {"level": level},
            "infra_app": {"level": level},
            "zenith_site": {"level": level},
        },
    }
