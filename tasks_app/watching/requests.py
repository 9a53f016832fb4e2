"""How a server asks the observer of a watched application something, since only engines are sure to know the broker's URL.

1. A server appends a request to the application's list in Redis, and waits for the answer for a few seconds (`ask_observer`).
2. The observer takes it, unless its time is over, carries it out, and leaves what came of it (`take`, `answer`; answering.py).
3. Whoever sets the request's key in Redis first decides on it: the observer carries it out, or the server withdraws it. So it is
   carried out once at most, also if a connection is lost and a command repeated, and never later.

What is asked for is a command to workers (`ask`; remote_control.py) or a look into a queue (looks.py). A request has the form of
the commands to attached workers (zenith_worker/wire/control.py), and a time until which it holds, by the clock of Redis. What is
not one of COMMANDS is refused on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import uuid4

from tasks_app.errors import CommandWithdrawnError
from tasks_app.watching import observer_state
from zenith_site.common.errors import StateConflictError
from zenith_site.common.jsonsafe import storable_text
from zenith_worker.wire import control
from zenith_worker.wire.client import client
from zenith_worker.wire.control import Request
from zenith_worker.wire.keys import OBSERVER_ANSWER, OBSERVER_REQUESTS, OBSERVER_TAKEN

#: Celery's command for all workers: refuse tasks, and with a signal kill those that run.
REVOKE: Final = "revoke"
#: Zenith's own word for a look at the next messages of a queue, `limit` of each priority step. It is for no worker.
LOOK: Final = "look"
#: Ids that one request revokes, workers that it names, and messages of one priority step that it looks at.
IDS_AT_MOST: Final = 100
WORKERS_AT_MOST: Final = 1000
MESSAGES_AT_MOST: Final = 1000
#: Requests of an application that wait at most.
WAITING_AT_MOST: Final = 100
#: Seconds for which it is remembered who decided on a request, and for which an answer is kept that nobody fetches.
DECIDED_FOR: Final = 60
ANSWER_KEPT: Final = 10
#: Bytes of a request and of an answer that are read: JSON makes the 4 MiB of a look up to three times as long.
_LONGEST: Final = 2**21
_ANSWER_LONGEST: Final = 2**24
_ID_LONGEST: Final = 1024


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= IDS_AT_MOST and all(map(_is_id, value))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _ID_LONGEST


#: What an observer is asked for.
COMMANDS: Final[control.Allowed] = {
    **control.COMMANDS,
    REVOKE: {"task_id": _are_ids, "terminate": lambda value: type(value) is bool, "signal": lambda value: value == "SIGKILL"},
    LOOK: {"queue": control.is_name, "limit": lambda value: type(value) is int and 0 < value <= MESSAGES_AT_MOST},
}


class Answer(NamedTuple):
    """What came of a request: a value that JSON can hold, and why there is none, if so. Both are empty if nobody answered.

    The value is what workers answered, by their names, or the messages that were seen.
    """

    value: Any
    error: str = ""


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
    try:
        found = ask_observer(application, command, arguments, workers)
    except ValueError as error:
        raise StateConflictError(f"The command cannot be sent: {error}.") from error
    if found.error:
        raise StateConflictError(f"The command to {application} failed: {found.error}.")
    answers = found.value if isinstance(found.value, dict) else {}
    return {name: answers[name] for name in workers if name in answers}


def ask_observer(application: str, command: str, arguments: Mapping[str, Any], workers: Sequence[str] = ()) -> Answer:
    """Have the observer of a watched application carry out a request; return what came of it in time.

    Raises ValueError, with the reason, for a request that is not allowed, CommandWithdrawnError if no observer took it in time,
    and redis.RedisError.
    """
    body = {"command": command, "arguments": dict(arguments), "workers": list(workers), "token": uuid4().hex}
    token = _request_of(body).token
    _append(application, {**body, "until": _now() + control.PATIENCE})
    found: Any = client().blpop([OBSERVER_ANSWER + token], timeout=control.PATIENCE)
    if found is None and _decide(token):
        raise CommandWithdrawnError(application, control.PATIENCE, "observer")
    return Answer(None) if found is None else _read(found[1])


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


def answer(request: Request, found: Answer) -> None:
    """Leave what came of a request. Raises redis.RedisError."""
    key = OBSERVER_ANSWER + request.token
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps(found._asdict()))
        pipe.expire(key, ANSWER_KEPT)
        pipe.execute()


def _request_of(body: Mapping[str, Any]) -> Request:
    return control.request_of(body, COMMANDS, WORKERS_AT_MOST, fewest=0 if body.get("command") == LOOK else 1)


def _decide(token: str) -> bool:
    """Return whether this caller is the first to decide on a request. Raises redis.RedisError."""
    return bool(client().set(OBSERVER_TAKEN + token, 1, nx=True, ex=DECIDED_FOR))


def _now() -> float:
    seconds, microseconds = client().time()
    return float(seconds) + float(microseconds) / 1e6


def _read(raw: bytes) -> Answer:
    try:
        if len(raw) > _ANSWER_LONGEST:
            raise ValueError("too long")
        values = json.loads(raw)
        return Answer(values["value"], storable_text(str(values["error"]))[: control.PASSED_ON])
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        return Answer(None, f"the answer cannot be read ({type(problem).__name__})")
