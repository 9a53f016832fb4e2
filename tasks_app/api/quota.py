"""Counting a program's triggers, and noting what is left for the answer's header fields."""

from django.http import HttpRequest

from zenith_site.common import limits
from zenith_site.common.callers import Caller


def admit_trigger(request: HttpRequest, caller: Caller) -> None:
    """Count one trigger; the site adds `request.quota` to the answer, whatever it is (zenith_site/quotas.py).

    Raises RateLimitedError, or BrokerUnavailableError where Redis does not answer.
    """
    request.quota = limits.count_trigger(caller)  # type: ignore[attr-defined]
