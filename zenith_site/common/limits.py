"""Rate limits per caller: sliding windows in Redis, exact under concurrency.

Three policies are counted per caller. `triggers` counts requests that send new work: a dispatch through the API, the button on
the page, and a forced replay. Decisions about existing tasks (cancel, retry, replay, discard) are not counted: they have an
effect only once. `reads` counts what programs read, with a generous limit. `refusals` counts invalid requests that neither of
the others counted: reading a body only to refuse it is work, too.

A sliding window of the policy's length never holds more requests than the limit, wherever it starts. A script in Redis checks
and counts in one step, so two web processes cannot both take the last place. A trigger is counted once its shape is valid and
before it is dispatched; one that is refused for its arguments has been counted.
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

#: Seconds that a request waits for Redis before it is refused.
_PATIENCE: Final = 2.0


class Policy(StrEnum):
    """What is counted; header fields and Redis keys hold the name."""

    TRIGGERS = "triggers"
    READS = "reads"
    REFUSALS = "refusals"


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller has left; times in whole seconds.

    Attributes:
        limit: requests in one window.
        window: length of the window.
        remaining: requests left at the moment.
        reset_after: until one more request is possible than at the moment.
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
    """Count one trigger of this caller, against the token's own rate limit if it has one; raises as `check` does."""
    return check(caller.key, caller.rate_limit)


def check(caller_key: str, rate: Rate | None = None) -> Quota:
    """Count one trigger of this caller, at most `rate` or else ZENITH_RATE_LIMIT, and return what is left.

    Raises RateLimitedError (then it was not counted), or BrokerUnavailableError if Redis does not answer: then the count is
    unknown, and nothing may be dispatched.
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
    """Count one request; with `look`, only check whether one more would be accepted."""
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
    """Return this process's limiter; its connections time out sooner than a worker's."""
    pool = redis.ConnectionPool.from_url(
        settings.ZENITH_REDIS_URL,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        # A pooled connection may have died while idle, so one retry helps; a server that does not answer is not tried again.
        retry=Retry(NoBackoff(), retries=1, supported_errors=(redis.ConnectionError,)),
    )
    storage = RedisStorage(settings.ZENITH_REDIS_URL, connection_pool=pool, key_prefix=LIMIT)
    return MovingWindowRateLimiter(storage)
