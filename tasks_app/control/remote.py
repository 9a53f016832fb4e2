"""How a remote control command reaches workers: over Zenith's own broker, or over that of another application, which one of its
workers knows, or its observer."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import redis

from tasks_app.errors import CommandWithdrawnError
from tasks_app.watching import requests
from zenith_site.common.application import celery_app
from zenith_site.common.errors import StateConflictError
from zenith_site.common.faults import is_unreachable
from zenith_site.common.jsonsafe import bounded, storable_text
from zenith_worker.wire import commands, control
from zenith_worker.wire.heartbeat import WorkerBeat
from zenith_worker.wire.keys import NATIVE

#: Seconds within which a worker must answer.
PATIENCE: Final = control.ANSWERED_WITHIN
#: Levels of nesting that are shown of what another application's worker answered.
_LEVELS: Final = 5


def ask(
    application: str, command: str, arguments: Mapping[str, Any], names: Collection[str], *, watched: bool = False
) -> dict[str, Any]:
    """Send a command to these workers of an application (NATIVE or its name); return the answers that arrive in time, by worker.

    `watched`: the workers know nothing of Zenith. Raises kombu's OperationalError, and of another application
    CommandWithdrawnError, StateConflictError or redis.RedisError.
    """
    if application == NATIVE:
        return _ask_own(command, arguments, names)
    if watched:
        answers = requests.ask(application, command, arguments, list(names))
        return {name: bounded(answer, _LEVELS) for name, answer in answers.items()}
    try:
        return _ask_attached(application, command, arguments, names)
    except redis.ResponseError as error:
        if is_unreachable(error):
            raise
        raise StateConflictError(f"Commands to {application} cannot be written: {storable_text(str(error))[:200]}") from error


def shut_down(application: str, name: str, *, watched: bool = False) -> None:
    """Tell a worker to shut down, which it does not answer. Raises as `ask` does."""
    if application == NATIVE:
        celery_app().control.broadcast(control.SHUTDOWN, destination=[name])
    else:
        ask(application, control.SHUTDOWN, {}, [name], watched=watched)


def why_not(beat: WorkerBeat, application: str) -> str:
    """Return why a worker of an application other than Zenith's own does not obey remote control; empty if it does.

    A watched one does not tell. Raises redis.RedisError.
    """
    name, ability = beat.name, beat.control
    if beat.watched:
        reason = requests.why_nobody_listens(application)
        return f"The workers of {application} cannot be told anything: {reason}." if reason else ""
    return {
        control.Ability.ON.value: "",
        control.Ability.OFF.value: f"{name} takes no remote control: worker_enable_remote_control is off there.",
        control.Ability.NONE.value: f"{name} takes no remote control: the broker of {application} does not carry it.",
    }.get(ability, f"{name} does not tell whether it takes remote control: its zenith_worker is older than that.")


def _ask_own(command: str, arguments: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """It uses a connection of its own.

    kombu would wait for answers on a pooled one; if that died while idle (Redis was restarted), kombu fails after sending the
    command, which must not be sent twice.
    """
    with celery_app().connection_for_write() as connection:
        answers = celery_app().control.broadcast(
            command, dict(arguments), destination=list(names), reply=True, timeout=PATIENCE, limit=len(names),
            connection=connection,
        )  # fmt: skip
    return {name: reply for answer in answers or () for name, reply in answer.items()}


def _ask_attached(application: str, command: str, arguments: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    if commands.waiting(application) >= commands.WAITING_AT_MOST:
        raise StateConflictError(f"{commands.WAITING_AT_MOST:,} commands wait for the workers of {application}; try again later.")
    try:
        answers = control.ask(application, command, arguments, list(names))
    except control.WithdrawnError as error:
        raise CommandWithdrawnError(application, control.PATIENCE) from error
    except ValueError as error:
        raise StateConflictError(f"The command cannot be sent: {error}.") from error
    if answers.error:
        raise StateConflictError(f"The command was not sent: {storable_text(answers.error)}.")
    return {name: bounded(answer, _LEVELS) for name, answer in answers.by_worker.items()}
