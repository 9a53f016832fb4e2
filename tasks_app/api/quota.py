"""Count a program's triggers, and note the remaining quota for the response headers."""

from django.http import HttpRequest

from zenith_site.common import limits
from zenith_site.common.callers import Caller


def admit_trigger(request: HttpRequest, caller: Caller) -> None:
    """Count one trigger; the site adds `request.quota` to the response, whatever its status (zenith_site/quotas.py).

    Raises RateLimitedError, or BrokerUnavailableError if Redis does not answer.
    """
    request.quota = limits.count_trigger(caller)  # type: ignore[attr-defined]
