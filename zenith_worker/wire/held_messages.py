"""The messages that workers hold unacknowledged at a broker that is a Redis, and which run of a worker holds each.

Kombu records what is held, but not by whom. Zenith's transports note that in a hash beside it (`taken`), in the transaction that
records the message, so that a dead worker's messages can go back to their queues at once. An owner is noted as

    RUN             by Zenith's own workers (transport.py): the message goes back by its routing key
    RUN TIME LIST   by workers of other applications (recovery_transport.py): to the list that it came from, and only if kombu's
                    record of it still bears that time. A worker that notes nothing may have taken the message since.

A run is alive while its key exists (`alive`), in the same Redis, so that one script checks that and puts the message back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple

import redis

from zenith_worker.wire import client as zenith
from zenith_worker.wire import messages
from zenith_worker.wire.client import load, text
from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.keys import ALIVE, CLAIM, TAKEN, UNACKED, UNACKED_INDEX
from zenith_worker.wire.runs import RunNumber

#: Stands for an unknown run of a worker.
NOBODY: Final = "nobody"
_NOTE: Final = re.compile(r"([0-9a-f]{32}) ([0-9.]+) ?(.*)", re.DOTALL)
_PUT_BACK: Final = load("claim", "held", "queue_put_back")
_ACKNOWLEDGE: Final = load("held", "queue_acknowledge")


class NotAMessageError(ValueError):
    """The value under a delivery tag is not a message of kombu's; `raw` is that value."""

    def __init__(self, raw: bytes) -> None:
        super().__init__("the stored value is not a message of kombu's")
        self.raw = raw


class Owner(NamedTuple):
    """Who took a message, as it is noted: the run of a worker; and when (Unix time, seconds) and from which list, if that is."""

    run: str
    taken_at: str = ""
    place: str = ""

    @classmethod
    def parse(cls, note: str) -> Owner:
        """Return the owner of a note; what has no time is the name of a run, whatever it is."""
        match = _NOTE.fullmatch(note)
        return cls(*match.groups()) if match else cls(note)

    @property
    def note(self) -> str:
        """The owner as it is noted."""
        return " ".join(filter(None, self))


@dataclass(frozen=True, slots=True)
class HeldMessages:
    """What workers hold at one broker.

    Attributes:
        client: makes or returns the client of its Redis.
        prefix: the prefix of all keys: kombu's `global_keyprefix`.
        unacked, unacked_index: kombu's keys.
        taken, alive: the hash of owners, and the prefix of the keys of living runs.
        claim: the prefix of the claims of its tasks, if they lie in the same Redis.
    """

    client: Callable[[], redis.Redis]
    prefix: str = ""
    unacked: str = UNACKED
    unacked_index: str = UNACKED_INDEX
    taken: str = TAKEN
    alive: str = ALIVE
    claim: str = ""

    def owners(self) -> dict[str, str]:
        """Return delivery tag → the owner's note. Raises redis.RedisError.

        An owner that is not text is not one of our workers. It is replaced by NOBODY, so that the message can be put back.
        """
        taken: dict[Any, Any] = self.client().hgetall(self.prefix + self.taken)
        invalid = {tag: NOBODY for tag, owner in taken.items() if text(owner).encode() != owner}
        if invalid:
            self.client().hset(self.prefix + self.taken, mapping=invalid)
        return {text(tag): text(owner) for tag, owner in {**taken, **invalid}.items()}

    def dead(self, notes: Iterable[str]) -> set[str]:
        """Return those of these owners' notes whose run of a worker is dead. Raises redis.RedisError."""
        run_of = {note: Owner.parse(note).run for note in notes}
        runs = sorted(set(run_of.values()))
        if not runs:
            return set()
        heartbeats = self.client().mget([self.prefix + self.alive + run for run in runs])
        dead = {run for run, value in zip(runs, heartbeats) if value is None}
        return {note for note, run in run_of.items() if run in dead}

    def put_back(self, tag: str, note: str, *, unless_alive: bool = True) -> dict[str, Any] | None:
        """Put one message of a dead worker back at the head of its queue, and return its headers.

        Returns None if there is no message, if its owner is another one or alive again, or if its attempt is over: then only the
        acknowledgement got lost, and the message is dropped. With `unless_alive` false, a living owner loses it too: one that has
        forgotten it. Raises redis.RedisError or NotAMessageError.
        """
        held: Any = self.client().hget(self.prefix + self.unacked, tag)
        message, routing_key = messages.held(held) if held else ({"headers": {}}, "")
        owner = Owner.parse(note)
        # An application's exchange may route by no key.
        if held and not (message.get("properties") and (routing_key or owner.place)):
            raise NotAMessageError(held)
        # In Celery's protocol 1 they are empty: the id is in the body.
        headers: dict[str, Any] = message.get("headers") or {}
        if held:
            headers["redelivered"] = True
            message["headers"] = headers
            info = message["properties"].get("delivery_info")
            message["properties"]["delivery_info"] = {**(info if isinstance(info, dict) else {}), "redelivered": True}
        answer = self._script(
            _PUT_BACK, tag, note, owner.taken_at,
            self.prefix + self.alive + owner.run if unless_alive else "",
            self.prefix + (owner.place or messages.list_of(routing_key, message)), json.dumps(message),
            self.claim and self.claim + str(headers.get("id", "")), RunNumber.of(headers).number,
        )  # fmt: skip
        return headers if answer else None

    def acknowledge(self, tag: str, note: str) -> bool:
        """Remove a message that its owner is done with; return False if it is another's by now. Raises redis.RedisError."""
        return bool(self._script(_ACKNOWLEDGE, tag, note, Owner.parse(note).taken_at))

    def forget(self, tag: str) -> None:
        """Remove the note of an owner, and nothing of kombu's. Raises redis.RedisError."""
        self.client().hdel(self.prefix + self.taken, tag)

    def drop(self, tag: str) -> None:
        """Remove everything under a delivery tag. Raises redis.RedisError."""
        with self.client().pipeline(transaction=True) as pipe:
            pipe.hdel(self.prefix + self.unacked, tag)
            pipe.zrem(self.prefix + self.unacked_index, tag)
            pipe.hdel(self.prefix + self.taken, tag)
            pipe.execute()

    def _script(self, source: str, tag: str, *arguments: Any) -> Any:
        keys = (self.prefix + self.unacked, tag, self.prefix + self.unacked_index, self.prefix + self.taken)
        return run_script(self.client(), source, *keys, *arguments)


#: Those of Zenith's own workers.
NATIVE: Final = HeldMessages(zenith.client, claim=CLAIM)


def run_script(client: redis.Redis, source: str, key: str, *arguments: Any) -> Any:
    """Run a Lua script on one key of a broker's Redis, by its digest if the server knows it. Raises redis.RedisError."""
    try:
        return client.evalsha(_digest(source), 1, key, *arguments)
    except redis.exceptions.NoScriptError:
        return client.eval(source, 1, key, *arguments)


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
