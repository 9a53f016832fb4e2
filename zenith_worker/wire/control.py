"""Remote control of an application's workers: which commands there are, and how one travels to an attached application.

Zenith's own workers are told over its broker. Of an attached application Zenith does not know the broker, so one of its workers
passes the command on:

1. A server appends it to the application's commands (commands.py), and looks for the answer for a few seconds (`ask`).
2. A worker takes it away before it does anything, so that it is carried out once or never, and broadcasts it over the broker.
3. That worker leaves what the workers answered under a key that expires soon (`answer`).

What nobody has taken in time is withdrawn. Both sides refuse whatever is not one of the commands below.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis

from zenith_worker.wire import commands
from zenith_worker.wire.client import client
from zenith_worker.wire.commands import Command, Kind
from zenith_worker.wire.compat import StrEnum
from zenith_worker.wire.keys import application_keys

#: Zenith's own remote control command for Celery: stop taking messages from some queues, or from all (consumers.py).
STOP_CONSUMING: Final = "zenith_stop_consuming"
#: Celery's, which no worker answers.
SHUTDOWN: Final = "shutdown"

#: Seconds for which the workers' answers are waited for, and for which a server waits in all: a busy worker passes it on later.
ANSWERED_WITHIN: Final = 2.0
PATIENCE: Final = 5.0
#: Seconds between two looks for the answer, and for which an answer is kept that nobody fetches.
LOOK_EVERY: Final = 0.05
ANSWER_KEPT: Final = 10.0
#: Bytes of an answer that are read, and characters of one worker's answer that are passed on.
LARGEST: Final = 65_536
PASSED_ON: Final = 2000
#: Workers that one command names at most.
WORKERS_AT_MOST: Final = 20
#: Characters of a name, slots in one number, and seconds of a time limit at most.
_LONGEST: Final = 255
_MOST_SLOTS: Final = 1000
_MOST_SECONDS: Final = 366 * 86_400
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")


class Ability(StrEnum):
    """Whether a worker of an attached application obeys remote control, as its heartbeat tells.

    OFF: `worker_enable_remote_control` is false. NONE: its broker cannot carry it. A release that does not know tells nothing.
    """

    ON = "on"
    OFF = "off"
    NONE = "none"


class Answers(NamedTuple):
    """What came of a command: the answers of the workers that gave one, and why nothing was sent, if so."""

    by_worker: Mapping[str, Any]
    error: str = ""


class Request(NamedTuple):
    """A command for these workers, in Celery's words."""

    command: str
    arguments: Mapping[str, Any]
    workers: Sequence[str]
    token: str


class WithdrawnError(RuntimeError):
    """No worker of the application took the command in time; nobody will carry it out."""


#: Commands, and what each of their arguments may be.
Allowed = Mapping[str, Mapping[str, Callable[[Any], bool]]]


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a worker, a queue or a task."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def are_names(value: Any) -> bool:
    """Whether a value is a list of names."""
    return isinstance(value, list) and all(map(is_name, value))


def _is_slots(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST_SLOTS


def _is_limit(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value <= _MOST_SECONDS)


#: The commands to some workers. Celery's own take more, such as modules that a worker is to load again.
COMMANDS: Final[Allowed] = {
    "ping": {},
    "pool_grow": {"n": _is_slots},
    "pool_shrink": {"n": _is_slots},
    "autoscale": {"max": _is_slots, "min": _is_slots},
    "add_consumer": {"queue": is_name},
    STOP_CONSUMING: {"queues": are_names},
    "time_limit": {"task_name": is_name, "soft": _is_limit, "hard": _is_limit},
    "rate_limit": {"task_name": is_name, "rate_limit": is_name},
    "pool_restart": {},
    SHUTDOWN: {},
}


def ask(application: str, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> Answers:
    """Have an application's workers obey a command, and return what they answered in time.

    Raises WithdrawnError, ValueError for a command that there is not, and redis.RedisError, also if the application has put
    something else in the place of its keys.
    """
    body = {"command": command, "arguments": dict(arguments), "workers": list(workers), "token": uuid4().hex}
    request = request_of(body)
    entry = commands.ask(application, Kind.CONTROL, body)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if (found := _look(application, request)) is not None:
            return found
        time.sleep(LOOK_EVERY)
    if commands.take(application, entry):
        raise WithdrawnError(f"no worker of {application} took it within {PATIENCE:g} s")
    return _look(application, request) or Answers({})


def request_of(body: Mapping[str, Any], commands_: Allowed = COMMANDS, most: int = WORKERS_AT_MOST, fewest: int = 1) -> Request:
    """Return what the body of a CONTROL command asks for. Raises ValueError, with the reason, for what is not allowed.

    `most`, `fewest`: how many workers it may name.
    """
    command, arguments, workers, token = (body.get(name) for name in ("command", "arguments", "workers", "token"))
    if not is_token(token):
        raise ValueError("it has no token to be answered under")
    allowed = commands_.get(command) if isinstance(command, str) else None
    if allowed is None:
        raise ValueError(f"there is no command {command!r:.50}")
    if not (isinstance(arguments, dict) and all(name in allowed and allowed[name](arguments[name]) for name in arguments)):
        raise ValueError(f"{command} does not take these arguments")
    if not (isinstance(workers, list) and are_names(workers) and fewest <= len(workers) <= most):
        raise ValueError("it names no worker, or too many")
    return Request(str(command), arguments, workers, str(token))


def is_token(value: Any) -> bool:
    """Whether a value can be the token of an answer."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def is_due(command: Command) -> bool:
    """Whether a server still waits for the answer, by the clock of Redis. Raises redis.RedisError."""
    seconds, microseconds = client().time()
    return seconds + microseconds / 1e6 - int(command.id.partition("-")[0]) / 1000 <= PATIENCE


def answer(application: str, token: str, answers: Answers) -> None:
    """Leave the answer to the command with this token. Raises redis.RedisError."""
    if not _TOKEN.fullmatch(token):
        return
    by_worker = {name: passed_on(value) for name, value in answers.by_worker.items()}
    body = json.dumps({"answers": by_worker, "error": answers.error[:PASSED_ON]})
    client().set(application_keys(application).control + token, body, px=int(ANSWER_KEPT * 1000))


def passed_on(value: Any) -> Any:
    """Return a worker's answer as JSON holds it; one that is too long as the beginning of its text."""
    encoded = json.dumps(value, default=repr)
    return json.loads(encoded) if len(encoded) <= PASSED_ON else encoded[:PASSED_ON] + "…"


def _look(application: str, request: Request) -> Answers | None:
    """Return the answer if there is one. It is the application's own word, so only so much of it is read."""
    try:
        raw: Any = client().getrange(application_keys(application).control + request.token, 0, LARGEST)
    except redis.ResponseError as error:
        return Answers({}, f"its answer cannot be read ({error})")
    return _read(raw, request) if raw else None


def _read(raw: bytes, request: Request) -> Answers:
    try:
        values = json.loads(raw)
        answers, error = values["answers"], values["error"]
        if not (isinstance(answers, dict) and isinstance(error, str)):
            raise TypeError("answers or the error have a wrong type")
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        return Answers({}, f"its answer cannot be read ({type(problem).__name__})")
    return Answers({name: answers[name] for name in request.workers if name in answers}, error[:PASSED_ON])
