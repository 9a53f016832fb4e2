"""Claims: the right to run a task, as one key in Redis for each task that runs or just ran.

Brokers deliver at least once. A message is delivered again if its worker died, if a connection broke while the task continued, or
if a crash made the relay send it twice. So before a body runs, its worker claims the task (`begin`), and an outcome counts only
from the holder of the claim (`finish`). Both are atomic scripts:

- Free, or held by a dead process or a delivery that is over: the claim is taken; the former holder's outcome will not count.
- Held by a living process: this copy does not run.
- Ended lately, or cancelled: the body does not run.

A holder is one delivery (`token`), since one process may run several, and one message may be delivered to it twice. A claim also
counts how often the same attempt killed its process (poison tasks). lua/claim.lua defines its format.

Each application has claims of its own; these are those of the application that this process belongs to (keys.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import field
from typing import Final

from zenith_worker.wire.client import client, load, load_earlier, script, text
from zenith_worker.wire.compat import StrEnum, dataclass
from zenith_worker.wire.events import Event, encode
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import own_keys
from zenith_worker.wire.runs import RunNumber

#: Seconds that a claim is kept: while its task runs (the worker renews it), while a failed task waits for its next attempt, after
#: the task's end, and after its cancellation.
RUNNING_KEPT: Final = 120
WAITING_KEPT: Final = 7 * 24 * 3600
ENDED_KEPT: Final = 600
CANCELLED_KEPT: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Stored:
    """A result for Celery's result backend: its key, its value, and the seconds until it expires (None: never)."""

    key: bytes
    value: bytes | str
    expires: int | None


class Verdict(StrEnum):
    """The result of `begin`."""

    RUN = "run"
    TAKEN = "taken"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        crashes: processes that died while running this attempt.
        lease: seconds for which nobody can take the claim over, even if this worker's next heartbeats get lost.
        holder: the token of the delivery that runs, if the task is taken.
    """

    verdict: Verdict
    crashes: int = 0
    lease: float = field(default=0.0, compare=False)
    holder: str = field(default="", compare=False)


_BEGIN: Final = load("claim", "claim_begin")
_HOLDS: Final = load("claim", "claim_holds")
_FINISH: Final = load("claim", "claim_finish")
_RELEASE: Final = load("claim", "claim_release")
_ABANDON: Final = load("claim", "claim_abandon")
_CANCEL: Final = load("claim", "claim_cancel")
#: What an isolated application's processes run. Its Redis user may send no scripts, so an engine loads these, and those of
#: released workers that may still run: if one of these scripts changes, the text of the last release goes into lua/earlier.
SCRIPTS: Final = (_BEGIN, _HOLDS, _FINISH, _RELEASE, _ABANDON, _CANCEL, *load_earlier())


#: The deliveries that run in this process, as (task id, token): another of the same process is no copy of theirs once they ended.
_running: Final[set[tuple[str, str]]] = set()


def begin(task_id: str, *, run: RunNumber, token: str) -> Claim:
    """Claim a task for this delivery before its body runs. Raises redis.RedisError; then it can be repeated."""
    pid, keys = os.getpid(), own_keys()
    while True:
        answer = script(
            _BEGIN, keys.claim + task_id, run.number, instance(), token, pid, RUNNING_KEPT, keys.alive, keys.cancelled, task_id
        )  # fmt: skip
        verdict, number = text(answer[0]), int(answer[1])
        if verdict == Verdict.RUN:
            _running.add((task_id, token))
            return Claim(Verdict.RUN, number, lease=min(int(answer[2]) / 1000, RUNNING_KEPT))
        if verdict != "sibling":
            return Claim(Verdict(verdict), number, holder=text(answer[2]) if len(answer) > 2 else "")
        # Another process of this worker holds it, or another delivery in this process: only this machine can tell whether that
        # goes on.
        held_by = text(answer[2])
        if (task_id, held_by) in _running if number == pid else _lives(number):
            return Claim(Verdict.TAKEN, holder=held_by)
        # A delivery that ended in this process without an outcome has not crashed.
        crashed = number != pid
        script(_ABANDON, keys.claim + task_id, run.number, instance(), number, WAITING_KEPT, held_by, int(crashed))


def end(task_id: str, token: str) -> None:
    """Note that a delivery no longer runs in this process, whatever became of it."""
    _running.discard((task_id, token))


def holds(task_id: str, *, run: RunNumber, token: str) -> bool:
    """Return whether an outcome of this delivery would count now (`finish`). Raises redis.RedisError."""
    return bool(script(_HOLDS, own_keys().claim + task_id, run.number, instance(), token))


def finish(event: Event, *, token: str, ends: bool, stored: Stored | None = None, long: bool = False) -> bool:
    """Report an outcome, store its result, wake its waiters, and release the claim, in one step.

    Returns False if another worker holds the claim; then nothing was done. With `long` the end is remembered for as long as a
    copy of the message may wait in its queue. Raises redis.RedisError; then it may have been done, and can be repeated.
    """
    kept = ENDED_KEPT if ends and not long else WAITING_KEPT
    result = (stored.key, stored.value, stored.expires or 0) if stored else ()
    keys = own_keys()
    about = (event.run.number, instance(), token, keys.events, encode([event]), "E" if ends else "W", kept)
    return bool(script(_FINISH, keys.claim + event.task_id, *about, *result))


_STORE: Final = load("result_store")


def store(stored: Stored) -> None:
    """Store a state of a task that is not its end, and wake its waiters. Raises redis.RedisError."""
    script(_STORE, text(stored.key), stored.value, stored.expires or 0)


def renew(deliveries: Iterable[tuple[str, str]]) -> None:
    """Renew the claims of the deliveries (task id, token) that this worker runs, before they expire. Raises redis.RedisError.

    A delivery that only waits for another one renews nothing: the claim of one that is over must expire.
    """
    prefix, listed = own_keys().claim, list(deliveries)
    with client().pipeline(transaction=False) as pipe:
        for task_id, _ in listed:
            pipe.get(prefix + task_id)
        values = pipe.execute(raise_on_error=False)
        for (task_id, token), value in zip(listed, values):
            if isinstance(value, (bytes, str)) and text(value).split("|")[2:4] == [instance(), token]:
                pipe.expire(prefix + task_id, RUNNING_KEPT)
        pipe.execute()


def release(task_id: str, run: RunNumber) -> bool:
    """Release a task that this worker hands back; return whether it still has to run.

    Raises redis.RedisError.
    """
    return bool(script(_RELEASE, own_keys().claim + task_id, run.number, instance()))


def abandon(task_id: str, run: RunNumber, owner: str) -> bool:
    """Record that the process which held the task, of this run of a worker, died: that counts as a crash.

    Any worker may then take the task over; the count is kept however long that takes. Returns whether the attempt still has to
    run: its outcome may already be reported. Raises redis.RedisError.
    """
    return bool(script(_ABANDON, own_keys().claim + task_id, run.number, owner, 0, WAITING_KEPT, "", 1))


def cancel(task_id: str) -> Verdict:
    """Keep a task from ever starting; return TAKEN or ENDED if it is too late."""
    keys = own_keys()
    return Verdict(text(script(_CANCEL, keys.claim + task_id, CANCELLED_KEPT, keys.alive)))


def has_ended(task_ids: list[str]) -> set[str]:
    """Return those of these tasks that reported their end lately. Raises redis.RedisError."""
    return {id_ for id_, (state, _) in _states(task_ids).items() if state == "E"}


def failed_runs(task_ids: list[str]) -> dict[str, int]:
    """Return the number (RunNumber.number) of the last failed run of those tasks that wait for their next one.

    Raises redis.RedisError.
    """
    return {id_: run for id_, (state, run) in _states(task_ids).items() if state == "W"}


def _states(task_ids: list[str]) -> dict[str, tuple[str, int]]:
    if not task_ids:
        return {}
    held = client().mget([own_keys().claim + task_id for task_id in task_ids])
    # As lua/claim.lua writes them.
    parts = {id_: text(value).split("|") for id_, value in zip(task_ids, held) if value}
    return {id_: (state, int(attempt)) for id_, (state, attempt, *_) in parts.items()}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
