"""Keeps what a task's body logs and prints, for Zenith, and leaves the application's own logs as they are.

A record is kept after the application's own handlers had it. There is no handler of Zenith's among them: one at the root logger
would make `logging.basicConfig` do nothing and silence Python's last resort, and would be gone once the application configures
its logs anew; and loggers that do not propagate, among them Celery's own for tasks, would pass it by
(docs/decisions/0024-task-logs.md).

What is printed is a record as well, if Celery redirects it (`worker_redirect_stdouts`). Levels are the application's: what its
loggers do not let pass is not kept either. Only in Zenith's own workers `let_pass` lowers them, and the handlers there still
write what they wrote before.

A body's threads of its own are outside of its context, so what they log belongs to no task.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals

from zenith_worker.carried import carried
from zenith_worker.log_buffer import LogBuffer, Run
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.task_logs import LOGGER_KEPT, MESSAGE_KEPT, LogLine

#: The names, in the environment and in Celery's settings, of the lowest level that is kept, or OFF; and a task's attribute, which
#: is False if none of its lines is kept.
VARIABLE: Final = "ZENITH_TASK_LOGS"
SETTING: Final = "zenith_task_logs"
OPTION: Final = "zenith_logs"
OFF: Final = "off"
DEFAULT: Final = "info"
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
CHOICES: Final = (*LEVELS, OFF)

#: What these log while a body runs is not the body's.
_NOT_THE_BODYS: Final = ("celery.app.trace", "zenith_worker.")
#: Characters kept of a traceback in a message.
_TRACEBACK_KEPT: Final = MESSAGE_KEPT // 2
_formatter: Final = logging.Formatter()
#: The run whose body runs in this context.
_running: Final[ContextVar[Run | None]] = ContextVar("zenith_logs", default=None)
#: Whether handlers have a record in this context: what they log meanwhile says it again.
_is_handled: Final[ContextVar[bool]] = ContextVar("zenith_is_handled", default=False)


def parse_level(name: str) -> int | None:
    """Return the lowest level that is kept, by its name; None for OFF. Raises ValueError."""
    if name.lower() == OFF:
        return None
    if name.lower() not in LEVELS:
        raise ValueError(f"{VARIABLE}={name!r}: it takes {', '.join(CHOICES)}")
    return LEVELS[name.lower()]


class TaskLogs:
    """What is logged in this process while a task's body runs.

    Arguments:
        level: the lowest level that is kept.
    """

    _kept: TaskLogs | None = None

    def __init__(self, level: int, buffer: LogBuffer) -> None:
        self._level, self._buffer = level, buffer

    @classmethod
    def keep(cls, level: int | None) -> None:
        """Begin to keep what is logged in this process and in its pool's, once; nothing if `level` is None."""
        if level is None or cls._kept is not None:
            return
        cls._kept = cls(level, LogBuffer())
        cls._kept._connect()

    def _connect(self) -> None:
        signals.task_prerun.connect(self._began, weak=False)
        signals.task_postrun.connect(self._ended, weak=False)
        signals.worker_process_shutdown.connect(lambda **_: self._buffer.flush(), weak=False)
        self._hook()

    def _hook(self) -> None:
        pass_on = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            # A handler that writes to the standard output, which Celery redirects, would make each line two.
            is_echo = _is_handled.get()
            _is_handled.set(True)
            try:
                pass_on(logger, record)
            finally:
                _is_handled.set(is_echo)
                run = None if is_echo else _running.get()
                if run is not None and record.levelno >= self._level:
                    self.take(run, record)

        logging.Logger.callHandlers = call_handlers  # type: ignore[assignment, method-assign]

    def _began(self, task: Any, **_: Any) -> None:
        request = task.request
        if request.is_eager:
            return  # it is a part of the body that called it
        run = None
        if request.id and getattr(task, OPTION, True) is not False:
            number = RunNumber.of_request(request)
            run = Run(request.id, number.nesting, number.attempt, carried(request).number)
        _running.set(run)

    def _ended(self, task: Any, **_: Any) -> None:
        if not task.request.is_eager:
            _running.set(None)

    def take(self, run: Run, record: logging.LogRecord) -> None:
        """Keep a record of a run. Raises nothing but a soft time limit that passes meanwhile, which is the body's."""
        if record.name.startswith(_NOT_THE_BODYS):
            return
        try:
            line = LogLine(
                round(record.created, 3), max(0, int(record.levelno)), str(record.name)[:LOGGER_KEPT], _message(record)
            )
            self._buffer.add(run, line)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            # Whatever somebody's objects do when they are printed: Python's own handlers have complained about it.
            return


def _message(record: logging.LogRecord) -> str:
    """Return a record's message, cut to its bound, with the traceback's end."""
    try:
        message = record.getMessage()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        message = f"{str(record.msg)[:MESSAGE_KEPT]} (cannot be formatted: {type(error).__name__})"
    parts = [part for part in (_traceback(record), record.stack_info or "") if part]
    after = "".join(f"\n{part[-_TRACEBACK_KEPT // len(parts) :]}" for part in parts)
    return _cut(message, MESSAGE_KEPT - len(after)) + after


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_text:
        return record.exc_text
    error = record.exc_info
    return _formatter.formatException(error) if isinstance(error, tuple) and error[0] else ""


def _cut(message: str, kept: int) -> str:
    if len(message) <= kept:
        return message
    note = f" … (cut; {len(message):,} characters)"
    return message[: kept - len(note)] + note


class _AsBefore(logging.Filter):
    """Keeps from a handler what its logger's own level would have kept from it."""

    def __init__(self, owner: logging.Logger, level: int) -> None:
        super().__init__()
        self._owner, self._before = owner, level

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record pass whose logger has a level of its own, or whose level is high enough."""
        if record.levelno >= self._before:
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not self._owner:
            if logger.level:
                return True
            logger = logger.parent
        return False


def let_pass(logger: logging.Logger, level: int) -> None:
    """Lower a logger's level to this, so that such lines can be kept; its handlers write what they wrote before."""
    before = logger.level
    if before <= level:
        return
    for handler in logger.handlers:
        handler.addFilter(_AsBefore(logger, before))
    logger.setLevel(level)
