"""Reads kombu's Redis keys: what waits in a queue, and what workers hold unacknowledged.

The formats are kombu's (kombu/transport/redis.py): a queue is one list for each priority step. Somebody may have put something
else under such a key (`SET mail x`). Such a queue is reported as unreadable; that is not an error.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import redis

from zenith_worker.wire.client import client, is_text, load, script, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import ALIVE, CLAIM, PRIORITY_SEPARATOR, TAKEN, UNACKED, UNACKED_INDEX
from zenith_worker.wire.queue_names import why_reserved
from zenith_worker.wire.routing import priority_of
from zenith_worker.wire.runs import RunNumber

#: kombu's priority steps, each with a list of its own; the lowest number is taken first.
PRIORITY_STEPS: Final = (0, 3, 6, 9)
_PAGE: Final = 1000
#: Stands for an unknown run of a worker.
NOBODY: Final = "nobody"
# The id in the message's headers, as a JSON string. Parsing the whole message would cost far more.
_TASK_ID: Final = re.compile(rb'"id": ?("(?:[^"\\]|\\.)*")')


def keys_of(queue: str) -> list[str]:
    """Return the lists that hold a queue's messages, one for each priority step."""
    return [queue if step == 0 else f"{queue}{PRIORITY_SEPARATOR}{step}" for step in PRIORITY_STEPS]


def depth(queue: str) -> int | None:
    """Return how many messages wait in a queue; None if it is unreadable. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for key in keys_of(queue):
            pipe.llen(key)
        lengths = _answers(pipe)
    return None if _UNREADABLE in lengths else sum(lengths)


def closed(queues: Iterable[str]) -> set[str]:
    """Return those of these queues that take no messages: with a reserved name, or unreadable. Raises redis.RedisError."""
    names = sorted(set(queues))
    with client().pipeline(transaction=False) as pipe:
        for key in (key for name in names for key in keys_of(name)):
            pipe.type(key)
        types = iter(pipe.execute())
    return {
        name for name in names
        if not {text(next(types)) for _ in PRIORITY_STEPS} <= {"list", "none"} or why_reserved(name)
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a queue: the number of messages in the list of each priority step, and the oldest task of each.

    `unreadable`: a key of one of them holds something that is not a list.
    """

    depths: tuple[int, ...]
    oldest_ids: tuple[str, ...]
    unreadable: bool = False


def waiting(queues: Sequence[str]) -> dict[str, Waiting]:
    """Return what waits in these queues, in one round trip. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for key in (key for queue in queues for key in keys_of(queue)):
            pipe.llen(key)
            pipe.lindex(key, -1)
        answers = iter(_answers(pipe))
    found = {}
    for queue in queues:
        pairs = [(next(answers), next(answers)) for _ in PRIORITY_STEPS]
        readable = [pair for pair in pairs if _UNREADABLE not in pair]
        ids = (_task_id(body) for _, body in readable if body)
        depths = tuple(0 if depth is _UNREADABLE else int(depth) for depth, _ in pairs)
        found[queue] = Waiting(depths, tuple(filter(None, ids)), unreadable=len(readable) < len(pairs))
    return found


@dataclass(frozen=True, slots=True)
class BrokerMessage:
    """One message, for display.

    Attributes:
        position: its place in its queue and priority step, from 1 for the next to be taken; None if a worker holds it.
        holder: the run of the worker that holds it.
    """

    task_id: str
    task_name: str
    priority: int
    step: int
    position: int | None = None
    redelivered: bool = False
    holder: str | None = None


def peek(queue: str, limit: int) -> list[BrokerMessage]:
    """Return the `limit` messages that wait longest in the list of each priority step. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for key in keys_of(queue):
            pipe.lrange(key, -limit, -1)
        pages = [() if page is _UNREADABLE else page for page in _answers(pipe)]
    return [
        _message(_envelope(body), step, position=place)
        for step, page in zip(PRIORITY_STEPS, pages)
        for place, body in enumerate(reversed(page), start=1)
    ]


def peek_unacknowledged(queue: str, limit: int) -> list[BrokerMessage]:
    """Return up to `limit` messages of a queue that workers hold. Raises redis.RedisError."""
    held: list[tuple[str, Any]] = []
    for tag, body in _unacknowledged():
        envelope, routed_to = _held(body)
        if routed_to == queue:
            held.append((text(tag), envelope))
        if len(held) >= limit:
            break
    holders = client().hmget(TAKEN, [tag for tag, _ in held]) if held else []
    return [
        _message(envelope, _step_of(envelope), holder=text(holder) if holder else None)
        for (_, envelope), holder in zip(held, holders)
    ]


def unacknowledged_by_queue() -> dict[str, int]:
    """Return how many messages workers hold of each queue. Raises redis.RedisError."""
    return Counter(queue for _, body in _unacknowledged() if (queue := _held(body)[1]))


_SWEEP: Final = load("claim", "queue_sweep")
_SWEPT_AT_ONCE: Final = 500


def sweep(queue: str) -> int:
    """Remove the messages of cancelled and ended tasks; return how many. Raises redis.RedisError."""
    dropped = 0
    for key in () if queue in closed([queue]) else keys_of(queue):
        left = int(client().llen(key))
        while left > 0:
            dropped += int(script(_SWEEP, key, min(_SWEPT_AT_ONCE, left), CLAIM))
            left -= _SWEPT_AT_ONCE
    return dropped


def waiting_ids(queue: str) -> Iterator[str]:
    """Yield the ids of the tasks that wait in a queue, page by page. Raises redis.RedisError.

    Messages that move while the pages are read may be missed; check again before acting on an absence.
    """
    for key in () if depth(queue) is None else keys_of(queue):
        start = 0
        while page := client().lrange(key, start, start + _PAGE - 1):
            yield from filter(None, map(_task_id, page))
            start += _PAGE


def unacknowledged() -> dict[str, str]:
    """Return delivery tag → task id of everything that workers hold. Raises redis.RedisError."""
    return {text(tag): id_ for tag, body in _unacknowledged() if (id_ := _task_id(body))}


def owners() -> dict[str, str]:
    """Return delivery tag → the run of a worker that took it. Raises redis.RedisError.

    An owner that is not text is not one of our workers. It is replaced by NOBODY, so that the message can be put back.
    """
    taken: dict[Any, Any] = client().hgetall(TAKEN)
    invalid = {tag: NOBODY for tag, owner in taken.items() if text(owner).encode() != owner}
    if invalid:
        client().hset(TAKEN, mapping=invalid)
    return {text(tag): text(owner) for tag, owner in {**taken, **invalid}.items()}


def dead(instances: Iterable[str]) -> set[str]:
    """Return those runs of workers whose heartbeats have stopped. Raises redis.RedisError."""
    names = sorted(set(instances))
    if not names:
        return set()
    heartbeats = client().mget([ALIVE + name for name in names])
    return {name for name, value in zip(names, heartbeats) if value is None}


_PUT_BACK: Final = load("claim", "queue_put_back")


class NotAMessageError(ValueError):
    """The value under a delivery tag is not a message of kombu's; `raw` is that value."""

    def __init__(self, raw: bytes) -> None:
        super().__init__("the stored value is not a message of kombu's")
        self.raw = raw


def put_back(tag: str, owner: str, *, unless_alive: bool = True) -> dict[str, Any] | None:
    """Put one message of a dead worker back at the head of its queue, and return its headers.

    Returns None if there is no message, if its owner is alive again, or if its attempt is over: then only the acknowledgement got
    lost, and the message is dropped. With `unless_alive` false, a living owner loses it too: one that has forgotten it. Raises
    redis.RedisError or NotAMessageError.
    """
    held: Any = client().hget(UNACKED, tag)
    message, queue = _held(held) if held else ({"headers": {}}, "")
    if held and not (queue and message.get("properties")):
        raise NotAMessageError(held)
    # In Celery's protocol 1 they are empty: the id is in the body.
    headers: dict[str, Any] = message.get("headers") or {}
    if held:
        headers["redelivered"] = True
        message["headers"] = headers
        info = message["properties"].get("delivery_info")
        message["properties"]["delivery_info"] = {**(info if isinstance(info, dict) else {}), "redelivered": True}
    answer = script(
        _PUT_BACK, UNACKED, tag, UNACKED_INDEX, TAKEN, owner, ALIVE + owner if unless_alive else "",
        _list_of(queue, message), json.dumps(message), CLAIM + str(headers.get("id", "")), RunNumber.of(headers).number,
    )  # fmt: skip
    return headers if answer else None


def drop(tag: str) -> None:
    """Remove everything under a delivery tag. Raises redis.RedisError."""
    with client().pipeline(transaction=True) as pipe:
        pipe.hdel(UNACKED, tag)
        pipe.zrem(UNACKED_INDEX, tag)
        pipe.hdel(TAKEN, tag)
        pipe.execute()


_PASS_ON: Final = load("queue_pass_on")


def pass_on(tag: str, owner: str, more: dict[str, Any]) -> bool:
    """Move a message that this worker holds to the end of its queue, with `more` headers; return False if it is not held.

    Raises redis.RedisError.
    """
    held = client().hget(UNACKED, tag)
    if not held:
        return False
    message, _exchange, queue = json.loads(held)
    message["headers"].update(more)
    return bool(script(_PASS_ON, UNACKED, tag, UNACKED_INDEX, TAKEN, owner, _list_of(queue, message), json.dumps(message)))


#: The answer for a key of another type.
_UNREADABLE: Final = object()


def _answers(pipe: Any) -> list[Any]:
    """Run a pipeline and return its answers, with _UNREADABLE for a key that is not a list."""
    return [_UNREADABLE if _is_wrong_type(answer) else _raised(answer) for answer in pipe.execute(raise_on_error=False)]


def _is_wrong_type(answer: Any) -> bool:
    return isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE")


def _raised(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _unacknowledged() -> Iterator[tuple[Any, Any]]:
    """Yield the delivery tag and the message of everything that workers hold; nothing if a queue has replaced the hash."""
    try:
        yield from client().hscan_iter(UNACKED, count=_PAGE)
    except redis.ResponseError as error:
        if not _is_wrong_type(error):
            raise


def _list_of(queue: str, message: dict[str, Any]) -> str:
    return keys_of(queue)[PRIORITY_STEPS.index(_step_of(message))]


def _step_of(message: dict[str, Any]) -> int:
    """Return the step of the message's priority, which kombu rounds down."""
    return max(item for item in PRIORITY_STEPS if item <= _priority_of(message))


def _priority_of(message: dict[str, Any]) -> int:
    return priority_of((message.get("properties") or {}).get("priority")) or 0


def _envelope(body: bytes | str) -> dict[str, Any]:
    """Return a message as kombu wrote it; empty if it is not kombu's."""
    try:
        return _checked(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _held(body: bytes | str) -> tuple[dict[str, Any], str]:
    """Return a message that a worker holds, and its queue; empty if it is not kombu's."""
    try:
        envelope, _exchange, queue = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}, ""
    if not isinstance(queue, str) or not is_text(queue):
        return {}, ""
    return _checked(envelope), queue


def _checked(envelope: Any) -> dict[str, Any]:
    if not isinstance(envelope, dict):
        return {}
    parts = (envelope.get("headers", {}), envelope.get("properties", {}))
    return envelope if all(isinstance(part, (dict, type(None))) for part in parts) else {}


def _message(envelope: dict[str, Any], step: int, *, position: int | None = None, holder: str | None = None) -> BrokerMessage:
    headers = envelope.get("headers") or {}
    return BrokerMessage(
        task_id=str(headers.get("id", "")), task_name=str(headers.get("task", "")), priority=_priority_of(envelope),
        step=step, position=position, redelivered=bool(headers.get("redelivered")), holder=holder,
    )  # fmt: skip


def _task_id(body: bytes | str) -> str | None:
    match = _TASK_ID.search(body if isinstance(body, bytes) else body.encode())
    try:
        return str(json.loads(match[1])) if match else None
    except (ValueError, RecursionError):
        return None
