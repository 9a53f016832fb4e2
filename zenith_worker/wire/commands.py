"""Commands to an attached application: what Zenith asks its workers to do with their own Celery app.

1. A server appends commands to the application's stream of commands: tasks to send (`hand_over`), or another one (`ask`).
2. One of its workers reads a command (`read`), carries it out and confirms it (`confirm`), which reports what came of it and
   removes the command in one transaction.
3. What a worker had read when it died, another one takes over (`take_over`) once its heartbeat has expired.

So a command is carried out at least once, and twice only if a worker is killed between the deed and its confirmation. A task is
handed over once, however often servers try: its id is remembered until a day after it was confirmed. Remote control and
purges are carried out once at most: a worker removes such a command first (`take`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import redis
from kombu.utils import json as kombu_json

from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.compat import StrEnum
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.heartbeat import DEAD_AFTER
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.stream import streams_of

GROUP: Final = "workers"
#: Seconds for which a confirmed task is remembered: longer than any recorder is behind.
HANDED_KEPT: Final = 86_400
#: Seconds for which a command that was read or taken over stays with its worker: as long as a heartbeat lives.
IDLE_AT_LEAST: Final = DEAD_AFTER
#: Commands that wait for a worker at most; servers hand over no more until some are confirmed.
WAITING_AT_MOST: Final = 10_000
#: Cancelled tasks that are remembered, and for how many seconds: longer than messages stay with a broker, as a rule.
CANCELLED_AT_MOST: Final = 10_000
CANCELLED_KEPT: Final = 7 * 86_400

_HAND_OVER: Final = load("commands_hand_over")
_FORGET: Final = load("commands_forget")


class Kind(StrEnum):
    """What a command asks for.

    SEND: publish a task's message, by the task's own `apply_async`. Body: `id`, `task`, `args`, `kwargs`, and `options`, each as
    `apply_async` takes it (`queue`, `priority`, `expires` in ISO 8601, `time_limit`, `soft_time_limit`, `headers`, `link`,
    `link_error`, `chain`, `ignore_result`, `shadow`, `root_id`, `parent_id`).
    REVOKE: revoke tasks on all of the application's workers. Body: `ids`, and `signal` to kill those that run.
    CONTROL: have some of its workers obey a remote control command (control.py). Body: `command`, `arguments`, `workers` and the
    `token` of the answer.
    PURGE: remove the messages that wait in a queue (purges.py). Body: `queue`, `by` whom, `most` messages, and the `token` of the
    answer.
    """

    SEND = "send"
    REVOKE = "revoke"
    CONTROL = "control"
    PURGE = "purge"


class Command(NamedTuple):
    """A command as a worker reads it; the id is that of its entry. A body that is no JSON object is empty."""

    id: str
    kind: str
    body: Mapping[str, Any]


def hand_over(application: str, sends: Sequence[Mapping[str, Any]]) -> int:
    """Ask an application's workers to send these tasks (bodies of SEND); return how many had not been handed over before.

    Raises redis.RedisError, also if the application has put something else in the place of its keys.
    """
    keys = application_keys(application)
    pairs = [part for body in sends for part in (body["id"], _encoded(Kind.SEND, body))]
    return int(script(_HAND_OVER, keys.commands, GROUP, keys.handed, HANDED_KEPT, *pairs))


def handed_over(application: str, ids: Sequence[str]) -> set[str]:
    """Return which of these tasks were handed over, and not lost since. Raises redis.RedisError."""
    if not ids:
        return set()
    keys = application_keys(application)
    with client().pipeline(transaction=True) as pipe:
        pipe.zmscore(keys.handed, list(ids))
        pipe.xlen(keys.commands)
        scores, waiting_now = pipe.execute()
    # Unconfirmed tasks have an infinite score. If the stream is empty, their commands were lost with it.
    return {id_ for id_, score in zip(ids, scores) if score is not None and (waiting_now or score < math.inf)}


def ask(application: str, kind: Kind, body: Mapping[str, Any]) -> str:
    """Ask one of an application's workers for something else; return the command's id. Raises redis.RedisError."""
    key = application_keys(application).commands
    try:
        client().xgroup_create(key, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
    id_: Any = client().xadd(key, {"c": _encoded(kind, body)})
    return text(id_)


def take(application: str, command_id: str) -> bool:
    """Remove a command that must not be carried out twice; return whether this caller did, and nobody before it.

    A worker takes it and carries it out; the server that asked takes it back. Raises redis.RedisError.
    """
    key = application_keys(application).commands
    with client().pipeline(transaction=True) as pipe:
        pipe.xack(key, GROUP, command_id)
        pipe.xdel(key, command_id)
        return bool(pipe.execute()[1])


def waiting(application: str) -> int:
    """Return how many commands were not confirmed yet. Raises redis.RedisError."""
    return int(client().xlen(application_keys(application).commands))


def forget_gone_workers(application: str) -> int:
    """Forget the runs of workers that are over and left no command behind; return how many. Raises redis.RedisError."""
    keys = application_keys(application)
    return int(script(_FORGET, keys.commands, GROUP, keys.alive)) if client().exists(keys.commands) else 0


def read(application: str, *, count: int, block: float = 0.0, again: bool = False) -> list[Command]:
    """Return new commands for this worker, waiting at most `block` seconds for the first; or those it has read before (`again`).

    Raises redis.ResponseError (NOGROUP) before the first command was ever sent, and redis.RedisError.
    """
    key = application_keys(application).commands
    start, wait = ("0", None) if again else (">", max(1, int(block * 1000)))
    answer = client().xreadgroup(GROUP, instance(), {key: start}, count=count, block=wait)
    return [_command(*row) for _, rows in streams_of(answer or ()) for row in rows]


def take_over(application: str, *, count: int) -> list[Command]:
    """Return the oldest commands that dead workers had read, which are this worker's now.

    Each command goes to one of several workers that try at once: taking it over makes it recent. Raises redis.RedisError.
    """
    keys = application_keys(application)
    taken: list[Command] = []
    for consumer in client().xpending(keys.commands, GROUP)["consumers"]:
        name = text(consumer["name"])
        if name == instance() or client().exists(keys.alive + name):
            continue
        pending: Any = client().xpending_range(keys.commands, GROUP, "-", "+", count, consumername=name)
        ids = [row["message_id"] for row in pending]
        if ids:
            claimed: Any = client().xclaim(keys.commands, GROUP, instance(), int(IDLE_AT_LEAST * 1000), ids)
            # Before Redis 7, an entry that was removed meanwhile is empty.
            taken += [_command(*row) for row in claimed if row and row[0] is not None]
    return taken


def confirm(application: str, commands: Iterable[Command], events: Sequence[Event]) -> None:
    """Remove commands that were carried out, and report what came of them, all or nothing. Raises redis.RedisError."""
    keys, commands = application_keys(application), list(commands)
    sent: Any = {text(command.body["id"]): client().time()[0] for command in commands if _names_a_task(command)}
    with client().pipeline(transaction=True) as pipe:
        if events:
            pipe.xadd(keys.events, {"e": encode(events)})
        if sent:
            pipe.zadd(keys.handed, sent)
        for command in commands:
            pipe.xack(keys.commands, GROUP, command.id)
            pipe.xdel(keys.commands, command.id)
        pipe.execute()


def remember_cancelled(application: str, ids: Sequence[str]) -> None:
    """Have workers that start later refuse these tasks as well. Raises redis.RedisError."""
    key, now = application_keys(application).cancelled, client().time()[0]
    if not ids:
        return
    with client().pipeline(transaction=True) as pipe:
        pipe.zadd(key, dict.fromkeys(ids, now))
        pipe.zremrangebyscore(key, "-inf", now - CANCELLED_KEPT)
        pipe.zremrangebyrank(key, 0, -CANCELLED_AT_MOST - 1)
        pipe.execute()


def cancelled(application: str) -> list[str]:
    """Return the ids of the cancelled tasks that an application's workers must refuse. Raises redis.RedisError."""
    ids: Any = client().zrange(application_keys(application).cancelled, 0, -1)
    return [text(id_) for id_ in ids]


def _names_a_task(command: Command) -> bool:
    return command.kind == Kind.SEND and isinstance(command.body.get("id"), str)


def _encoded(kind: Kind, body: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind.value, **body})


def _command(entry_id: Any, members: Any) -> Command:
    body = _decoded((members or {}).get(b"c") or b"null")
    body = body if isinstance(body, dict) else {}
    return Command(text(entry_id), str(body.pop("kind", "")), body)


def _decoded(raw: bytes) -> Any:
    """Return what a command's JSON holds, or None. Dates, decimals and so on are what they were when a worker reported them."""
    for loads in (kombu_json.loads, json.loads):
        try:
            return loads(raw)
        except Exception:  # noqa: S112 -- whatever a value raises that only looks like one of kombu's
            continue
    return None
