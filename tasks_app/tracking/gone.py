"""Clearing workers that are gone from the list, before they are forgotten by themselves (heartbeat.KEPT).

What the reconciler needs of one stays: a worker whose messages were not given to others yet cannot be cleared, and the key by
which its run counts as alive is not touched. One that beats again is simply there again.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from tasks_app.broker import TAKEN
from tasks_app.tracking.heartbeat import DEAD_AFTER, KEPT, KEY, NAMES
from tasks_app.tracking.line import client, script, text

_CLEARED: Final = "zenith:cleared:"

# KEYS: the names. ARGV: name, its heartbeat, milliseconds that a heartbeat is kept and after which a worker is dead, taken
# messages, the note that it was cleared, by whom. One step: between a look and the removal it might have come back.
_CLEAR: Final = """
local left = redis.call('PTTL', ARGV[2])
if left < 0 then return 'unknown' end
if ARGV[3] - left < ARGV[4] + 0 then return 'beating' end
local run = cjson.decode(redis.call('GET', ARGV[2]))['instance']
for _, owner in ipairs(redis.call('HVALS', ARGV[5])) do
  if owner == run then return 'holding' end
end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('DEL', ARGV[2])
redis.call('SET', ARGV[6], ARGV[7], 'PX', ARGV[3])
return 'cleared'
"""


class Outcome(StrEnum):
    """What became of it: CLEARED, or why not."""

    CLEARED = "cleared"
    #: There is no worker of this name.
    UNKNOWN = "unknown"
    #: It was heard of within DEAD_AFTER.
    BEATING = "beating"
    #: Tasks that it had taken wait for the reconciler to give them to others.
    HOLDING = "holding"


def clear(name: str, by: str) -> Outcome:
    """Remove a dead worker from the list, noting who did it. Raises redis.RedisError."""
    arguments = (KEY + name, int(KEPT * 1000), int(DEAD_AFTER * 1000), TAKEN, _CLEARED + name, by)
    return Outcome(text(script(_CLEAR, NAMES, name, *arguments)))


def cleared_by(names: Iterable[str]) -> dict[str, str]:
    """Return who cleared those of these workers that were cleared. Raises redis.RedisError.

    It is known for as long as a heartbeat is kept: a worker that came back since, died and was forgotten is never among them.
    """
    wanted = sorted(names)
    found = client().mget([_CLEARED + name for name in wanted]) if wanted else []
    return {name: text(by) for name, by in zip(wanted, found, strict=True) if by is not None}
