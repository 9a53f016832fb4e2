"""Who may run a task: one key in Redis for each task that runs or just ran.

Brokers deliver at least once. A message comes again when its worker died, when a connection broke
while the task went on, or when a crash made the relay send it twice. So before a body runs, its
worker claims the task (`begin`), and an outcome counts only from whoever holds the claim
(`finish`). Both are atomic scripts:

- Free, or held by a dead process: the claim is taken; the former holder's outcome will not count.
- Held by a living one: this copy is dropped. The other's message is still unacknowledged, so the
  reconciler brings it back should that worker die.
- Ended lately, or cancelled: the body does not run.

A claim also counts how often the same attempt took its process with it (poison tasks).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tasks_app.broker import instance
from tasks_app.tracking.heartbeat import ALIVE
from tasks_app.tracking.line import client, script, text
from tasks_app.tracking.stream import STREAM, Event, encode

KEY: Final = "zenith:claim:"
#: Seconds that a claim is kept: while its task runs (the worker renews it), while a failed task waits
#: for its next attempt, after the task's end, and after its cancellation.
RUNNING_KEPT: Final = 120
WAITING_KEPT: Final = 7 * 24 * 3600
ENDED_KEPT: Final = 600
CANCELLED_KEPT: Final = 30 * 24 * 3600


class Verdict(StrEnum):
    """What `begin` found."""

    RUN = "run"
    TAKEN = "taken"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: `crashes` counts processes that died while running this attempt."""

    verdict: Verdict
    crashes: int = 0


#: Lua: whether a claim says that this attempt's message stands for nothing that is left to run.
OVER: Final = """
local function over(held, attempt)
  if not held then return false end
  local state, reached = string.match(held, '^(%a)|(%d+)|')
  if state == 'C' then return false end  -- its message is refused, which says so
  reached, attempt = tonumber(reached), tonumber(attempt)
  return state == 'E' or reached > attempt or (reached == attempt and state == 'W')
end
"""

# A claim's value: state|attempt|instance|delivery tag|pid|crashes; state is R (runs),
# W (waits for its next attempt), E (ended) or C (cancelled).
# ARGV: attempt, instance, tag, pid, seconds to keep, prefix of the keys of living instances.
_BEGIN: Final = """
local held = redis.call('GET', KEYS[1])
local crashes = 0
if held then
  local state, attempt, owner, tag, pid, died = string.match(held, '^(%a)|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)$')
  if state == 'C' then return {'cancelled', 0} end
  if state == 'E' then return {'ended', 0} end
  if tonumber(attempt) > tonumber(ARGV[1]) then return {'ended', 0} end
  if tonumber(attempt) == tonumber(ARGV[1]) then
    if state == 'W' then return {'ended', 0} end
    if owner == ARGV[2] and pid == ARGV[4] then
      crashes = tonumber(died)  -- asked again, because the answer got lost
    elseif owner == ARGV[2] then
      return {'sibling', tonumber(pid)}
    elseif redis.call('EXISTS', ARGV[6] .. owner) == 1 then
      return {'taken', 0}
    else
      crashes = tonumber(died) + 1
    end
  end
end
redis.call('SET', KEYS[1], table.concat({'R', ARGV[1], ARGV[2], ARGV[3], ARGV[4], crashes}, '|'), 'EX', ARGV[5])
return {'run', crashes}
"""

# ARGV: attempt, instance, tag, stream, entry, new state (E or W), seconds to keep.
_FINISH: Final = """
local held = redis.call('GET', KEYS[1])
local later = false
if held then
  local state, attempt, owner, tag = string.match(held, '^(%a)|(%d+)|([^|]*)|([^|]*)|')
  later = tonumber(attempt) > tonumber(ARGV[1]) and ARGV[6] == 'W'
  if state == 'R' and attempt == ARGV[1] and (owner ~= ARGV[2] or tag ~= ARGV[3]) then return 0 end
  if state == 'E' and not later then return 0 end
end
redis.call('XADD', ARGV[4], '*', 'e', ARGV[5])
-- The message of the next attempt leaves before a failed one is reported: it may run, or be over, by now.
if later then return 1 end
redis.call('SET', KEYS[1], ARGV[6] .. '|' .. ARGV[1] .. '|||0|0', 'EX', ARGV[7])
return 1
"""

# Releases a claim that this instance holds. ARGV: attempt, instance. Answers whether the attempt is still to be run.
_RELEASE: Final = (
    OVER
    + """
local held = redis.call('GET', KEYS[1])
if over(held, ARGV[1]) then return 0 end
if held and string.match(held, '^R|%d+|([^|]*)|') == ARGV[2] then redis.call('DEL', KEYS[1]) end
return 1
"""
)

# Leaves a claim without an owner, as the end of a whole worker does. ARGV: attempt, instance, pid of the
# dead process or 0 for any, seconds to keep. Answers whether the attempt is still to be run.
_ABANDON: Final = (
    OVER
    + """
local held = redis.call('GET', KEYS[1])
if over(held, ARGV[1]) then return 0 end
if not held then return 1 end
local attempt, owner, tag, pid, died = string.match(held, '^R|(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)$')
if owner == ARGV[2] and (ARGV[3] == '0' or pid == ARGV[3]) then
  redis.call('SET', KEYS[1], table.concat({'R', attempt, '', tag, pid, died}, '|'), 'EX', ARGV[4])
end
return 1
"""
)

# Cancels a task that does not run; ARGV: seconds to keep, prefix of the keys of living instances.
_CANCEL: Final = """
local held = redis.call('GET', KEYS[1])
if held then
  local state, owner = string.match(held, '^(%a)|%d+|([^|]*)|')
  if state == 'E' then return 'ended' end
  if state == 'R' and redis.call('EXISTS', ARGV[2] .. owner) == 1 then return 'taken' end
end
redis.call('SET', KEYS[1], 'C|0|||0|0', 'EX', ARGV[1])
return 'cancelled'
"""


def begin(task_id: str, *, attempt: int, tag: str) -> Claim:
    """Claim a task for this process before its body runs. Raises redis.RedisError."""
    pid = os.getpid()
    while True:
        answer = script(_BEGIN, KEY + task_id, attempt, instance(), tag, pid, RUNNING_KEPT, ALIVE)
        verdict, number = text(answer[0]), int(answer[1])
        if verdict != "sibling":
            return Claim(Verdict(verdict), number)
        # Held by another process of this worker: only this machine can tell whether it lives.
        if _lives(number):
            return Claim(Verdict.TAKEN)
        script(_ABANDON, KEY + task_id, attempt, instance(), number, WAITING_KEPT)


def finish(event: Event, *, tag: str, ends: bool) -> bool:
    """Report an outcome and let go of the claim, in one step; return False where another holds it.

    Raises redis.RedisError; then it may or may not have been reported, and can be again.
    """
    kept = ENDED_KEPT if ends else WAITING_KEPT
    answer = script(_FINISH, KEY + event.task_id, event.attempt, instance(), tag, STREAM, encode([event]), "EW"[not ends], kept)
    return bool(answer)


def renew(task_ids: Iterable[str]) -> None:
    """Keep the claims of tasks that this worker runs; one nobody renews runs out. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for task_id in task_ids:
            pipe.expire(KEY + task_id, RUNNING_KEPT)
        pipe.execute()


def release(task_id: str, attempt: int) -> bool:
    """Let go of a task that this worker hands back on purpose; return whether it is still to be run.

    Raises redis.RedisError.
    """
    return bool(script(_RELEASE, KEY + task_id, attempt, instance()))


def abandon(task_id: str, attempt: int, owner: str) -> bool:
    """Note that the process of this run of a worker, which held the task, died: it counts as a crash.

    Any worker may take the task over; the count is kept however long it waits for that. Returns whether
    the attempt is still to be run: its outcome may be reported already. Raises redis.RedisError.
    """
    return bool(script(_ABANDON, KEY + task_id, attempt, owner, 0, WAITING_KEPT))


def cancel(task_id: str) -> Verdict:
    """Keep a task from ever starting; return TAKEN or ENDED where that is too late."""
    return Verdict(text(script(_CANCEL, KEY + task_id, CANCELLED_KEPT, ALIVE)))


def has_ended(task_ids: list[str]) -> set[str]:
    """Return which of these tasks reported their end lately. Raises redis.RedisError."""
    return {id_ for id_, (state, _) in _states(task_ids).items() if state == "E"}


def failed_attempts(task_ids: list[str]) -> dict[str, int]:
    """Return the newest failed attempt (from 0) of those tasks that wait for their next one. Raises redis.RedisError."""
    return {id_: attempt for id_, (state, attempt) in _states(task_ids).items() if state == "W"}


def _states(task_ids: list[str]) -> dict[str, tuple[str, int]]:
    if not task_ids:
        return {}
    held = client().mget([KEY + task_id for task_id in task_ids])
    parts = {id_: text(value).split("|") for id_, value in zip(task_ids, held, strict=True) if value}
    return {id_: (state, int(attempt)) for id_, (state, attempt, *_) in parts.items()}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
