"""How often one caller may ask: moving windows in Redis, exact however many ask at once.

Two policies, each counted per caller. `triggers` counts requests that send new work: a dispatch
through the API, the button on the page, and a replay that is forced. What decides about tasks that
exist (cancel, retry, replay, discard) is not counted: it cannot be done twice. `reads` counts what
programs read, generously. `refusals` counts what could not be accepted and was counted as neither: reading a body
to find that it is wrong is work, too.

The window moves with the clock: whatever its length of time is laid over the log of requests, it
never holds more than the limit. A script inside Redis looks and counts in one step, so two web
processes cannot both take the last place. A trigger is counted once its shape is known to be
right and before its dispatch is tried; one that is refused for its arguments has been counted.
"""

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

import redis
from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from zenith_site.common.callers import Caller, Rate
from zenith_site.common.errors import BrokerUnavailableError, RateLimitedError
from zenith_worker.wire.keys import LIMIT

#: Seconds that a request waits for Redis before it is told to come again.
_PATIENCE: Final = 2.0


class Policy(StrEnum):
    """What is counted; the name stands in the header fields and in Redis."""

    TRIGGERS = "triggers"
    READS = "reads"
    REFUSALS = "refusals"


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller has left; times in whole seconds.

    Attributes:
        limit: requests that one window holds.
        window: length of the window.
        remaining: requests left at this moment.
        reset_after: until one more is free again than now.
        policy: what is counted.
    """

    limit: int
    window: int
    remaining: int
    reset_after: int
    policy: str = Policy.TRIGGERS

    def headers(self) -> dict[str, str]:
        """Return the fields of the IETF draft "RateLimit header fields for HTTP" (version 10)."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.limit};w={self.window}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_after}',
        }


def count_trigger(caller: Caller) -> Quota:
    """Count one trigger of this caller, by their token's own rate where it has one; raises as `check` does."""
    return check(caller.key, caller.rate_limit)


def check(caller_key: str, rate: Rate | None = None) -> Quota:
    """Count one trigger of this caller, at most `rate` or else ZENITH_RATE_LIMIT, and return what is left.

    Raises RateLimitedError (then it was not counted), or BrokerUnavailableError where Redis does
    not answer: then nobody knows, and nothing may be dispatched.
    """
    return _count(Policy.TRIGGERS, rate or settings.ZENITH_RATE_LIMIT, caller_key)


def count_read(caller: Caller) -> Quota:
    """Count one read of this caller, at most ZENITH_READ_RATE_LIMIT; raises as `check` does."""
    return _count(Policy.READS, settings.ZENITH_READ_RATE_LIMIT, caller.key)


def count_refusal(caller: Caller) -> Quota:
    """Count one refused request of this caller, at most ZENITH_REFUSAL_RATE_LIMIT; raises as `check` does."""
    return _count(Policy.REFUSALS, settings.ZENITH_REFUSAL_RATE_LIMIT, caller.key)


def require_refusals_left(caller: Caller) -> None:
    """Raise RateLimitedError if this caller's refusals have reached their limit, or BrokerUnavailableError; count nothing."""
    _count(Policy.REFUSALS, settings.ZENITH_REFUSAL_RATE_LIMIT, caller.key, look=True)


def _count(policy: Policy, rate: Rate, key: str, *, look: bool = False) -> Quota:
    """Count one request, or only look whether one more would be accepted."""
    item = RateLimitItemPerSecond(rate.count, rate.seconds, namespace=policy.value)
    try:
        accepted = _limiter().test(item, key) if look else _limiter().hit(item, key)
        reset_at, remaining = _limiter().get_window_stats(item, key)
    except redis.RedisError as error:
        raise BrokerUnavailableError(f"the rate limit cannot be read: {error}") from error
    window = item.get_expiry()
    reset_after = min(window, max(1, math.ceil(reset_at - time.time())))
    if not accepted:
        raise RateLimitedError(reset_after, item.amount, window, policy.value)
    return Quota(item.amount, window, max(0, remaining), reset_after, policy.value)


@cache
def _limiter() -> MovingWindowRateLimiter:
    """Return this process's limiter; its connections give up sooner than a worker's would."""
    pool = redis.ConnectionPool.from_url(
        settings.ZENITH_REDIS_URL,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        # A pooled connection may have died while it was idle; one that is silent stays so.
        retry=Retry(NoBackoff(), retries=1, supported_errors=(redis.ConnectionError,)),
    )
    storage = RedisStorage(settings.ZENITH_REDIS_URL, connection_pool=pool, key_prefix=LIMIT)
    return MovingWindowRateLimiter(storage)
