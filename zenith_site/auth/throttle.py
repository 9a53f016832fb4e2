"""How often a password may be tried, at the login and where one changes one's own.

After five failures there is a delay, which doubles, per account and per address.

1. An attempt is counted *before* the password is looked at, in one script inside Redis, so however
   many are made at once, no more than five are looked at.
2. The fifth starts a delay of 10 s, and each further one a delay twice as long, up to a quarter of
   an hour. During it nothing is looked at, the right password included, and nothing is counted.
3. A success forgets the account's failures and takes back its own count from the address; an
   hour without failure forgets all.

An account that does not exist is counted like one that does: the answers tell no difference.
"""

import hashlib
import math
from functools import cache
from ipaddress import ip_address
from typing import Final

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from zenith_worker.wire.keys import LOGIN_ACCOUNT, LOGIN_ADDRESS

#: Failures without any delay.
FREE: Final = 5
#: Milliseconds: the first delay, the longest, and how long a failure is remembered.
FIRST: Final = 10_000
LONGEST: Final = 900_000
REMEMBERED: Final = 3_600_000
#: What the audit log is told of whom it stops.
WHY: Final = "Several attempts with a wrong password came before."
#: Seconds that a login waits for Redis.
_PATIENCE: Final = 2.0

# KEYS: account, address. ARGV: FREE, FIRST, LONGEST, REMEMBERED. Returns the milliseconds to wait; 0: go ahead.
_ATTEMPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait = 0
for _, key in ipairs(KEYS) do
  wait = math.max(wait, tonumber(redis.call('HGET', key, 'until') or '0') - now)
end
if wait > 0 then return wait end
for _, key in ipairs(KEYS) do
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  if failures >= tonumber(ARGV[1]) then
    local delay = math.min(ARGV[2] * 2 ^ math.min(failures - ARGV[1], 30), tonumber(ARGV[3]))
    redis.call('HSET', key, 'until', string.format('%.0f', now + delay))
  end
  redis.call('PEXPIRE', key, ARGV[4])
end
return 0
"""
_SUCCESS: Final = """
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HDEL', KEYS[2], 'until')
  if redis.call('HINCRBY', KEYS[2], 'failures', -1) <= 0 then redis.call('DEL', KEYS[2]) end
end
return 0
"""


def attempt(account: str, address: str | None) -> int:
    """Count an attempt; return the whole seconds to wait, or 0 to go ahead.

    Raises redis.RedisError: then nobody knows, and nobody gets in.
    """
    wait = client().eval(_ATTEMPT, 2, *_keys(account, address), FREE, FIRST, LONGEST, REMEMBERED)
    return math.ceil(int(wait) / 1000)


def come_again(wait: int) -> str:
    """Say when a password may be tried again, in whole seconds from now."""
    return f"There were several attempts with a wrong password. Please try again in {wait} seconds."


def succeeded(account: str, address: str | None) -> None:
    """Forget what was counted against the account, and the address's last attempt. Raises redis.RedisError."""
    client().eval(_SUCCESS, 2, *_keys(account, address))


@cache
def client() -> "redis.Redis":
    """Return this process's connections; they give up sooner than a worker's would."""
    return redis.Redis.from_url(
        settings.ZENITH_REDIS_URL,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(redis.ConnectionError,)),
    )


def _keys(account: str, address: str | None) -> tuple[str, str]:
    digest = hashlib.sha256(account.casefold().encode("utf-8", "surrogatepass")).hexdigest()
    return LOGIN_ACCOUNT + digest, LOGIN_ADDRESS + network(address)


def network(address: str | None) -> str:
    """Return what counts as one address: of IPv6 the first half, since that much belongs to a single customer."""
    if address is None:
        return "unknown"
    found = ip_address(address)
    return address if found.version == 4 else str(found.exploded)[:19]
