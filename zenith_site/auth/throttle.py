"""Limits password attempts, at the login and where people change their own password.

After five failures there is a delay, which doubles, per account and per address.

1. One script in Redis counts an attempt *before* the password is checked, so however many are made at once, no more than five
   are checked.
2. The fifth failure starts a delay of 10 s, and each further one a delay twice as long, up to 15 minutes. During the delay
   nothing is checked, not even the right password, and nothing is counted.
3. A success clears the account's failures and subtracts its own attempt from the address. An hour without a failure clears all.

An account that does not exist is counted like one that does, so the responses do not reveal which exist.
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
#: The reason in the audit log.
REASON: Final = "Too many failed password attempts."
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


def count_attempt(account: str, address: str | None) -> int:
    """Count an attempt; return the whole seconds to wait, or 0 to check the password.

    Raises redis.RedisError: then the count is unknown, and nobody may log in.
    """
    wait = client().eval(_ATTEMPT, 2, *_keys(account, address), FREE, FIRST, LONGEST, REMEMBERED)
    return math.ceil(int(wait) / 1000)


def retry_message(wait: int) -> str:
    """Return the message for a throttled attempt; `wait` is in whole seconds."""
    return f"Too many failed attempts. Try again in {wait} seconds."


def record_success(account: str, address: str | None) -> None:
    """Clear the account's failures, and subtract this attempt from the address. Raises redis.RedisError."""
    client().eval(_SUCCESS, 2, *_keys(account, address))


@cache
def client() -> "redis.Redis":
    """Return this process's Redis client; it times out sooner than a worker's."""
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
    """Return what counts as one address: for IPv6 the first half, since one customer owns that much."""
    if address is None:
        return "unknown"
    parsed = ip_address(address)
    return address if parsed.version == 4 else str(parsed.exploded)[:19]
