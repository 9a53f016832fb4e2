"""Passes Zenith's remote control commands (wire/control.py) on to an application's workers, over the application's broker, and
has its queues purged (attached_purge.py).

Each command has a thread and a connection of its own, so that neither the tasks that Zenith asks for nor the worker's loop wait
for an answer: the worker that passes a command on may be the one that has to answer it.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import redis
from celery import Celery

from zenith_worker import broker
from zenith_worker.attached_purge import Keep, Purges
from zenith_worker.wire import commands, control
from zenith_worker.wire.broadcasts import broadcast
from zenith_worker.wire.commands import Command, Kind
from zenith_worker.wire.control import Ability, Answers, Request

logger = logging.getLogger(__name__)

#: Commands that one worker passes on at the same time; others are refused.
AT_ONCE: Final = 4


def ability_of(consumer: Any) -> Ability:
    """Return whether a worker obeys remote control, as Celery itself decides."""
    if not consumer.app.conf.worker_enable_remote_control:
        return Ability.OFF
    return Ability.ON if consumer.conninfo.supports_exchange_type("fanout") else Ability.NONE


class RemoteControl:
    """Passes commands on for an application. `keep` takes reports that cannot be sent now."""

    def __init__(self, app: Celery, application: str, keep: Keep) -> None:
        self._app, self._application = app, application
        self._purges = Purges(app, application, keep)
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def carry_out(self, command: Command) -> None:
        """Take a command, and carry it out in a thread of its own; one that nobody waits for any more is dropped.

        Raises redis.RedisError.
        """
        is_due = control.is_due(command)
        if not (commands.take(self._application, command.id) and is_due):
            return
        if self._free.acquire(blocking=False):
            threading.Thread(target=self._run, args=(command,), name="zenith-control", daemon=True).start()
        else:
            self._refuse(command, f"the worker that took it passes {AT_ONCE} others on; try again")

    def _run(self, command: Command) -> None:
        try:
            if command.kind == Kind.PURGE:
                self._purges.run(command)
            else:
                self._answer(command, self._answers(command))
        finally:
            self._free.release()

    def _refuse(self, command: Command, reason: str) -> None:
        if command.kind == Kind.PURGE:
            self._purges.refuse(command, reason)
        else:
            self._answer(command, Answers({}, reason))

    def _answers(self, command: Command) -> Answers:
        try:
            request = control.request_of(command.body)
        except ValueError as error:
            logger.warning("A remote control command from Zenith was refused: %s", error)
            return Answers({}, f"refused: {error}")
        try:
            return Answers(_broadcast(self._app, request))
        except Exception as error:  # of whatever transport
            logger.warning("Zenith's remote control command %s could not be sent: %s", request.command, error)
            # The broker's address, which the error may name, stays here.
            return Answers({}, f"its broker did not take it ({type(error).__name__})")

    def _answer(self, command: Command, answers: Answers) -> None:
        try:
            control.answer(self._application, str(command.body.get("token", "")), answers)
        except redis.RedisError as error:
            logger.warning("What workers answered to Zenith could not be told: %s", error)


def _broadcast(app: Celery, request: Request) -> dict[str, Any]:
    """Tell the workers over the broker; return the answers that come in time. Raises whatever the transport raises."""
    connection = broker.connect(app)
    try:
        return broadcast(
            app, connection, request.command, request.arguments, request.workers, within=control.ANSWERED_WITHIN
        )  # fmt: skip
    finally:
        connection.release()
