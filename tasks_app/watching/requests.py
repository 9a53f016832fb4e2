"""How a server has the observer of a watched application tell its workers something, since only engines know the broker's URL.

1. A server appends a request to the application's list in Redis, and waits for the answer for a few seconds (`ask`).
2. The observer takes it, unless its time is over, tells the workers, and leaves what they answered (`take`, `answer`).
3. Whoever sets the request's key in Redis first decides on it: the observer carries it out, or the server withdraws it. So it is
   carried out once at most, also if a connection is lost and a command repeated, and never later.

A request has the form of the commands to attached workers (zenith_worker/wire/control.py), and a time until which it holds, by
the clock of Redis. What is not one of COMMANDS is refused on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from tasks_app.errors import CommandWithdrawnError
from tasks_app.watching import observer_state
from zenith_site.common.errors import StateConflictError
from zenith_site.common.jsonsafe import storable_text
from zenith_worker.wire import control
from zenith_worker.wire.client import client
from zenith_worker.wire.control import Answers, Request
from zenith_worker.wire.keys import OBSERVER_ANSWER, OBSERVER_REQUESTS, OBSERVER_TAKEN

#: Celery's command for all workers: refuse tasks, and with a signal kill those that run.
REVOKE: Final = "revoke"
#: Ids that one request revokes, and workers that it names.
IDS_AT_MOST: Final = 100
WORKERS_AT_MOST: Final = 1000
#: Requests of an application that wait at most.
WAITING_AT_MOST: Final = 100
#: Seconds for which it is remembered who decided on a request, and for which an answer is kept that nobody fetches.
DECIDED_FOR: Final = 60
ANSWER_KEPT: Final = 10
#: Bytes of a request and of an answer that are read.
_LONGEST: Final = 2**21
_ID_LONGEST: Final = 1024


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= IDS_AT_MOST and all(map(_is_id, value))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _ID_LONGEST


#: What an observer is asked for.
COMMANDS: Final[control.Allowed] = {
    **control.COMMANDS,
    REVOKE: {"task_id": _are_ids, "terminate": lambda value: type(value) is bool, "signal": lambda value: value == "SIGKILL"},
}


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that this process carries out, and nobody else, within so many seconds."""

    request: Request
    seconds: float


def ask(application: str, command: str, arguments: Mapping[str, Any], workers: Sequence[str]) -> dict[str, Any]:
    """Have the workers of a watched application told something; return what those named answered in time, by name.

    Raises StateConflictError if it could not be sent or failed, CommandWithdrawnError if no observer took it in time, and
    redis.RedisError.
    """
    if reason := why_nobody_listens(application):
        raise StateConflictError(f"Nothing was sent to {application}: {reason}.")
    body = {"command": command, "arguments": dict(arguments), "workers": list(workers), "token": uuid4().hex}
    try:
        token = _request_of(body).token
    except ValueError as error:
        raise StateConflictError(f"The command cannot be sent: {error}.") from error
    _append(application, {**body, "until": _now() + control.PATIENCE})
    found: Any = client().blpop([OBSERVER_ANSWER + token], timeout=control.PATIENCE)
    if found is None and _decide(token):
        raise CommandWithdrawnError(application, control.PATIENCE, "observer")
    answers = Answers({}) if found is None else _read(found[1], workers)
    if answers.error:
        raise StateConflictError(f"The command to {application} failed: {answers.error}.")
    return dict(answers.by_worker)


def _append(application: str, body: Mapping[str, Any]) -> None:
    key = OBSERVER_REQUESTS + application
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps(body))
        pipe.ltrim(key, -WAITING_AT_MOST, -1)
        pipe.pexpire(key, int(control.PATIENCE * 1000))
        pipe.execute()


def why_nobody_listens(application: str) -> str:
    """Return why no observer reaches the workers of a watched application; empty if one does. Raises redis.RedisError."""
    state = observer_state.read(application)
    if state is None:
        return "no observer of it runs; an engine runs it (manage.py run_engine)"
    return "" if state.listens else f"its observer does not reach the broker: {state.reason}"


def take(application: str, block: float) -> Taken | None:
    """Return the next request to an application's observer that is still waited for, if one comes within so many seconds.

    Raises redis.RedisError, or ValueError, with the reason, for one that is not allowed.
    """
    found: Any = client().blpop([OBSERVER_REQUESTS + application], timeout=block)
    if found is None:
        return None
    if len(found[1]) > _LONGEST:
        raise ValueError("it is too long")
    try:
        body = json.loads(found[1])
        request, until = _request_of(body), float(body["until"])
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    seconds = until - _now()
    return Taken(request, min(seconds, control.PATIENCE)) if seconds > 0 and _decide(request.token) else None


def answer(request: Request, answers: Answers) -> None:
    """Leave what workers answered to a request. Raises redis.RedisError."""
    key = OBSERVER_ANSWER + request.token
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps({"answers": dict(answers.by_worker), "error": answers.error}))
        pipe.expire(key, ANSWER_KEPT)
        pipe.execute()


def _request_of(body: Mapping[str, Any]) -> Request:
    return control.request_of(body, COMMANDS, WORKERS_AT_MOST)


def _decide(token: str) -> bool:
    """Return whether this caller is the first to decide on a request. Raises redis.RedisError."""
    return bool(client().set(OBSERVER_TAKEN + token, 1, nx=True, ex=DECIDED_FOR))


def _now() -> float:
    seconds, microseconds = client().time()
    return float(seconds) + float(microseconds) / 1e6


def _read(raw: bytes, workers: Sequence[str]) -> Answers:
    try:
        if len(raw) > _LONGEST:
            raise ValueError("too long")
        values = json.loads(raw)
        answers, error = values["answers"], values["error"]
        return Answers(
            {name: answers[name] for name in workers if name in answers}, storable_text(str(error))[: control.PASSED_ON]
        )
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        return Answers({}, f"the answer cannot be read ({type(problem).__name__})")
