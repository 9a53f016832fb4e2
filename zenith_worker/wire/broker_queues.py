"""Reads kombu's Redis keys: what waits in a queue, and what workers hold unacknowledged.

The formats are kombu's (kombu/transport/redis.py): a queue is one list for each priority step. Somebody may have put something
else under such a key (`SET mail x`). Such a queue is reported as unreadable; that is not an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import redis

from zenith_worker.wire import messages
from zenith_worker.wire.broker_message import BrokerMessage, describe
from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import CLAIM, TAKEN, UNACKED, UNACKED_INDEX
from zenith_worker.wire.messages import PRIORITY_STEPS, keys_of, list_of, step_of, task_id
from zenith_worker.wire.queue_names import why_reserved

_PAGE: Final = 1000


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
        ids = (task_id(body) for _, body in readable if body)
        depths = tuple(0 if depth is _UNREADABLE else int(depth) for depth, _ in pairs)
        found[queue] = Waiting(depths, tuple(filter(None, ids)), unreadable=len(readable) < len(pairs))
    return found


def peek(queue: str, limit: int) -> list[BrokerMessage]:
    """Return the `limit` messages that wait longest in the list of each priority step. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for key in keys_of(queue):
            pipe.lrange(key, -limit, -1)
        pages = [() if page is _UNREADABLE else page for page in _answers(pipe)]
    return [
        describe(messages.envelope(body), step, position=place)
        for step, page in zip(PRIORITY_STEPS, pages)
        for place, body in enumerate(reversed(page), start=1)
    ]


def peek_unacknowledged(queue: str, limit: int) -> list[BrokerMessage]:
    """Return up to `limit` messages of a queue that workers hold. Raises redis.RedisError."""
    held: list[tuple[str, Any]] = []
    for tag, body in _unacknowledged():
        envelope, routed_to = messages.held(body)
        if routed_to == queue:
            held.append((text(tag), envelope))
        if len(held) >= limit:
            break
    holders = client().hmget(TAKEN, [tag for tag, _ in held]) if held else []
    return [
        describe(envelope, step_of(envelope), holder=text(holder) if holder else None)
        for (_, envelope), holder in zip(held, holders)
    ]


def unacknowledged_by_queue() -> dict[str, int]:
    """Return how many messages workers hold of each queue. Raises redis.RedisError."""
    return Counter(queue for _, body in _unacknowledged() if (queue := messages.held(body)[1]))


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
            yield from filter(None, map(task_id, page))
            start += _PAGE


def unacknowledged() -> dict[str, str]:
    """Return delivery tag → task id of everything that workers hold. Raises redis.RedisError."""
    return {text(tag): id_ for tag, body in _unacknowledged() if (id_ := task_id(body))}


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
    return bool(script(_PASS_ON, UNACKED, tag, UNACKED_INDEX, TAKEN, owner, list_of(queue, message), json.dumps(message)))


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
