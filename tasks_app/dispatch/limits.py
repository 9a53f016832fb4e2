"""How often one caller may trigger: a moving window in Redis, exact however many ask at once.

The window moves with the clock: whatever its length of time is laid over the log of triggers, it
never holds more than the limit. A script inside Redis looks and counts in one step, so two web
processes cannot both take the last place. A request is counted once its shape is known to be
right and before its dispatch is tried; one that is refused for its arguments has been counted.
"""

import math
import time
from dataclasses import dataclass
from functools import cache
from typing import Final

import redis
from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks_app.errors import BrokerUnavailableError, RateLimitedError

_POLICY: Final = "triggers"
#: Seconds that a trigger waits for Redis before it is told to come again.
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller has left; times in whole seconds.

    Attributes:
        limit: triggers that one window holds.
        window: length of the window.
        remaining: triggers left at this moment.
        reset_after: until one more is free again than now.
    """

    limit: int
    window: int
    remaining: int
    reset_after: int

    def headers(self) -> dict[str, str]:
        """Return the fields of the IETF draft "RateLimit header fields for HTTP" (version 10)."""
        return {
            "RateLimit-Policy": f'"{_POLICY}";q={self.limit};w={self.window}',
            "RateLimit": f'"{_POLICY}";r={self.remaining};t={self.reset_after}',
        }


def check(caller_key: str) -> Quota:
    """Count one trigger of this caller, and return what is left.

    Raises RateLimitedError (then it was not counted), or BrokerUnavailableError where Redis does
    not answer: then nobody knows, and nothing may be dispatched.
    """
    rate = RateLimitItemPerSecond(settings.ZENITH_RATE_LIMIT.count, settings.ZENITH_RATE_LIMIT.seconds, namespace=_POLICY)
    try:
        accepted = _limiter().hit(rate, caller_key)
        reset_at, remaining = _limiter().get_window_stats(rate, caller_key)
    except redis.RedisError as error:
        raise BrokerUnavailableError(f"the rate limit cannot be read: {error}") from error
    window = rate.get_expiry()
    reset_after = min(window, max(1, math.ceil(reset_at - time.time())))
    if not accepted:
        raise RateLimitedError(reset_after, rate.amount, window)
    return Quota(rate.amount, window, max(0, remaining), reset_after)


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
    storage = RedisStorage(settings.ZENITH_REDIS_URL, connection_pool=pool, key_prefix="zenith:limit")
    return MovingWindowRateLimiter(storage)
